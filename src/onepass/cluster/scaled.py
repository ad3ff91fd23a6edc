"""A stream of values of any size: what stands between `KMeans` and the arithmetic of float32."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from onepass.cluster.arrays import Rows, Weighted
from onepass.cluster.batches import Samples, WeightedSamples, as_dense, as_sparse
from onepass.cluster.core_set import Msd
from onepass.cluster.device_plan import find_gpu_for
from onepass.cluster.device_stream import DeviceStream
from onepass.cluster.devices import may_be_gpu
from onepass.cluster.finish import Finished
from onepass.cluster.kernels.cpu import peak
from onepass.cluster.parameters import Parameters
from onepass.cluster.parts import dense_parts, sparse_parts
from onepass.cluster.record_intake import RecordIntake
from onepass.cluster.scale import Scale, rescale
from onepass.cluster.state import State, of_rows, refuse_unless, state_of_centers
from onepass.cluster.stream import Stream
from onepass.cluster.trials import TrialSettings
from onepass.sparse import SparseRows


class ScaledStream:
    """A `Stream` of rows divided by a power of two, which is 1 for all but extreme values.

    Squares of values beyond 1e19 or below 1e-19 leave the range of float32. All that comes out is
    in the units of the rows that went in.

    Parameters
    ----------
    parameters : Parameters
    n_features : int
    seed : int
    share : float
        See `onepass.cluster.parts.dense_parts`.
    sparse : bool
        Keep rows sparse, whatever they are when they come; else dense.
    """

    def __init__(
        self,
        parameters: Parameters,
        n_features: int,
        seed: int,
        *,
        share: float = 1.0,
        sparse: bool = False,
    ) -> None:
        self.n_features = n_features
        self.sparse = sparse
        self._scale = Scale()
        self._parameters, self._seed, self._share = parameters, seed, share
        self._stream = self._new_stream(sparse=sparse)

    @property
    def n_rows(self) -> int:
        """Rows of positive weight that have arrived."""
        return self._stream.n_rows

    @property
    def n_centers(self) -> int:
        """Weighted centers that stand for the rows absorbed."""
        return self._stream.n_centers

    @property
    def n_opened(self) -> int:
        """Rows that were far enough from all centers to become one."""
        return self._stream.n_opened

    @property
    def total_weight(self) -> float:
        """Of the rows absorbed, as far as it has not faded."""
        return self._stream.total_weight

    @property
    def short_term_msd(self) -> float:
        """Mean squared distance of the latest rows to the centers that absorbed them."""
        return self._unscaled(self._stream.short_term_msd)

    @property
    def long_term_msd(self) -> float:
        """Mean squared distance of all rows to the centers that absorbed them."""
        return self._unscaled(self._stream.long_term_msd)

    @property
    def n_rows_in_time(self) -> int:
        """Rows that a processor would have taken meanwhile, about."""
        return self.n_rows // self._stream.pace

    @property
    def n_values_a_row(self) -> float:
        """How many values a row has on average."""
        return self._stream.n_values_a_row

    def push(self, data: WeightedSamples) -> None:
        """Take rows of any number; they are absorbed batch by batch."""
        self._scale_to(self._scale.wanted(peak(data.rows)))
        self._stream.push(Weighted(self._scaled(self._as_kept(data.rows)), data.weights))

    def record_intake(self, n_rows: int) -> RecordIntake | None:
        """Return what takes the next rows as they stand in records; see `KMeans.record_intake`."""
        stream = self._stream
        if not isinstance(stream, DeviceStream) or self._scale.exponent:
            return None
        if stream.n_first or n_rows < stream.batch_rows:
            return None
        filling = stream.depart()
        return RecordIntake(stream, filling) if filling else None

    def flush(self) -> None:
        """Absorb the rows held back; a shard takes everything back from its device, too."""
        self._stream.flush()
        if self._share < 1:
            self.land()

    def land(self) -> None:
        """Take everything back from a device, so that its memory is free."""
        self._stream.land()

    def merge(self, other: ScaledStream) -> None:
        """Take what another stream has learnt, as if its rows had followed.

        Rows stay sparse from here on where they do in either.
        """
        exponent = max(self._scale.wanted(other._scale.peak), other._scale.wanted(self._scale.peak))
        self._scale_to(exponent)
        other._scale_to(exponent)
        if other.sparse and not self.sparse:
            dense, self._stream, self.sparse = self._stream, self._new_stream(sparse=True), True
            self._stream.merge(dense)
        self._stream.merge(other._stream)

    def state(self) -> State:
        """Return all that has been learnt, to be gone on with by `restore`."""
        facts, arrays = self._stream.state()
        scale = {"exponent": self._scale.exponent, "peak": self._scale.peak}
        more = {"n_features": self.n_features, "is_sparse": self.sparse, "share": self._share}
        return State(facts | scale | more, arrays)

    def restore(self, state: State) -> None:
        """Go on where another stream of as many features, and as sparse, has left off."""
        self._scale.exponent = int(state.fact("exponent", int))
        self._scale.peak = state.number("peak")
        limit = 2**11
        refuse_unless(abs(self._scale.exponent) < limit, f"its exponent is {self._scale.exponent}")
        self._stream.restore(state, sparse=self.sparse)

    def begin_with(self, centers: Rows, n_rows: int) -> None:
        """Go on from final centers alone; see `onepass.cluster.state.state_of_centers`."""
        self._scale.exponent = self._scale.wanted(peak(centers))
        state = state_of_centers(rescale(centers, -self._scale.exponent), n_rows)
        nothing = as_sparse(centers[:0]) if self.sparse else centers[:0]
        rows = of_rows("sample", nothing) | of_rows("held", nothing)
        self._stream.restore(State(state.facts, {**state.arrays, **rows}), sparse=self.sparse)

    def finish(self, settings: TrialSettings) -> Finished:
        """Make final centers; more rows may follow, and the same call gives the same centers."""
        return next(self.finish_each([settings]))

    def finish_each(self, each: Sequence[TrialSettings]) -> Iterator[Finished]:
        """Make final centers of several numbers of clusters; see `onepass.cluster.finish`."""
        for finished in self._stream.finish_each(each):
            yield Finished(
                rescale(finished.centers, self._scale.exponent),
                tuple(self._unscaled(msd) for msd in finished.trial_msds),
                finished.seconds,
            )

    def measure(self, centers: Rows) -> Msd:
        """Measure how far all rows are from their closest of `centers`."""
        value, error = self._stream.measure(rescale(centers, -self._scale.exponent))
        return Msd(self._unscaled(value), self._unscaled(error))

    def rows_kept(self) -> Weighted[Samples]:
        """Return rows that stand for all; see `onepass.cluster.stream.Stream`."""
        rows, weights = self._stream.rows_kept()
        if isinstance(rows, SparseRows):
            return Weighted(rows.with_values(rescale(rows.values, self._scale.exponent)), weights)
        return Weighted(rescale(as_dense(rows), self._scale.exponent), weights)

    def _new_stream(self, *, sparse: bool) -> Stream[Any]:
        wanted = self._parameters, self.n_features, self._share
        if sparse:
            return Stream(self._parameters, sparse_parts(*wanted), self._seed)
        parts, device = dense_parts(*wanted), self._parameters.device
        if not may_be_gpu(device):
            return Stream(self._parameters, parts, self._seed)
        look = partial(find_gpu_for, self._parameters, self.n_features)
        return DeviceStream(self._parameters, parts, self._seed, look, self._scale.fits)

    def _scale_to(self, exponent: int) -> None:
        """Change the scale of all that is held."""
        grown = exponent - self._scale.exponent
        if grown:
            self._stream.rescale(grown)
            self._scale.exponent = exponent

    def _as_kept(self, rows: Samples) -> Samples:
        """Return rows as the first were: sparse or dense."""
        return as_sparse(rows) if self.sparse else as_dense(rows)

    def _scaled(self, rows: Samples) -> Samples:
        if isinstance(rows, SparseRows):
            return rows.with_values(rescale(rows.values, -self._scale.exponent))
        return rescale(rows, -self._scale.exponent)

    def _unscaled(self, square: float) -> float:
        return math.ldexp(square, 2 * self._scale.exponent)
