"""Search and accumulation with NumPy and SciPy: short, and what `native` is tested against.

Everything here expects clean input: C-contiguous float32 rows without NaN, labels in range.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows
from onepass.cluster.kernels.results import Found, Sums

_TILE_VALUES = 2**18
"""Products held at once, 1 MiB: a tile is read again by argmin while it is still in cache."""

_SUM_ROWS = 8192
"""Rows turned to float64 at a time, to be summed."""


def search(rows: Rows, centers: Rows, origin: Rows, *, second: bool = False) -> Found:
    """Find the center with the least score for each row.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
        At least one.
    origin : ndarray of shape (n_features,), float32
        A point near the rows.
    second : bool
        Whether to find how far ahead the least score is.

    Notes
    -----
    The scores ``|c|^2 - 2 x.c`` are one matrix product, the squares being one more feature.
    """
    n, d = rows.shape
    factor = _product_factor(centers, origin)
    near = np.empty((n, d + 1), np.float32)
    np.subtract(rows, origin, out=near[:, :-1])
    near[:, -1] = 1
    chosen = np.empty(n, np.intp)
    ahead = np.empty(n if second else 0, np.float32)
    step = max(64, _TILE_VALUES // len(centers))
    table = np.empty((min(step, n), len(centers)), np.float32)
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        scores = table[: part.stop - start]
        np.matmul(near[part], factor, out=scores)
        scores.argmin(axis=1, out=chosen[part])
        if second:
            here = np.arange(len(scores))
            least = scores[here, chosen[part]]
            scores[here, chosen[part]] = np.inf
            np.subtract(scores.min(axis=1), least, out=ahead[part])
    squares = np.einsum("ij,ij->i", near[:, :-1], near[:, :-1])
    squares += factor[-1].take(chosen)
    exact = sq_distances_to(rows, centers, chosen)
    return Found(chosen.astype(np.int32), exact, squares, ahead)


def sq_distances_to(rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it."""
    gap = centers.take(chosen, axis=0)
    gap -= rows
    exact: Floats = np.einsum("ij,ij->i", gap, gap)
    return exact


def accumulate(rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None) -> Sums:
    """Sum the rows of each cluster in float64, a chunk of rows at a time.

    A product with a sparse one-hot matrix, ten times and more faster than sorting the labels or
    ``np.add.at``.
    """
    sums = np.zeros((n_clusters, rows.shape[1]), np.float64)
    step = max(_SUM_ROWS, 4 * n_clusters)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        chosen = labels[part]
        shares = np.ones(len(chosen)) if weights is None else weights[part]
        one_hot = sparse.csr_array(
            (shares, chosen, np.arange(len(chosen) + 1)), shape=(len(chosen), n_clusters)
        )
        sums += one_hot.T @ rows[part]
    return Sums(sums, np.bincount(labels, weights, n_clusters).astype(np.float64, copy=False))


def _product_factor(centers: Rows, origin: Rows) -> Rows:
    """Return ``-2 c`` as columns above ``|c|^2``, the centers taken relative to `origin`."""
    near = centers - origin
    factor = np.empty((centers.shape[1] + 1, len(centers)), np.float32)
    np.multiply(near.T, -2, out=factor[:-1])
    np.einsum("ij,ij->i", near, near, out=factor[-1])
    return factor
