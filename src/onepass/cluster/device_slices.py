"""Searches among centers that are too many for a GPU's memory: a slice of them at a time.

The centers stay on the host. Rows are copied to the device once, and all centers for every batch of
rows: of a batch of thousands of rows that takes less time than the products do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows
from onepass.cluster.device_plan import SlicePlan, plan_slices_for
from onepass.cluster.device_search import DeviceSearch
from onepass.cluster.kernels.cpu import Nearest
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Array, Seekers
from onepass.cluster.parameters import Parameters


class SlicedSearch:
    """Searches among any centers of the host; see `onepass.cluster.summary.Searcher`.

    Parameters
    ----------
    gpu : Gpu
        Used by one thread at a time.
    n_features : int
    plan : SlicePlan

    Notes
    -----
    Products are made in float32, and distances from the differences, as `DeviceSearch` has it.
    Memory of the device, with c centers of a slice and n rows of a batch, taken by the first
    search: ``8 c n_features + 4 n n_features`` bytes, and products.
    """

    def __init__(self, gpu: Gpu, n_features: int, plan: SlicePlan) -> None:
        self._gpu, self._n_features, self._plan = gpu, n_features, plan
        self._held: _Slice | None = None

    @property
    def n_rows(self) -> int:
        """Rows that are searched at once: for fewer, all centers are copied too."""
        return self._plan.batch_rows

    def leave(self) -> None:
        """Free the device's memory, until the next search."""
        self._held = None

    def choose(self, centers: Rows, weights: Doubles) -> None:
        """Do nothing to centers that have been united: each search looks at all."""

    def nearest(self, rows: Rows, centers: Rows) -> Nearest:
        """Find the closest center of each row.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features), float32
        centers : ndarray of shape (n_centers, n_features), float32
        """
        gpu, origin = self._gpu, self._origin(centers)
        labels, sq_distances = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
        for part in _parts(len(rows), self._plan.batch_rows):
            there = self._put(rows[part], origin)
            found = gpu.new_found(len(there))
            for first, held in self._slices(centers, origin):
                if first:
                    held.search.adopt(there, first, found)
                else:
                    held.search.nearest(there, found)
            labels[part], sq_distances[part] = gpu.get(found.labels), gpu.get(found.sq_distances)
        return Nearest(labels, sq_distances)

    def among(self, rows: Rows, others: Rows) -> Nearest:
        """Find the closest of others than a summary's centers: here that is the same."""
        return self.nearest(rows, others)

    def partners(self, centers: Rows, shares: Floats, some: Indices) -> Indices:
        """Find for some centers the other one that it costs least to unite each with.

        Parameters
        ----------
        centers : ndarray of shape (n_centers, n_features), float32
        shares : ndarray of shape (n_centers,), float32
            Their weights, as shares of the largest.
        some : ndarray of shape (n,), intp
        """
        origin, partner = self._origin(centers), some.copy()
        for part in _parts(len(some), self._plan.batch_rows):
            sought = some[part]
            there, least = self._put(centers[sought], origin), np.full(len(sought), np.inf)
            own = self._gpu.put(shares[sought])
            for first, held in self._slices(centers, origin):
                itself = self._gpu.put((sought - first).clip(-1, held.n).astype(np.int32))
                seekers, of_slice = Seekers(there, own, itself), shares[first : first + held.n]
                found, price = self._sought(held, of_slice, seekers, shares[sought])
                cheaper = price < least
                partner[part][cheaper] = first + found[cheaper]
                least[cheaper] = price[cheaper]
        return partner

    def _sought(
        self, held: _Slice, shares: Floats, seekers: Seekers, own: Floats
    ) -> tuple[Indices, Doubles]:
        """Find the best partners in one slice, and what they cost, up to the seeker's weight."""
        n = len(own)
        partner, apart, of_slice = np.empty(n, np.intp), np.empty(n), self._gpu.put(shares)
        for part in _parts(n, held.search.n_at_once):
            some = Seekers(*(column[part] for column in seekers))
            found = held.search.seek(of_slice, some)
            partner[part], apart[part] = map(self._gpu.get, found)
        there = shares[partner].astype(np.float64)
        return partner, apart * (there / (own + there))

    def _origin(self, centers: Rows) -> Array:
        return self._gpu.put(centers.mean(axis=0, dtype=np.float64).astype(np.float32))

    def _put(self, rows: Rows, origin: Array) -> Array:
        there = self._gpu.put(np.ascontiguousarray(rows))
        self._gpu.subtract(there, origin)
        return there

    def _slices(self, centers: Rows, origin: Array) -> Iterator[tuple[int, _Slice]]:
        """Copy centers, a slice at a time; yields the place of its first."""
        if self._held is None:
            self._held = _Slice(self._gpu, self._n_features, self._plan)
        for part in _parts(len(centers), self._plan.n_centers):
            self._held.take(centers[part], origin)
            yield part.start, self._held


class SlicedRows:
    """Rows of the host among which centers are chosen.

    Parameters
    ----------
    search : SlicedSearch
    rows : ndarray of shape (n_samples, n_features), float32
    """

    def __init__(self, search: SlicedSearch, rows: Rows) -> None:
        self._search, self._rows = search, rows

    def nearest_rows(self, which: Indices) -> tuple[Labels, Floats]:
        """Find which of some of the rows each row is closest to, and how far that is, squared."""
        return self._search.nearest(self._rows, self._rows[which])


def slices_for(gpu: Gpu, parameters: Parameters, n_features: int) -> SlicedSearch:
    """Return what searches among the centers of a stream's summary.

    Raises
    ------
    NoGpuError
        When the device has too little memory free.
    """
    planned = plan_slices_for(parameters, n_features, gpu.free_bytes())
    return SlicedSearch(gpu, n_features, planned)


class _Slice:
    """Some centers, on the device."""

    def __init__(self, gpu: Gpu, n_features: int, plan: SlicePlan) -> None:
        self._gpu = gpu
        self._centers = gpu.empty((plan.n_centers, n_features), np.float32)
        self.search = DeviceSearch(gpu, plan.n_centers, n_features, plan.n_products, tf32=False)
        self.n = 0

    def take(self, centers: Rows, origin: Array) -> None:
        """Hold these centers, in the place of others."""
        self.n = len(centers)
        there = self._centers[: self.n]
        self._gpu.copy(np.ascontiguousarray(centers), there)
        self._gpu.subtract(there, origin)
        self.search.among(there, self.n)


def _parts(n: int, step: int) -> Iterator[slice]:
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
