"""Rows that are on a GPU as long as something is made of them."""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.device_search import DeviceSearch, gpu_indices
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Array, DeviceBatch, Found
from onepass.cluster.kernels.results import Sums

PRODUCTS = 2**26
"""Held at once: 256 MiB, or less where memory is short."""

_SHARE = 16
_ROWS_OF_MEAN = 4096


class DeviceRows:
    """Weighted rows on a device.

    Parameters
    ----------
    gpu : Gpu
    batch : DeviceBatch
        Relative to `origin`.
    weights : ndarray of shape (n_samples,), float64
        The same as those of the batch.
    origin : ndarray of shape (n_features,), float32

    Attributes
    ----------
    origin : ndarray of shape (n_features,), float32

    Notes
    -----
    Memory of the device: ``4 n_features + 16`` bytes a row, 256 MiB of products, and for k centers
    ``16 k n_features``.
    """

    def __init__(self, gpu: Gpu, batch: DeviceBatch, weights: Doubles, origin: Rows) -> None:
        self._gpu, self._batch, self._weights, self.origin = gpu, batch, weights, origin
        self._search: DeviceSearch | None = None

    @classmethod
    def of(cls, gpu: Gpu, data: WeightedRows) -> DeviceRows:
        """Copy rows to a device."""
        some = data.rows[:: max(1, len(data.rows) // _ROWS_OF_MEAN)]
        origin = some.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = gpu.put(data.rows)
        gpu.subtract(rows, gpu.put(origin))
        return cls(gpu, DeviceBatch(rows, gpu.put(data.weights)), data.weights, origin)

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def weights(self) -> Doubles:
        """Of all rows."""
        return self._weights

    @property
    def there(self) -> Array:
        """The rows, relative to the origin."""
        return self._batch.rows

    def every(self, n: int) -> DeviceRows:
        """Return every n-th row."""
        chosen = np.arange(0, len(self), n)
        weights = self._weights[chosen]
        rows = self._gpu.gather(self._batch.rows, gpu_indices(self._gpu, chosen))
        batch = DeviceBatch(rows, self._gpu.put(weights))
        return DeviceRows(self._gpu, batch, weights, self.origin)

    def rows(self, which: Indices) -> Rows:
        """Return some rows, as they were to float32."""
        there = self._gpu.gather(self._batch.rows, gpu_indices(self._gpu, which))
        found: Rows = self._gpu.get(there) + self.origin
        return found

    def nearest_rows(self, which: Indices) -> tuple[Labels, Floats]:
        """Find which of some of the rows each row is closest to, and how far that is, squared."""
        found = self._nearest(self._gpu.gather(self._batch.rows, gpu_indices(self._gpu, which)))
        return self._gpu.get(found.labels), self._gpu.get(found.sq_distances)

    def assign(self, centers: Rows) -> Assigned:
        """Find the closest center of each row."""
        return Assigned(self._gpu, self._batch, self._nearest(self._put(centers)), len(centers))

    def measure(self, centers: Rows, labels: Labels) -> Floats:
        """Measure how far each row is from the center named for it, squared."""
        there = self._put(centers), self._gpu.put(labels.astype(np.int32))
        found: Floats = self._gpu.get(self._gpu.measure(self._batch.rows, *there))
        return found

    def _put(self, centers: Rows) -> Array:
        exact = centers.astype(np.float64) - self.origin
        return self._gpu.put(exact.astype(np.float32))

    def _nearest(self, centers: Array) -> Found:
        """Search; in TF32 as long as that finds what is closest."""
        rows, (n, d) = self._batch.rows, centers.shape
        search = self._search
        if search is None or search.room < n:
            n_products = min(PRODUCTS, self._gpu.free_bytes() // (4 * _SHARE))
            search = self._search = DeviceSearch(self._gpu, n, d, n_products)
            is_checked = not search.tf32
        else:
            is_checked = True
        found = self._gpu.new_found(len(self))
        search.among(centers, n)
        search.nearest(rows, found)
        if not (is_checked or search.agrees(rows, n, found)):
            search.tf32 = False
            search.nearest(rows, found)
        return found


def fits_rows(gpu: Gpu, shape: tuple[int, ...], n_centers: int) -> bool:
    """Whether a device has room for rows, and for a search among so many centers."""
    n, d = shape
    needed: int = n * (4 * d + 64) + n_centers * (24 * d + 1024) + 4 * PRODUCTS // _SHARE
    return gpu.free_bytes() > needed


def sums_of(gpu: Gpu, there: Array, origin: Rows) -> tuple[Sums, float]:
    """Return sums that are on a device, and the costs of all rows together."""
    added: Doubles = gpu.get(there)
    weights = np.ascontiguousarray(added[:, -2])
    sums: Doubles = added[:, :-2] + weights[:, None] * origin
    return Sums(sums, weights), float(added[:, -1].sum())


class Assigned:
    """Rows, and which center each is closest to.

    Parameters
    ----------
    gpu : Gpu
    batch : DeviceBatch
    found : Found
    n_centers : int
    """

    def __init__(self, gpu: Gpu, batch: DeviceBatch, found: Found, n_centers: int) -> None:
        self._gpu, self._batch, self._found, self._n = gpu, batch, found, n_centers

    def sums(self, origin: Rows) -> tuple[Sums, float]:
        """Return what each center's rows add up to, and the inertia of all.

        Parameters
        ----------
        origin : ndarray of shape (n_features,), float32
            What the rows are relative to; the sums are not.
        """
        there = self._gpu.new_sums(self._n, len(origin))
        self._gpu.sum_up(self._gpu.add(self._batch, self._found, self._n), there)
        return sums_of(self._gpu, there, origin)

    def sq_distances(self) -> Floats:
        """Return the squared distance of each row."""
        found: Floats = self._gpu.get(self._found.sq_distances)
        return found

    def losses(self) -> Doubles:
        """Return the weighted squared distance of each row."""
        apart: Doubles = self.sq_distances().astype(np.float64)
        return apart if self._batch.weights is None else apart * self._gpu.get(self._batch.weights)
