"""The closest centers of rows on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Indices
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Array, Found, PartnersThere, Seekers

_ALIGNED = 32
_TF32_FEATURES = 64
_CHECKED_ROWS, _MOST_LOST = 256, 1e-3


class DeviceSearch:
    """Searches among the centers it has been given last.

    Parameters
    ----------
    gpu : Gpu
    most_centers, n_features : int
    n_products : int
        That are held at once: of as many rows as that makes, one at least.
    tf32 : bool
        Whether products may be made in TF32.

    Attributes
    ----------
    room : int
        Centers there is room for.
    tf32 : bool
        Whether they are: of many features. See `agrees`.

    Notes
    -----
    Memory of the device: ``4 (most_centers + 32) (n_features + 1) + 4 n_products`` bytes.
    """

    def __init__(
        self,
        gpu: Gpu,
        most_centers: int,
        n_features: int,
        n_products: int,
        *,
        tf32: bool = True,
    ) -> None:
        self._gpu = gpu
        room = self.room = aligned(most_centers)
        self._factors = gpu.empty((room, n_features), np.float32)
        self._squares = gpu.empty(room, np.float32)
        self._products = gpu.empty(max(room, n_products), np.float32)
        self._centers, self._room = self._factors[:0], room
        self.tf32 = tf32 and n_features >= _TF32_FEATURES

    @property
    def n_at_once(self) -> int:
        """How many rows are multiplied at a time: by the centers there are now."""
        return len(self._products) // self._room

    def among(self, centers: Array, n: int) -> None:
        """Take centers to search among.

        Parameters
        ----------
        centers : array of shape (at least n, n_features), float32
            Not to be moved as long as rows are searched.
        n : int
            How many of them there are, one at least.
        """
        self._centers, self._room = centers, aligned(n)
        self._gpu.lay_out(centers, n, self._factors[: self._room], self._squares[: self._room])

    def nearest(self, rows: Array, found: Found) -> None:
        """Find the closest center of each row, and write it down."""
        for part, products in self._products_of(rows):
            squares = self._squares[: self._room]
            self._gpu.settle(products, squares, rows[part], self._centers, found.part(part))

    def adopt(self, rows: Array, first: int, found: Found) -> None:
        """Let rows go to these centers, the first of which has the label `first`, where closer."""
        for part, products in self._products_of(rows):
            squares, some = self._squares[: self._room], found.part(part)
            self._gpu.adopt(products, squares, rows[part], self._centers, first, some)

    def partners(self, some: Indices, shares: Floats) -> tuple[Indices, Doubles]:
        """Find for some of these centers the other one that it costs least to unite each with.

        Parameters
        ----------
        some : ndarray of shape (n,), intp
        shares : ndarray of shape (n_centers,), float32
            Weights of all, as shares of the largest.

        Returns
        -------
        partner : ndarray of shape (n,), intp
        sq_distances : ndarray of shape (n,), float64
            Of each from its partner; where all others are infinitely far, that is it itself.
        """
        gpu, among = self._gpu, gpu_indices(self._gpu, some)
        there, own = gpu.put(shares), gpu.put(shares[some])
        partner, sq_distances = np.empty(len(some), np.intp), np.empty(len(some))
        for part in self._parts(len(some)):
            rows = gpu.gather(self._centers, among[part])
            found = self.seek(there, Seekers(rows, own[part], among[part]))
            partner[part], sq_distances[part] = map(gpu.get, found)
        return np.where(partner < 0, some, partner), sq_distances

    def seek(self, shares: Array, seekers: Seekers) -> PartnersThere:
        """Find for some centers the one of these that it costs least to unite each with.

        Parameters
        ----------
        shares : array of shape (n_centers,), float32
            Weights of these, as shares of the largest.
        seekers : Seekers
            `n_at_once` at most.
        """
        return self._gpu.find_partners(
            self._multiply(seekers.rows, tf32=False),
            self._squares[: self._room],
            self._centers[: len(shares)],
            shares,
            seekers,
        )

    def squares(self, n: int) -> Floats:
        """Return the squared norms of the first n centers."""
        squares: Floats = self._gpu.get(self._squares[:n])
        return squares

    def agrees(self, rows: Array, n: int, found: Found) -> bool:
        """Whether what was found of a few rows is as close as in float64, on the whole.

        Parameters
        ----------
        rows : array of shape (n_samples, n_features), float32
        n : int
            How many centers there are.
        found : Found
            By `nearest`.
        """
        few = self._gpu.get(rows[:_CHECKED_ROWS]).astype(np.float64)
        centers = self._gpu.get(self._centers[:n]).astype(np.float64)
        scores = np.einsum("ij,ij->i", centers, centers) - 2 * few @ centers.T
        closest = few - centers[scores.argmin(axis=1)]
        least = float(np.einsum("ij,ij->", closest, closest))
        there = float(self._gpu.get(found.sq_distances[:_CHECKED_ROWS]).sum(dtype=np.float64))
        return there <= (1 + _MOST_LOST) * least

    def _products_of(self, rows: Array) -> Iterator[tuple[slice, Array]]:
        """Multiply rows by the centers, as many at a time as there is room for."""
        for part in self._parts(len(rows)):
            yield part, self._multiply(rows[part], tf32=self.tf32)

    def _parts(self, n: int) -> Iterator[slice]:
        for start in range(0, n, self.n_at_once):
            yield slice(start, min(start + self.n_at_once, n))

    def _multiply(self, rows: Array, *, tf32: bool) -> Array:
        products = self._products[: len(rows) * self._room].reshape(len(rows), self._room)
        self._gpu.multiply(rows, self._factors[: self._room], products, tf32=tf32)
        return products


def gpu_indices(gpu: Gpu, indices: Indices) -> Array:
    """Copy indices to a device, as kernels take them."""
    return gpu.put(indices.astype(np.int32))


def aligned(n: int) -> int:
    """Return n or a little more: products of matrices like widths that are even."""
    return -(-n // _ALIGNED) * _ALIGNED
