"""A stream of values of any size: what stands between `KMeans` and the arithmetic of float32."""

from __future__ import annotations

import math

from onepass.cluster.arrays import Rows, WeightedRows
from onepass.cluster.finish import Finished, Msd
from onepass.cluster.kernels.cpu import peak
from onepass.cluster.parameters import Parameters
from onepass.cluster.scale import Scale, rescale
from onepass.cluster.stream import Stream
from onepass.cluster.trials import TrialSettings


class ScaledStream:
    """A `Stream` of rows divided by a power of two, which is 1 for all but extreme values.

    Squares of values beyond 1e19 or below 1e-19 leave the range of float32. All that comes out is
    in the units of the rows that went in.

    Parameters
    ----------
    parameters : Parameters
    n_features : int
    seed : int
    n_shards : int
        See `Stream`.
    """

    def __init__(
        self, parameters: Parameters, n_features: int, seed: int, *, n_shards: int = 1
    ) -> None:
        self.n_features = n_features
        self._scale = Scale()
        self._stream = Stream(parameters, n_features, seed, n_shards=n_shards)

    @property
    def n_rows(self) -> int:
        """Rows of positive weight that have arrived."""
        return self._stream.n_rows

    @property
    def n_centers(self) -> int:
        """Weighted centers that stand for the rows absorbed."""
        return len(self._stream.summary)

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

    def push(self, data: WeightedRows) -> None:
        """Take rows of any number; they are absorbed batch by batch."""
        self._scale_to(self._scale.wanted(peak(data.rows)))
        self._stream.push(WeightedRows(self._scaled(data.rows), data.weights))

    def flush(self) -> None:
        """Absorb the rows held back."""
        self._stream.flush()

    def merge(self, other: ScaledStream) -> None:
        """Take what another stream has learnt, as if its rows had followed."""
        exponent = max(self._scale.wanted(other._scale.peak), other._scale.wanted(self._scale.peak))
        self._scale_to(exponent)
        other._scale_to(exponent)
        self._stream.merge(other._stream)

    def finish(self, settings: TrialSettings) -> Finished:
        """Make final centers; more rows may follow, and the same call gives the same centers."""
        finished = self._stream.finish(settings)
        return Finished(
            rescale(finished.centers, self._scale.exponent),
            tuple(self._unscaled(msd) for msd in finished.trial_msds),
        )

    def measure(self, centers: Rows) -> Msd:
        """Measure how far all rows are from their closest of `centers`."""
        value, error = self._stream.measure(self._scaled(centers))
        return Msd(self._unscaled(value), self._unscaled(error))

    def _scale_to(self, exponent: int) -> None:
        """Change the scale of all that is held."""
        grown = exponent - self._scale.exponent
        if grown:
            self._stream.rescale(grown)
            self._scale.exponent = exponent

    def _scaled(self, rows: Rows) -> Rows:
        return rescale(rows, -self._scale.exponent)

    def _unscaled(self, square: float) -> float:
        return math.ldexp(square, 2 * self._scale.exponent)
