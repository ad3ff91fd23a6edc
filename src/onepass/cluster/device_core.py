"""The last step of a stream whose sample stays on a GPU: as `onepass.cluster.core_set` has it."""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import Doubles, Flags, Rows, WeightedAny, WeightedRows
from onepass.cluster.core_set import Msd, estimate_from, scaled_weights
from onepass.cluster.device_finish import DeviceRefinement
from onepass.cluster.device_rows import DeviceRows
from onepass.cluster.device_sample import DeviceSample
from onepass.cluster.device_search import gpu_indices
from onepass.cluster.finish import Refinement, thinned
from onepass.cluster.kernels.cpu import two_nearest_centers
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import DeviceBatch, Found
from onepass.cluster.summary import Summary
from onepass.cluster.trials import TrialSettings

_OTHER = 2**28
"""Bytes for products, and for small things."""


class DeviceCore:
    """A core-set on a device; see `onepass.cluster.finish.Core`.

    Parameters
    ----------
    rows : DeviceRows
    """

    def __init__(self, rows: DeviceRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def thin(self, n_rows: int, rng: np.random.Generator) -> WeightedAny:
        """Draw so many rows in proportion to their weights, or return all if they are fewer."""
        n, weights = len(self._rows), self._rows.weights
        if n <= n_rows:
            return WeightedRows(self._rows.rows(np.arange(n)), weights)
        drawn, equal = thinned(weights, n_rows, rng)
        return WeightedRows(self._rows.rows(drawn), equal)

    def refinement(self, points: Rows, settings: TrialSettings) -> Refinement:
        """Return what refines centers on it."""
        del points
        return DeviceRefinement(self._rows, settings)


class SampleThere:
    """A sample on a device, and the summary it belongs to.

    Parameters
    ----------
    gpu : Gpu
    sample : DeviceSample
        Not to be added to as long as this is in use.
    summary : Summary
        On the host.
    origin : ndarray of shape (n_features,), float32
        What rows of the sample are relative to.
    log2_age : float
        See `onepass.cluster.reservoir.Reservoir.sample`.

    Notes
    -----
    Memory of the device: see `fits_beside`.
    """

    def __init__(
        self, gpu: Gpu, sample: DeviceSample, summary: Summary, origin: Rows, log2_age: float
    ) -> None:
        self._gpu, self._sample, self._summary, self._origin = gpu, sample, summary, origin
        self._weighed = sample.weighed(log2_age)

    def __len__(self) -> int:
        return len(self._weighed.weights)

    def points(self) -> WeightedRows:
        """Return the centers of the summary."""
        return self._summary.as_rows()

    def core(self, fitted: Flags) -> DeviceCore:
        """Return all rows while they are kept, else the sample, corrected by the summary."""
        return DeviceCore(self._all() if self._sample.complete else self._calibrated(fitted))

    def measure(self, fitted: Flags, centers: Rows) -> Msd:
        """Measure how far all rows are from their closest center, or estimate it."""
        rows, (weights, strata) = self._all(), self._weighed
        assigned = rows.assign(centers)
        if self._sample.complete:
            return Msd(float(assigned.losses().sum() / weights.sum()), 0.0)
        of_strata = two_nearest_centers(self._summary.centers, centers)
        closest = assigned.sq_distances().astype(np.float64)
        own = rows.measure(centers, of_strata.labels[strata]).astype(np.float64)
        gain: Doubles = np.maximum(own - closest, 0)
        return estimate_from(self._summary, self._weighed, fitted, of_strata.distances, gain)

    def _all(self) -> DeviceRows:
        weights = self._weighed.weights
        batch = DeviceBatch(self._sample.rows, self._gpu.put(weights))
        return DeviceRows(self._gpu, batch, weights, self._origin)

    def _calibrated(self, fitted: Flags) -> DeviceRows:
        """Scale weights and shift rows; see `onepass.cluster.core_set.calibrate`."""
        gpu, (_, strata), of_strata = self._gpu, self._weighed, self._summary.weights
        centers = (self._summary.centers.astype(np.float64) - self._origin).astype(np.float32)
        chosen = np.flatnonzero(fitted)
        alone = np.flatnonzero(np.bincount(strata[chosen], minlength=len(of_strata)) == 0)
        scaled = scaled_weights(of_strata, self._weighed, fitted)[chosen]
        n, (n_strata, d) = len(chosen), centers.shape
        rows = gpu.empty((n + len(alone), d), np.float32)
        gpu.gather(self._sample.rows, gpu_indices(gpu, chosen), rows[:n])
        labels, nothing = gpu.put(strata[chosen]), gpu.zeros(n, np.float32)
        sums = gpu.new_sums(n_strata, d)
        batch = DeviceBatch(rows[:n], gpu.put(scaled))
        gpu.sum_up(gpu.add(batch, Found(labels, nothing), n_strata), sums)
        added = gpu.get(sums)
        seen = added[:, -2] > 0
        shifts = np.zeros_like(centers)
        shifts[seen] = centers[seen] - added[seen, :-2] / added[seen, -2:-1]
        gpu.shift_rows(rows[:n], labels, gpu.put(shifts))
        if len(alone):
            gpu.copy(centers[alone], rows[n:])
        weights = np.concatenate([scaled, of_strata[alone]])
        return DeviceRows(gpu, DeviceBatch(rows, gpu.put(weights)), weights, self._origin)


def fits_beside(gpu: Gpu, sample: DeviceSample, n_centers: int) -> bool:
    """Whether a device has room for what `SampleThere` makes, with so many centers of a summary."""
    rows = sample.rows
    of_centers = n_centers * (24 * rows.shape[1] + 1024)  # themselves, and sums by label
    wanted: int = 2 * rows.nbytes + of_centers + _OTHER
    return gpu.free_bytes() > wanted
