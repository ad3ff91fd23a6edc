"""Search and accumulation with NumPy and SciPy.

Everything here expects clean input: C-contiguous float32 rows without NaN, labels in range.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows

_TILE_VALUES = 2**19
"""Products held at once, 2 MiB: a tile is read again by argmin while it is still in cache."""

_DOUBT = 2.0**-19
"""Below this share of the squares it is the difference of, a squared distance in float32 is in
doubt: it keeps five of 24 bits."""

_SUM_ROWS = 8192
"""Rows turned to float64 at a time, to be summed."""


class Nearest(NamedTuple):
    """The closest center of each row.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        The lowest index among equally close centers.
    sq_distances : ndarray of shape (n_samples,), float32
        Squared Euclidean distance, computed from the differences and so exact near zero.
    """

    labels: Labels
    sq_distances: Floats


class Sums(NamedTuple):
    """What each cluster received.

    Attributes
    ----------
    sums : ndarray of shape (n_clusters, n_features), float64
        Weighted sum of its rows.
    weights : ndarray of shape (n_clusters,), float64
    """

    sums: Doubles
    weights: Doubles


def nearest_centers(rows: Rows, centers: Rows, origin: Rows | None = None) -> Nearest:
    """Find the closest center of each row.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
        At least one.
    origin : ndarray of shape (n_features,), float32, optional
        A point near the rows; by default the mean of the rows at hand, tile by tile, which is the
        most precise, and makes near ties depend on the rows beside.

    Returns
    -------
    Nearest

    Notes
    -----
    The closest center has the least ``|c|^2 - 2 x.c``: one matrix product, 2 * n_clusters *
    n_features operations a row. That form loses digits far from the origin, which is therefore
    moved to the rows. The distance returned is computed anew from the differences; rows whose
    distance lies below what float32 can tell in that form are searched once more in float64.
    """
    n, k = len(rows), len(centers)
    labels = np.empty(n, np.int32)
    sq_distances = np.empty(n, np.float32)
    step = max(64, _TILE_VALUES // max(k, rows.shape[1]))
    tile = np.empty((min(step, n), k), np.float32)
    shift = rows[:step].mean(axis=0) if origin is None else origin
    factor, norms = _product_terms(centers, shift)
    for start in range(0, n, step):
        part = rows[start : start + step]
        if origin is None and start:
            shift = part.mean(axis=0)
            factor, norms = _product_terms(centers, shift)
        near = part - shift
        scores = np.matmul(near, factor, out=tile[: len(part)])
        scores += norms
        chosen = scores.argmin(axis=1)
        exact = _sq_distances(part, centers[chosen])
        doubt = exact < _DOUBT * (np.einsum("ij,ij->i", near, near) + norms[chosen])
        doubt &= exact > 0
        if doubt.any():
            chosen[doubt] = _closest_in_double(part[doubt], centers)
            exact[doubt] = _sq_distances(part[doubt], centers[chosen[doubt]])
        labels[start : start + step] = chosen
        sq_distances[start : start + step] = exact
    return Nearest(labels, sq_distances)


def accumulate(rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None) -> Sums:
    """Sum the rows of each cluster.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    labels : ndarray of shape (n_samples,), int32
    n_clusters : int
    weights : ndarray of shape (n_samples,), optional
        One for each row by default.

    Returns
    -------
    Sums

    Notes
    -----
    A product with a sparse one-hot matrix, ten times and more faster than sorting the labels or
    ``np.add.at``. In float64, a chunk of rows at a time: a mean far from the origin, or of a
    hundred million rows, is right to float32's last digit.
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


def _product_terms(centers: Rows, origin: Rows) -> tuple[Rows, Floats]:
    """Return ``-2 c`` as columns and ``|c|^2``, the centers taken relative to `origin`."""
    near = centers - origin
    return np.ascontiguousarray(-2 * near.T), np.einsum("ij,ij->i", near, near)


def _sq_distances(rows: Rows, centers: Rows) -> Floats:
    """Return the squared distance of each row to the center beside it."""
    gap = rows - centers
    exact: Floats = np.einsum("ij,ij->i", gap, gap)
    return exact


def _closest_in_double(rows: Rows, centers: Rows) -> npt.NDArray[np.intp]:
    exact = centers.astype(np.float64)
    scores = rows.astype(np.float64) @ (-2 * exact.T)
    scores += np.einsum("ij,ij->i", exact, exact)
    chosen: npt.NDArray[np.intp] = scores.argmin(axis=1)
    return chosen
