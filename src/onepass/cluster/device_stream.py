"""A stream whose rows are taken on a GPU.

The first batch is taken on the host, as on any machine: it chooses the first centers. From then on
the summary and the sample live on the device, and come back when anything is done with them that
is not taking rows, or when final centers are made of so few that the host does it sooner. Where
they take more memory than it has, they stay on the host, and only searches are made there.

What makes this module long is that a stream goes there and comes back, and is asked for the same
things wherever it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from onepass.cluster.arrays import Rows, Weighted, WeightedRows
from onepass.cluster.core_set import Msd
from onepass.cluster.device_batch import FillingBatch
from onepass.cluster.device_core import SampleThere, fits_beside
from onepass.cluster.device_finish import DeviceWorkshop, is_worth_refining
from onepass.cluster.device_lloyd import SearchedRows, start_summary
from onepass.cluster.device_parts import DeviceParts, Ties
from onepass.cluster.device_plan import batch_rows, plan
from onepass.cluster.device_rows import DeviceRows, fits_rows
from onepass.cluster.device_sample import Age
from onepass.cluster.device_slices import SlicedRows, SlicedSearch, slices_for
from onepass.cluster.devices import demanded, tell
from onepass.cluster.finish import Finished, finish_each
from onepass.cluster.kernels.gpu import Gpu, NoGpuError, is_loaded
from onepass.cluster.parameters import Parameters
from onepass.cluster.parts import Parts
from onepass.cluster.state import State
from onepass.cluster.stream import FINISHING, Stream
from onepass.cluster.summary import Absorbed, Summary, n_starting
from onepass.cluster.trials import TrialSettings

_log = logging.getLogger(__name__)

_DRAWING, _PACE = 3, 100
_WORTH_STARTING, _WORTH_CHOOSING = 2**36, 2**31
"""Products of a search among the first rows: from there on a GPU is worth its start, and, where it
has been started, the copies."""


class DeviceStream(Stream[Rows]):
    """A `Stream` of dense rows on a GPU.

    Parameters
    ----------
    parameters : Parameters
    parts : Parts
        Of the host: what is on the device starts from these, and comes back to them.
    seed : int
    find_gpu : callable
        Returns a `Gpu`, or None where there is none after all: then rows are taken on the host. It
        is called when there is enough to do for one.
    fits : callable
        See `check_report`.

    Notes
    -----
    Centers move once a batch, of `onepass.cluster.device_plan.batch_rows`.
    """

    def __init__(
        self,
        parameters: Parameters,
        parts: Parts[Rows],
        seed: int,
        find_gpu: Callable[[], Gpu | None],
        fits: Callable[[float], bool],
    ) -> None:
        super().__init__(parameters, parts, seed)
        self._find_gpu = find_gpu
        self._fits = fits
        self._has_looked = False
        self._found: Gpu | None = None
        self._there: DeviceParts | None = None
        self._slices: SlicedSearch | None = None

    @property
    def n_rows(self) -> int:
        """Rows of positive weight that have arrived."""
        return super().n_rows + (self._there.filling.n_rows if self._there else 0)

    @property
    def n_centers(self) -> int:
        """Weighted centers that stand for the rows absorbed."""
        return self._there.summary.n_centers if self._there else super().n_centers

    @property
    def n_opened(self) -> int:
        """Rows that were far enough from all centers to become one."""
        return self._there.summary.n_opened if self._there else super().n_opened

    @property
    def complete(self) -> bool:
        """Whether every row is still kept."""
        return self._there.sample.complete if self._there else super().complete

    @property
    def n_first(self) -> int:
        """Rows of the first batch that have not arrived: all of them are taken on the host."""
        return 0 if self.n_taken else self._buffer.batch_size - len(self._buffer)

    @property
    def batch_rows(self) -> int:
        """Rows of a batch on the device; fewer where its memory is short."""
        return batch_rows(self._parameters, self.n_features)

    @property
    def long_term_msd(self) -> float:
        """Mean squared distance of all rows to the centers that absorbed them; a batch behind."""
        if self._there is None:
            return super().long_term_msd
        return self._there.service_cost / self.total_weight

    @property
    def gpu(self) -> Gpu:
        """The device, which has been found."""
        if self._found is None:
            raise AssertionError("nothing is asked of a device that is not there")
        return self._found

    def push(self, data: Weighted[Rows]) -> None:
        """Take rows of any number; they are absorbed batch by batch."""
        if self._there is not None:
            self._add(data)
            return
        super().push(data)
        self._add_rest()

    def flush(self) -> None:
        """Absorb the rows held back; too few for the device are taken as without one."""
        if self._there is not None:
            if self._there.filling.n_rows:
                self.take_filled()
            return
        rest = self._buffer.flush()
        if rest is None:
            return
        n, rows, weights = self._parameters.n_in_batch(self.n_features), *rest
        step = n if self.n_taken else len(rows)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            self._take(WeightedRows(rows[part], weights[part]))

    def merge(self, other: Stream[Rows]) -> None:
        """Take what another stream has learnt, as if its rows had followed."""
        self.land()
        super().merge(other)

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        self.land()
        super().rescale(exponent)

    def finish_each(self, each: Sequence[TrialSettings]) -> Iterator[Finished]:
        """Make final centers of several numbers of clusters."""
        there = self._sample_there(each[-1].n_clusters)
        if there is None:
            return super().finish_each(each)
        seeds = np.random.SeedSequence((self._seed, FINISHING))
        core = there.core(self._fitted(len(there)))
        return finish_each(there.points(), core, each, seeds, self._workshop())

    def measure(self, centers: Rows) -> Msd:
        """Measure how far all rows are from their closest of `centers`."""
        there = self._sample_there(len(centers))
        if there is None:
            return super().measure(centers)
        return there.measure(self._fitted(len(there)), centers)

    def state(self) -> State:
        """Return all that has been learnt: the batch that waits on a device ends here."""
        self.land()
        return super().state()

    def _go_on(self) -> None:
        """Have batches of the size that they have after the first: of a device, if there is one."""
        if self._has_gpu():
            self._buffer.batch_size = self.batch_rows

    def depart(self) -> FillingBatch | None:
        """Go on on the device, where there is one; returns what rows are to be put into.

        To be called when the first batch has been taken, and more rows than another one follow.
        Where centers do not all fit the device, rows are put into nothing.
        """
        if self._may_go():
            self._go()
            self._add_rest()
        return self._there.filling if self._there else None

    def take_filled(self) -> None:
        """Absorb the batch that is on the device, and sample it.

        Raises
        ------
        IrregularRowError
            When not all of its rows are rows; all are there yet.
        """
        there, half_life = self._on_device(), self._parameters.half_life
        n, before, weight = there.filling.n_rows, self.n_taken, there.filling.weight()
        share = 0.5 ** (n / half_life) if half_life else 1.0
        absorbed = there.absorb(before, share)
        self.n_taken += n
        self.total_weight = self.total_weight * share + weight
        there.draw(absorbed, before, Age(self.total_weight, self._half_lives()))

    def check_filled(self) -> None:
        """Look at the rows that wait on the device for more.

        Raises
        ------
        IrregularRowError
            As `take_filled`.
        """
        self._on_device().check()

    def land(self) -> None:
        """Take everything back from the device; rows that wait there are absorbed."""
        self.flush()
        if self._slices is not None:
            self._slices.leave()
        there = self._there
        if there is None:
            return
        there.learn()
        self.summary = there.summary.summary()
        self._reservoir.keep(there.sample.leave())
        self._there = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the device where it is."""
        if self._there is not None:
            self.land()
        if self._slices is not None:
            self._dense().search_by(None)
            self._slices = None
        return self.__dict__ | {"_found": None, "_has_looked": False}

    def _take(self, data: WeightedRows) -> None:
        """Take one batch: the first of all, and a last one that is all there is, on the host."""
        is_first = not self.n_taken
        is_whole = len(data.rows) == self._buffer.batch_size
        if not is_first and is_whole and self._may_go():
            self._go()
        if self._there is not None:
            self._add(data)
            return
        super()._take(data)
        if is_first:
            self._buffer.batch_size = self.batch_rows

    def _start(self, data: WeightedRows) -> Absorbed:
        """Choose the first centers; among very many on the device, where there is one."""
        n = n_starting(self._parameters.n_centers)
        worth = _WORTH_CHOOSING if is_loaded() else _WORTH_STARTING
        few = data.rows.size * n < worth or len(data.rows) <= n
        if few or not isinstance(self.summary, Summary) or not self._has_gpu():
            return super()._start(data)
        if fits_rows(self.gpu, data.rows.shape, n):
            rows: SearchedRows = DeviceRows.of(self.gpu, data)
        else:
            rows = SlicedRows(slices_for(self.gpu, self._parameters, self.n_features), data.rows)
        return start_summary(rows, self.summary, data, self._parameters.init, self._rng)

    def _sample_there(self, n_clusters: int) -> SampleThere | None:
        """Return the sample, if it is to stay on the device; else land."""
        self.flush()
        there = self._there
        if there is not None:
            there.learn()
            sample = there.sample
            is_worth = is_worth_refining(sample.rows.size, n_clusters)
            if is_worth and fits_beside(self.gpu, sample, self.n_centers):
                age = self._half_lives()
                return SampleThere(self.gpu, sample, there.summary.summary(), there.origin, age)
        self.land()
        return None

    def _workshop(self) -> DeviceWorkshop | None:
        """Return the device, if rows have been taken on one, here or by what has been merged."""
        is_there = self.pace > 1 and self._has_gpu()
        return DeviceWorkshop(self.gpu) if is_there else None

    def _add(self, data: WeightedRows) -> None:
        """Copy rows to the device, and take each batch that is complete."""
        counted = data.weights > 0
        if not counted.all():
            data = WeightedRows(data.rows[counted], data.weights[counted])
        self._on_device().filling.fill(data, self.take_filled)

    def _add_rest(self) -> None:
        """Copy the rows that are held back on the host, if the stream has left it."""
        rest = self._buffer.flush() if self._there else None
        if rest is not None:
            self._add(rest)

    def _has_gpu(self) -> bool:
        """Whether there is a GPU; looks for one once, and where there is none goes on without."""
        if not self._has_looked:
            self._has_looked, self._found = True, self._find_gpu()
            if self._found is None:
                self._buffer.batch_size = self._parameters.n_in_batch(self.n_features)
        return self._found is not None

    def _may_go(self) -> bool:
        """Whether rows are taken on the host, and there is a device."""
        return self._there is None and self._slices is None and self._has_gpu()

    def _on_device(self) -> DeviceParts:
        if self._there is None:
            raise AssertionError("nothing is taken on a device before the stream has gone there")
        return self._there

    def _go(self) -> None:
        """Take the summary and the sample to the device, if its memory has not gone meanwhile."""
        summary = self._dense()
        try:
            planned = plan(self._parameters, self.n_features, self.gpu.free_bytes())
        except NoGpuError as error:
            self._split(error)
            return
        seeds = np.random.SeedSequence((self._seed, self.n_taken, _DRAWING))
        ties = Ties(self._fits, self._watch)
        self._there = DeviceParts(self.gpu, planned, summary, self._reservoir, seeds, ties)
        self.pace = _PACE

    def _split(self, why: NoGpuError) -> None:
        """Make searches alone there, a slice of the centers at a time; if there is room for one."""
        try:
            self._slices = slices_for(self.gpu, self._parameters, self.n_features)
        except NoGpuError as error:
            wanted = self._parameters.device
            if wanted != "auto":
                raise demanded(wanted, str(error)) from error
            tell([error], any_left=False)
            self._found = None
            self._buffer.batch_size = self._parameters.n_in_batch(self.n_features)
            return
        _log.info("searching on GPU %d, a slice of the centers at a time: %s", self.gpu.index, why)
        self._dense().search_by(self._slices)
        self.pace = _PACE

    def _dense(self) -> Summary:
        if not isinstance(self.summary, Summary):
            raise TypeError("only dense rows are taken on a device")
        return self.summary
