"""Few points of many features as points of few: the distances between them stay as they are.

n points lie in a plane of n - 1 dimensions. Where they have more features than that, as the centers
of a summary of wide rows have, all that is done with their distances alone is done as well, and in
less time, on their coordinates in that plane: uniting them, and trying to cluster them.

Source: Torgerson, "Multidimensional scaling: I. Theory and method", 1952.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import AnyRows, Doubles, Rows, WeightedAny
from onepass.cluster.batches import as_dense
from onepass.cluster.kernels import cpu, sparse

_WIDE = 2
_FEATURES_AT_ONCE = 4096


def is_worth_embedding(rows: AnyRows) -> bool:
    """Whether points have so many features that their coordinates are shorter by half."""
    return not isinstance(rows, np.ndarray) or rows.shape[1] > _WIDE * len(rows)


def coordinates_of(rows: AnyRows) -> Rows:
    """Return points of fewer features, as far from one another as these.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features), float32; or SparseRows or ShiftedRows

    Returns
    -------
    ndarray of shape (n, m), float32
        m is n at most.

    Notes
    -----
    Costs n * n * n_features operations, and about 10 n ** 3.
    """
    if not isinstance(rows, np.ndarray):
        return coordinates_by(sparse.products_within(rows))
    products = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], _FEATURES_AT_ONCE):
        block = rows[:, start : start + _FEATURES_AT_ONCE].astype(np.float64)
        block -= block.mean(axis=0)
        products += block @ block.T
    return coordinates_by(products)


def coordinates_by(products: npt.NDArray[np.float64]) -> Rows:
    """Return points that have these products, once their mean has been made the origin."""
    centered = products - products.mean(axis=0)
    centered -= centered.mean(axis=1)[:, None]
    values, vectors = np.linalg.eigh((centered + centered.T) / 2)
    there = values > values[-1] * np.finfo(np.float64).eps
    there[-1] = True
    found: Doubles = vectors[:, there] * np.sqrt(np.maximum(values[there], 0))
    return found.astype(np.float32)


def restored(points: WeightedAny, coordinates: Rows, centers: Rows) -> Rows:
    """Return centers of points whose coordinates have been clustered.

    Parameters
    ----------
    points : Weighted
    coordinates : ndarray of shape (n, m), float32
        Of the points.
    centers : ndarray of shape (n_clusters, m), float32

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        The mean of the points closest to each; of one that has none, the point closest to it.
    """
    labels = cpu.nearest_centers(coordinates, centers).labels
    sums, held = cpu.accumulate(points.rows, labels, len(centers), points.weights)
    filled = held > 0
    sums[filled] /= held[filled, None]
    found: Rows = sums.astype(np.float32)
    if not filled.all():
        closest = cpu.nearest_centers(centers[~filled], coordinates).labels
        found[~filled] = as_dense(points.rows[closest])
    return found
