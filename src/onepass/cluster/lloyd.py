"""Lloyd's iterations over weighted rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Rows, WeightedRows
from onepass.cluster.kernels.cpu import Nearest, accumulate, nearest_centers


class Clustering(NamedTuple):
    """Centers, and how well they fit the rows they were made for.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    inertia : float
        Weighted sum of squared distances of the rows to their closest center.
    """

    centers: Rows
    inertia: float


def lloyd(data: WeightedRows, centers: Rows, *, max_iter: int, tol: float) -> Clustering:
    """Move centers to the means of their rows until that gains little.

    Parameters
    ----------
    data : WeightedRows
        At least as many rows as centers.
    centers : ndarray of shape (n_clusters, n_features), float32
        Where to start; not changed.
    max_iter : int
        Iterations at most.
    tol : float
        Stop when an iteration lowers the inertia by no more than this share of it.

    Returns
    -------
    Clustering
        The inertia is that of the centers returned.

    Notes
    -----
    A center that no row is closest to is moved to the row that contributes most to the inertia:
    never fewer clusters than asked for while there are as many different rows.
    One iteration costs 2 * n_clusters * n_rows * n_features operations.
    """
    previous = np.inf
    for _ in range(max_iter):
        nearest = nearest_centers(data.rows, centers)
        inertia = _inertia(nearest, data.weights)
        if previous - inertia <= tol * previous and previous < np.inf:
            return Clustering(centers, inertia)
        previous = inertia
        centers = _means(data, nearest, centers)
    return Clustering(centers, _inertia(nearest_centers(data.rows, centers), data.weights))


def _inertia(nearest: Nearest, weights: Doubles) -> float:
    return float(nearest.sq_distances @ weights)


def _means(data: WeightedRows, nearest: Nearest, centers: Rows) -> Rows:
    sums, weights = accumulate(data.rows, nearest.labels, len(centers), data.weights)
    filled = weights > 0
    moved = centers.copy()
    moved[filled] = sums[filled] / weights[filled, None]
    empty = np.flatnonzero(~filled)
    if len(empty):
        loss = nearest.sq_distances * data.weights
        farthest = np.argsort(-loss, kind="stable")[: len(empty)]
        moved[empty] = data.rows[farthest]
    return moved
