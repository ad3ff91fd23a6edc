"""Search and accumulation with NumPy and SciPy.

Everything here expects clean input: C-contiguous float32 rows without NaN, labels in range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows

_TILE_VALUES = 2**18
"""Products held at once, 1 MiB: a tile is read again by argmin while it is still in cache."""

_DOUBT = 2.0**-19
"""Below this share of the squares it is the difference of, a squared distance in float32 is in
doubt: it keeps five of 24 bits."""

_DOUBLE_ROWS = 1024
"""Rows searched in float64 at a time."""

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


class NearestInDouble(NamedTuple):
    """The closest center of each row, as `Nearest`, with squared distances in float64."""

    labels: Labels
    sq_distances: Doubles


class TwoNearest(NamedTuple):
    """The closest center of each row, and how far all others are at least.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
    distances : ndarray of shape (n_samples,), float32
        Euclidean distance to the closest center.
    others : ndarray of shape (n_samples,), float32
        No other center is closer than this; infinite where there is no other.
    """

    labels: Labels
    distances: Floats
    others: Floats


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
        A point near the rows; by default their mean, which is the most precise, and makes near
        ties depend on the rows beside.

    Returns
    -------
    Nearest

    Notes
    -----
    The closest center has the least ``|c|^2 - 2 x.c``: one matrix product, 2 * n_clusters *
    (n_features + 1) operations a row, the squares being one more feature. That form loses digits
    far from the origin, which is therefore moved to the rows. The distance returned is computed
    anew from the differences; rows whose distance lies below what float32 can tell in that form
    are searched once more in float64.
    """
    search = _Search(rows, centers, origin)
    for _ in search.tiles():
        pass
    return search.checked()


def nearest_centers_in_double(rows: Rows, centers: Rows) -> NearestInDouble:
    """Find the closest center of each row in float64: slow, and right at any distance.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32

    Returns
    -------
    NearestInDouble
    """
    labels = np.empty(len(rows), np.int32)
    sq_distances = np.empty(len(rows))
    exact = centers.astype(np.float64)
    norms = np.einsum("ij,ij->i", exact, exact)
    for start in range(0, len(rows), _DOUBLE_ROWS):
        part = rows[start : start + _DOUBLE_ROWS].astype(np.float64)
        scores = part @ (-2 * exact.T)
        scores += norms
        chosen = scores.argmin(axis=1)
        part -= exact[chosen]
        labels[start : start + len(part)] = chosen
        sq_distances[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    return NearestInDouble(labels, sq_distances)


def two_nearest_centers(rows: Rows, centers: Rows, origin: Rows | None = None) -> TwoNearest:
    """Find the closest center of each row, and a lower bound of the distance to all others.

    Parameters and costs are those of `nearest_centers`.
    """
    search = _Search(rows, centers, origin)
    ahead = np.empty(len(rows), np.float32)
    for part, scores in search.tiles():
        here, chosen = np.arange(len(scores)), search.chosen[part]
        best = scores[here, chosen]
        scores[here, chosen] = np.inf
        np.subtract(scores.min(axis=1), best, out=ahead[part])
    labels, sq_distances = search.checked()
    others = sq_distances + ahead
    others -= search.doubt * search.squares
    np.maximum(others, 0, out=others)
    return TwoNearest(labels, np.sqrt(sq_distances), np.sqrt(others, out=others))


def sq_distances_to(rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
    chosen : ndarray of shape (n_samples,), int

    Returns
    -------
    ndarray of shape (n_samples,), float32
    """
    gap = centers.take(chosen, axis=0)
    gap -= rows
    exact: Floats = np.einsum("ij,ij->i", gap, gap)
    return exact


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


class _Search:
    """One search: products and the least of each row tile by tile, all else at once.

    Few and long calls leave other threads the most room.
    """

    def __init__(self, rows: Rows, centers: Rows, origin: Rows | None) -> None:
        n, d = rows.shape
        self._rows, self._centers = rows, centers
        if origin is None:
            # Summed by a product: `mean` takes ten times as long.
            origin = np.ones(n, np.float32) @ rows / np.float32(max(n, 1))
        self._factor = _product_factor(centers, origin)
        self._near = np.empty((n, d + 1), np.float32)
        np.subtract(rows, origin, out=self._near[:, :-1])
        self._near[:, -1] = 1
        # Products of many terms lose more digits, as the square root of their number.
        self.doubt = _DOUBT * max(1.0, math.sqrt(d) / 16)
        self.chosen = np.empty(n, np.intp)
        self.squares: Floats

    def tiles(self) -> Iterator[tuple[slice, Floats]]:
        """Find the closest centers; yields the scores of each tile, overwritten by the next."""
        n, k = len(self._rows), len(self._centers)
        step = max(64, _TILE_VALUES // k)
        table = np.empty((min(step, n), k), np.float32)
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            scores = table[: part.stop - start]
            np.matmul(self._near[part], self._factor, out=scores)
            scores.argmin(axis=1, out=self.chosen[part])
            yield part, scores

    def checked(self) -> Nearest:
        """Compute exact distances, and search again in float64 where float32 is in doubt."""
        rows, chosen = self._rows, self.chosen
        exact = sq_distances_to(rows, self._centers, chosen)
        # |x|^2 + |c|^2, of which the squared distance is what the product has left
        near = self._near[:, :-1]
        self.squares = np.einsum("ij,ij->i", near, near)
        self.squares += self._factor[-1].take(chosen)
        doubt = np.flatnonzero(exact < self.doubt * self.squares)
        doubt = doubt[exact[doubt] > 0]
        if len(doubt):
            again = nearest_centers_in_double(rows[doubt], self._centers)
            chosen[doubt], exact[doubt] = again.labels, again.sq_distances
        return Nearest(chosen.astype(np.int32), exact)


def _product_factor(centers: Rows, origin: Rows) -> Rows:
    """Return ``-2 c`` as columns above ``|c|^2``, the centers taken relative to `origin`."""
    near = centers - origin
    factor = np.empty((centers.shape[1] + 1, len(centers)), np.float32)
    np.multiply(near.T, -2, out=factor[:-1])
    np.einsum("ij,ij->i", near, near, out=factor[-1])
    return factor
