"""Starts, swaps and iterations of k-means on a CPU: what the last step calls.

As in `cpu`, the work is done by `native`, in C, where that has been compiled, and else by
`reference`, with NumPy; what is expected is the same.
"""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import (
    AnyRows,
    Doubles,
    Floats,
    Indices,
    Labels,
    Rows,
    Weighted,
    WeightedAny,
    WeightedRows,
)
from onepass.cluster.kernels import cpu, reference, sparse
from onepass.cluster.kernels.results import Bounds, Clustering, Crossed, Shifts, doubt_of


def lloyd(data: WeightedRows, centers: Rows, max_iter: int, tol: float) -> Clustering:
    """Move centers to the means of their rows until that gains little: for few rows.

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

    Notes
    -----
    A center that no row is closest to is moved to the row that contributes most to the inertia.
    Costs 2 * n_clusters * n_rows * n_features operations an iteration, and one more such search.
    """
    doubt = doubt_of(data.rows.shape[1])
    clustering: Clustering = cpu.kernels().lloyd(data, centers, max_iter, tol, doubt)
    return clustering


def between(rows: Rows) -> Floats:
    """Return the squared distances between all rows, computed from the differences.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32

    Returns
    -------
    ndarray of shape (n_samples, n), float32
        For `plus_plus` and `swap`; n is n_samples, or more to fill lines up to whole vectors.

    Notes
    -----
    Costs 1.5 * n_samples * n_samples * n_features operations, and twice as many without C.
    """
    apart: Floats = cpu.kernels().between(rows)
    return apart


def plus_plus(
    data: WeightedRows,
    n_clusters: int,
    n_candidates: int,
    uniforms: Doubles,
    apart: Floats | None = None,
) -> Indices:
    """Choose rows to start from by greedy k-means++.

    Parameters
    ----------
    data : WeightedRows
    n_clusters : int
    n_candidates : int
        Rows drawn for each center but the first; the one that lowers the inertia most is taken.
    uniforms : ndarray of shape (1 + (n_clusters - 1) * n_candidates,), float64
        From [0, 1).
    apart : ndarray, float32, optional
        `between` of the rows, where that is known.

    Returns
    -------
    ndarray of shape (n,), intp
        Different rows; fewer than `n_clusters` where all others lie on these.

    Notes
    -----
    Costs 3 * n_clusters * n_candidates * n_rows * n_features operations, without the last factor
    where `apart` is given.
    """
    found: Indices = cpu.kernels().plus_plus(data, n_clusters, n_candidates, uniforms, apart)
    return found


def swap(
    data: WeightedRows,
    centers: Rows,
    uniforms: Doubles,
    least_gain: float,
    apart: Floats | None = None,
) -> Rows:
    """Put rows in the place of centers where that lowers the inertia.

    Parameters
    ----------
    data : WeightedRows
    centers : ndarray of shape (n_clusters, n_features), float32
        At least two; not changed.
    uniforms : ndarray of shape (n_steps, n_candidates), float64
        From [0, 1), to draw rows by in proportion to what they add to the inertia.
    least_gain : float
        Share of the inertia by which a swap must lower it.
    apart : ndarray, float32, optional
        `between` of the rows, where that is known.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
    """
    swapped: Rows = cpu.kernels().swap(data, centers, uniforms, least_gain, apart)
    return swapped


def loosen(rows: AnyRows, centers: Rows, bounds: Bounds, shifts: Shifts) -> Crossed:
    """Move the bounds of rows as far as their centers have moved.

    Where they cross, the distance to the own center is measured, and becomes the upper bound.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32; or SparseRows or ShiftedRows
    centers : ndarray of shape (n_clusters, n_features), float32
        Where they are now.
    bounds : Bounds
        Changed in place.
    shifts : Shifts

    Returns
    -------
    Crossed
        The rows whose bounds cross even so.
    """
    if not isinstance(rows, np.ndarray):
        return reference.loosen_by(
            lambda part, own: sparse.sq_distances_to(rows[part], centers, own), bounds, shifts
        )
    crossed: Crossed = cpu.kernels().loosen(rows, centers, bounds, shifts)
    return crossed


def transfer(
    data: WeightedAny, moved: Indices, former: Labels, labels: Labels, sums: Doubles
) -> None:
    """Move rows from the sums of their former clusters to those of their new ones.

    Parameters
    ----------
    data : WeightedRows
    moved : ndarray of shape (n,), intp
        Which rows.
    former : ndarray of shape (n,), int32
        The clusters these were in.
    labels : ndarray of shape (n_samples,), int32
        The clusters all rows are in now.
    sums : ndarray of shape (n_clusters, n_features), float64
        Changed in place.
    """
    if not isinstance(data.rows, np.ndarray):
        sparse.transfer(Weighted(data.rows, data.weights), moved, former, labels, sums)
        return
    cpu.kernels().transfer(data, moved, former, labels, sums)
