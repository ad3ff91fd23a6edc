"""A stream whose rows are taken on a GPU.

The first batch is taken on the host, as on any machine: it chooses the first centers. From then on
the summary and the sample live on the device, and come back when final centers are made, or when
anything is done with them that is not taking rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Rows, WeightedRows
from onepass.cluster.device_sample import Age, DeviceSample
from onepass.cluster.device_summary import DeviceSummary
from onepass.cluster.finish import Finished, Msd
from onepass.cluster.kernels.gpu import Array, Coins, DeviceBatch, Gpu, RecordLayout
from onepass.cluster.parameters import Parameters
from onepass.cluster.parts import Parts
from onepass.cluster.stream import Stream
from onepass.cluster.summary import Summary
from onepass.cluster.trials import TrialSettings

_ROW_VALUES, _PRODUCTS = 2**24, 2**26
_LEAST_ROWS = 1024
_DRAWING = 3


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

    Notes
    -----
    Centers move once a batch: every ``max(batch_size, most_rows(...))`` rows.
    """

    def __init__(
        self,
        parameters: Parameters,
        parts: Parts[Rows],
        seed: int,
        find_gpu: Callable[[], Gpu | None],
    ) -> None:
        super().__init__(parameters, parts, seed)
        self._find_gpu = find_gpu
        self._has_looked = False
        self._found: Gpu | None = None
        self._there: _OnDevice | None = None
        self._untold: _Batch | None = None
        self._service_cost = 0.0

    @property
    def long_term_msd(self) -> float:
        """Mean squared distance of all rows to the centers that absorbed them; a batch behind."""
        if self._there is None:
            return super().long_term_msd
        return self._service_cost / self.total_weight

    def merge(self, other: Stream[Rows]) -> None:
        """Take what another stream has learnt, as if its rows had followed."""
        self.flush()
        self.land()
        super().merge(other)

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        self.flush()
        self.land()
        super().rescale(exponent)

    def finish(self, settings: TrialSettings) -> Finished:
        """Make final centers; more rows may follow, and the same call gives the same centers."""
        self.flush()
        self.land()
        return super().finish(settings)

    def measure(self, centers: Rows) -> Msd:
        """Measure how far all rows are from their closest of `centers`."""
        self.land()
        return super().measure(centers)

    def land(self) -> None:
        """Take everything back from the device."""
        there = self._there
        if there is None:
            return
        self._learn(self._gpu.read(there.report))
        self.summary = there.summary.summary()
        self._reservoir.keep(there.sample.kept())
        self._there = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the device where it is."""
        self.land()
        return self.__dict__ | {"_found": None, "_has_looked": False}

    @property
    def _gpu(self) -> Gpu:
        if self._found is None:
            raise AssertionError("nothing is asked of a device that is not there")
        return self._found

    def _take(self, data: WeightedRows) -> None:
        """Take one batch: the first of all, and a last one that is all there is, on the host."""
        is_first = not self.n_taken
        is_whole = len(data.rows) == self._buffer.batch_size
        if not is_first and (self._there or (is_whole and self._has_gpu())):
            self._take_there(data)
            return
        super()._take(data)
        if is_first:
            n_centers = self._parameters.n_centers
            liked = most_rows(self.n_features, n_centers + n_centers // 8)
            self._buffer.batch_size = max(self._buffer.batch_size, liked)

    def _has_gpu(self) -> bool:
        """Whether there is a GPU; looks for one once, and where there is none goes on without."""
        if not self._has_looked:
            self._has_looked, self._found = True, self._find_gpu()
            if self._found is None:
                self._buffer.batch_size = self._parameters.n_in_batch(self.n_features)
        return self._found is not None

    def _take_there(self, data: WeightedRows) -> None:
        """Absorb a batch and sample it, on the device."""
        there = self._there = self._there or self._depart(data)
        n, before, half_life = len(data.rows), self.n_taken, self._parameters.half_life
        batch = self._upload(there, data)
        share = 0.5 ** (n / half_life) if half_life else 1.0
        openings = Coins(there.seeds[0], before)
        found, told = there.summary.absorb(batch, openings, share, there.report)
        self._learn(told)
        self._untold = _Batch(float(data.weights.sum()), share)
        self.n_taken += n
        self.total_weight = self.total_weight * share + self._untold.weight
        age = Age(self.total_weight, self._half_lives())
        draws = Coins(there.seeds[1], before)
        there.sample.offer(batch, found, draws, age, there.summary.service, there.report)
        if there.summary.overfull():
            self._learn(self._gpu.read(there.report))
            there.sample.relabel(there.summary.consolidate())

    def _depart(self, data: WeightedRows) -> _OnDevice:
        """Take the summary and the sample to the device."""
        if not isinstance(self.summary, Summary):
            raise TypeError("only dense rows are taken on a device")
        gpu, most = self._gpu, self._buffer.batch_size
        origin = data.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        nothing = gpu.zeros(self.n_features, np.uint32)
        seeds = np.random.SeedSequence((self._seed, self.n_taken, _DRAWING))
        self._service_cost = self.summary.service_cost
        capacity, kept = self._reservoir.capacity, self._reservoir.kept()
        return _OnDevice(
            DeviceSummary(gpu, self.summary, origin, most),
            DeviceSample(gpu, capacity, kept, origin, most),
            gpu.empty((most, self.n_features), np.float32),
            gpu.put(origin),
            RecordLayout(self.n_features, nothing, nothing, 0, 0),
            gpu.new_report(),
            tuple(int(seed) for seed in seeds.generate_state(2, np.uint64)),
        )

    def _upload(self, there: _OnDevice, data: WeightedRows) -> DeviceBatch:
        words = np.ascontiguousarray(data.rows).view(np.uint32).reshape(-1)
        rows = there.rows[: len(data.rows)]
        self._gpu.unpack(self._gpu.put(words), there.layout, there.origin, rows, there.report)
        weights: Doubles | None = None if (data.weights == 1).all() else data.weights
        return DeviceBatch(rows, None if weights is None else self._gpu.put(weights))

    def _learn(self, told: np.void) -> None:
        """Learn what the last batch has cost, and what it has given to the sample: once."""
        if self._untold is None or self._there is None:
            return
        (weight, share), self._untold = self._untold, None
        cost = float(told["cost"])
        self._service_cost = self._service_cost * share + cost
        self._watch(cost / weight)
        self._there.sample.count(int(told["n_sampled"]))


class _Batch(NamedTuple):
    """A batch of which the device has not told yet."""

    weight: float
    share: float  # that was left of everything before


class _OnDevice(NamedTuple):
    """What of a stream is on the device."""

    summary: DeviceSummary
    sample: DeviceSample
    rows: Array
    origin: Array
    layout: RecordLayout  # of rows that are nothing but values
    report: Array
    seeds: tuple[int, ...]  # of openings, and of draws


def most_rows(n_features: int, n_centers: int) -> int:
    """Return how many rows of a batch a device likes: 64 MiB of them, 256 MiB of products."""
    return max(_LEAST_ROWS, min(_ROW_VALUES // n_features, _PRODUCTS // n_centers))
