"""A model whose answers to many rows at once come from a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

import numpy as np

from onepass.cluster.arrays import Floats, Labels, Rows, WeightedRows
from onepass.cluster.batches import Given, Samples, checked
from onepass.cluster.device_batch import FillingBatch
from onepass.cluster.device_plan import most_rows, plan_search, plan_slices
from onepass.cluster.device_search import DeviceSearch
from onepass.cluster.device_slices import SlicedSearch
from onepass.cluster.kernels.cpu import Nearest, NearestInDouble
from onepass.cluster.kernels.gpu import Gpu, NoGpuError
from onepass.cluster.model import Assignment, KMeansModel

_WORTH = 2**27
"""Products: fewer are made by the processor before they could have been copied there and back."""


class DeviceModel(KMeansModel):
    """A `KMeansModel` for files of rows.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    gpu : Gpu
        Used by one thread at a time.

    Raises
    ------
    NoGpuError
        When it has too little memory free.

    Notes
    -----
    Products are made in float32, and distances from the differences. They may differ from those of
    the processor in the last digits, and so may the cluster of a row midway between two centers.
    Few rows, sparse ones, and values whose squares leave the range of float32 are left to the
    processor. Memory of the device: ``4 n d + 8 k d`` bytes with n rows of a batch, and 256 MiB.
    """

    def __init__(self, centers: Rows, gpu: Gpu) -> None:
        super().__init__(centers)
        k, d = centers.shape
        planned = plan_search(k, d, gpu.free_bytes())
        origin = centers.mean(axis=0, dtype=np.float64).astype(np.float32)
        shifted = (centers.astype(np.float64) - origin).astype(np.float32)
        search = DeviceSearch(gpu, k, d, planned.n_products, tf32=False)
        search.among(gpu.put(shifted), k)
        there = _There(gpu, search, FillingBatch(gpu, planned.batch_rows, origin))
        object.__setattr__(self, "_there", there)  # as it is frozen otherwise

    def assign(self, X: Given) -> Assignment:
        """Find the closest center of each row, and how far it is; see `KMeansModel`."""
        there: _There = self.__dict__["_there"]
        rows, largest = checked(X, self.n_features)
        is_worth = rows.shape[0] * self.centers.size >= _WORTH
        if not is_worth or not isinstance(rows, np.ndarray) or not self.fits(largest):
            return super().assign(rows)
        labels, sq_distances = there.nearest(rows)
        return Assignment(labels, np.sqrt(sq_distances, out=sq_distances))


class SlicedModel(KMeansModel):
    """A `KMeansModel` whose centers are too many for a GPU's memory: they come in slices.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    gpu : Gpu
        Used by one thread at a time.

    Attributes
    ----------
    n_rows : int
        That are searched at once: for fewer, all centers are copied too.

    Raises
    ------
    NoGpuError
        When it has too little memory free for that, too.

    Notes
    -----
    As `DeviceModel` otherwise.
    """

    n_rows: int

    def __init__(self, centers: Rows, gpu: Gpu) -> None:
        super().__init__(centers)
        k, d = centers.shape
        planned = plan_slices(most_rows(d), k, d, gpu.free_bytes())
        object.__setattr__(self, "_slices", SlicedSearch(gpu, d, planned))
        object.__setattr__(self, "n_rows", planned.batch_rows)

    def _search(
        self, rows: Samples, largest: float
    ) -> Iterator[tuple[slice, Nearest | NearestInDouble]]:
        slices: SlicedSearch = self.__dict__["_slices"]
        is_worth = rows.shape[0] * self.centers.size >= _WORTH
        if not is_worth or not isinstance(rows, np.ndarray) or not self.fits(largest):
            yield from super()._search(rows, largest)
            return
        for start in range(0, len(rows), self.n_rows):
            part = slice(start, min(start + self.n_rows, len(rows)))
            yield part, slices.nearest(rows[part], self.centers)


def model_on(gpu: Gpu, model: KMeansModel) -> KMeansModel:
    """Return a model whose answers to many rows at once come from a GPU.

    Raises
    ------
    NoGpuError
        When it has too little memory free even for a slice of the centers.
    """
    try:
        return DeviceModel(model.centers, gpu)
    except NoGpuError:
        return SlicedModel(model.centers, gpu)


class _There:
    """What of a model is on a device."""

    def __init__(self, gpu: Gpu, search: DeviceSearch, filling: FillingBatch) -> None:
        self._gpu, self._search, self._filling = gpu, search, filling
        self._lock = Lock()

    def nearest(self, rows: Rows) -> tuple[Labels, Floats]:
        labels, sq_distances = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
        with self._lock:
            for start in range(0, len(rows), self._filling.n_free):
                some = rows[start : start + self._filling.n_free]
                part = slice(start, start + len(some))
                self._filling.add(WeightedRows(some, np.ones(len(some))))
                found = self._gpu.new_found(len(some))
                self._search.nearest(self._filling.batch().rows, found)
                labels[part] = self._gpu.get(found.labels)
                sq_distances[part] = self._gpu.get(found.sq_distances)
                self._filling.cut(0)
        return labels, sq_distances
