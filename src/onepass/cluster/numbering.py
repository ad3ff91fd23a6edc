"""Which number a cluster has, where it had one before."""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import Indices, Rows
from onepass.cluster.kernels import cpu


def numbered_like(centers: Rows, before: Rows) -> Indices:
    """Return an order of centers in which each goes on under its former number.

    A center has the number of the one before that is closest to it; where several do, the closest
    of them, and the others take numbers that are free, in their order.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    before : ndarray of shape (n_before, n_features), float32
        Numbers beyond the clusters that there are now are given up.

    Returns
    -------
    ndarray of shape (n_clusters,), intp
        Which center has each number.

    Notes
    -----
    Costs 2 * n_clusters * n_before * n_features operations.
    """
    n = len(centers)
    number, sq_distances = cpu.nearest_centers(centers, before)
    order = np.full(n, -1, np.intp)
    nearest_first = np.argsort(sq_distances, kind="stable")
    nearest_first = nearest_first[number[nearest_first] < n]
    taken, first = np.unique(number[nearest_first], return_index=True)
    order[taken] = nearest_first[first]
    order[order < 0] = np.setdiff1d(np.arange(n), order)
    return order
