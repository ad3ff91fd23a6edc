"""The closest centers of rows on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Array, Found

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

    Attributes
    ----------
    tf32 : bool
        Whether products are made in TF32, of many features: see `agrees`.

    Notes
    -----
    Memory of the device: ``4 (most_centers + 32) (n_features + 1) + 4 n_products`` bytes.
    """

    def __init__(self, gpu: Gpu, most_centers: int, n_features: int, n_products: int) -> None:
        self._gpu = gpu
        room = aligned(most_centers)
        self._factors = gpu.empty((room, n_features), np.float32)
        self._squares = gpu.empty(room, np.float32)
        self._products = gpu.empty(max(room, n_products), np.float32)
        self._centers: Array = self._factors[:0]
        self.tf32 = n_features >= _TF32_FEATURES

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
        n_at_once = len(self._products) // self._room
        for start in range(0, len(rows), n_at_once):
            part = slice(start, min(start + n_at_once, len(rows)))
            n = part.stop - start
            products = self._products[: n * self._room].reshape(n, self._room)
            factors = self._factors[: self._room]
            self._gpu.multiply(rows[part], factors, products, tf32=self.tf32)
            yield part, products


def aligned(n: int) -> int:
    """Return n or a little more: products of matrices like widths that are even."""
    return -(-n // _ALIGNED) * _ALIGNED
