"""Search and accumulation on a CPU: what all other modules call.

Everything here expects clean input: C-contiguous float32 rows without NaN, labels in range. The
work is done by `native`, in C, where that has been compiled, and else by `reference`, with NumPy;
for sparse rows, which some functions take as well, by `sparse`.
What makes this module long is that what a kernel takes, returns and costs is said here for both;
those of the last step are in `refining`.

Measured on one core, with 500 centers, in microseconds a row::

    features                             2      10      26     100     400
    native                            0.07    0.13    0.26    0.83    3.26
    reference                         0.19    0.27    0.41    1.06    4.53
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import AnyRows, Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.kernels import compiled, native, reference, rounded, sparse
from onepass.cluster.kernels.results import (
    Found,
    Holdings,
    Sums,
    doubt_of,
)
from onepass.cluster.shifted_rows import ShiftedRows
from onepass.sparse import SparseRows

_DOUBLE_ROWS = 1024
"""Rows searched in float64 at a time."""

_DOUBLE_VALUES = 2**19
"""Values of centers turned to float64 at a time, 4 MiB: many requests may ask for that at a time.
"""

_DOUBT_IN_DOUBLE = 2.0**-40
"""Scores in float64 that lie closer to each other than this share of the squares are in doubt."""


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


class NearestOfAll(NamedTuple):
    """The closest center of each row, and what it took to look at all centers.

    Attributes
    ----------
    nearest : Nearest
    effort : float
        As a share of what that takes in float32: less where centers are rounded first.
    """

    nearest: Nearest
    effort: float


class NearestByPivots(NamedTuple):
    """The closest center of each row, and what it took to find it.

    Attributes
    ----------
    nearest : Nearest
    n_looked : int
        Pairs of a row and a center that were looked at.
    """

    nearest: Nearest
    n_looked: int


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


@functools.cache
def kernels() -> Any:
    """Return the module of kernels that is used here."""
    return native if compiled.is_compiled() else reference


def describe() -> str:
    """Tell which kernels are used here, for a log."""
    if compiled.is_compiled():
        as_bytes = ", many centers as bytes first" if rounded.has_bytes() else ""
        return f"compiled kernels, {compiled.fastest_lanes()} values at a time{as_bytes}"
    return "NumPy, as the kernels were not compiled when this package was installed: slower"


def nearest_centers(rows: AnyRows, centers: Rows, origin: Rows | None = None) -> Nearest:
    """Find the closest center of each row.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32; or SparseRows or ShiftedRows
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
    The closest center has the least ``|c|^2 - 2 x.c``: 2 * n_clusters * n_features operations a
    row. That form loses digits far from the origin, which is therefore moved to the rows. The
    distance returned is computed anew from the differences; rows whose distance lies below what
    float32 can tell in that form are searched once more by differences.
    """
    if not isinstance(rows, np.ndarray):
        among = sparse.search(rows, sparse.Turned.of(centers))
        return Nearest(among.labels, among.sq_distances.astype(np.float32))
    found = kernels().search(rows, centers, _origin(rows) if origin is None else origin)
    search_doubtful_again(found, rows, centers)
    return Nearest(found.labels, found.sq_distances)


def nearest_of_all(rows: Rows, centers: Rows) -> NearestOfAll:
    """Find the closest center of each row, as `nearest_centers`, and tell what it took."""
    found = kernels().search(rows, centers, _origin(rows))
    effort = rounded.effort_of(found, *centers.shape)
    search_doubtful_again(found, rows, centers)
    return NearestOfAll(Nearest(found.labels, found.sq_distances), effort)


def nearest_by_pivots(rows: Rows, centers: Rows, pivots: Indices) -> NearestByPivots:
    """Find the closest center of each row, passing over centers far from the closest pivot.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
    pivots : ndarray of shape (n_pivots,), intp
        At least one; indices of centers.

    Returns
    -------
    NearestByPivots
        What `nearest_centers` finds, but that any of equally close centers may be named.

    Notes
    -----
    Costs 2 * n_pivots * n_features operations a row and as many for each center that may be closer:
    one less than twice as far from the pivot as the row is; beside that, 3 * n_pivots * n_clusters
    * n_features. Without C, all centers are looked at.
    """
    found, n_looked = kernels().search_by_pivots(rows, centers, _origin(rows), pivots)
    search_doubtful_again(found, rows, centers)
    return NearestByPivots(Nearest(found.labels, found.sq_distances), n_looked)


def two_nearest_centers(rows: AnyRows, centers: Rows, origin: Rows | None = None) -> TwoNearest:
    """Find the closest center of each row, and a lower bound of the distance to all others.

    Parameters and costs are those of `nearest_centers`.
    """
    if not isinstance(rows, np.ndarray):
        among = sparse.search(rows, sparse.Turned.of(centers))
        distances, to_others = np.sqrt(among.sq_distances), np.sqrt(among.others)
        return TwoNearest(among.labels, distances.astype(np.float32), to_others.astype(np.float32))
    origin = _origin(rows) if origin is None else origin
    found = kernels().search(rows, centers, origin, second=True)
    search_doubtful_again(found, rows, centers)
    others = found.sq_distances + found.ahead
    others -= doubt_of(rows.shape[1]) * found.squares
    np.maximum(others, 0, out=others)
    return TwoNearest(found.labels, np.sqrt(found.sq_distances), np.sqrt(others, out=others))


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
    for start in range(0, len(rows), _DOUBLE_ROWS):
        part = rows[start : start + _DOUBLE_ROWS].astype(np.float64)
        found = _least_scores(part, centers, lambda few, group: few @ group.T)
        squares = np.einsum("ij,ij->i", part, part) + found.squares
        for i in np.flatnonzero(found.ahead < _DOUBT_IN_DOUBLE * squares):
            found.chosen[i] = _least_scores(part[i : i + 1], centers, _products_of_one).chosen[0]
        part -= centers[found.chosen]
        labels[start : start + len(part)] = found.chosen
        sq_distances[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    return NearestInDouble(labels, sq_distances)


class _LeastScores(NamedTuple):
    chosen: Indices
    ahead: Doubles
    squares: Doubles  # of the centers chosen


def _least_scores(
    rows: Doubles, centers: Rows, products: Callable[[Doubles, Doubles], Doubles]
) -> _LeastScores:
    """Find the least scores in float64, among so many centers at a time that these stay small."""
    least, second, squares = np.full((3, len(rows)), np.inf)
    chosen, here = np.zeros(len(rows), np.intp), np.arange(len(rows))
    step = max(1, _DOUBLE_VALUES // centers.shape[1])
    for start in range(0, len(centers), step):
        group = centers[start : start + step].astype(np.float64)
        norms = np.einsum("ij,ij->i", group, group)
        scores = norms - 2 * products(rows, group)
        closest = scores.argmin(axis=1)
        found = scores[here, closest]
        scores[here, closest] = np.inf
        second = np.minimum(np.minimum(second, scores.min(axis=1)), np.maximum(least, found))
        closer = found < least
        least[closer], squares[closer] = found[closer], norms[closest[closer]]
        chosen[closer] = start + closest[closer]
    return _LeastScores(chosen, second - least, squares)


def _products_of_one(row: Doubles, group: Doubles) -> Doubles:
    """Multiply without BLAS, which rounds one row otherwise than the same row among others."""
    products: Doubles = np.einsum("ij,kj->ik", row, group)
    return products


def sq_distances_to(rows: AnyRows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
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
    if not isinstance(rows, np.ndarray):
        return sparse.sq_distances_to(rows, centers, chosen)
    sq_distances: Floats = kernels().sq_distances_to(rows, centers, chosen)
    return sq_distances


def accumulate(
    rows: AnyRows, labels: Labels, n_clusters: int, weights: Doubles | None = None
) -> Sums:
    """Sum the rows of each cluster, in float64.

    A mean far from the origin, or of a hundred million rows, is right to float32's last digit.

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
    """
    if not isinstance(rows, np.ndarray):
        return sparse.accumulate(rows, labels, n_clusters, weights)
    sums: Sums = kernels().accumulate(rows, labels, n_clusters, weights)
    return sums


def move(data: WeightedRows, labels: Labels, sq_distances: Floats, holdings: Holdings) -> None:
    """Add rows to the centers that absorb them, which move to the mean of all they hold.

    Parameters
    ----------
    data : WeightedRows
    labels : ndarray of shape (n_samples,), int32
        The centers that absorb the rows.
    sq_distances : ndarray of shape (n_samples,), float32
        To these centers.
    holdings : Holdings
        Changed in place.

    Notes
    -----
    Costs 2 * n_features operations a row, and 5 for each center that absorbs any.
    """
    kernels().move(data, labels, sq_distances, holdings)


def open_far(far: WeightedRows, left: Doubles, coins: Doubles, price: float) -> Indices:
    """Open rows as centers, one after the other, where what is left of their distance pays for it.

    Parameters
    ----------
    far : WeightedRows
    left : ndarray of shape (n_samples,), float64
        Squared distance of each row to the closest center; made smaller here by those opened.
    coins : ndarray of shape (n_samples,), float64
        The share of the price that a row must pay by its weighted squared distance.
    price : float

    Returns
    -------
    ndarray of shape (n_opened,), intp
        The rows that open, in order.

    Notes
    -----
    Costs 3 * n_opened * n_samples * n_features operations at most.
    """
    opened: Indices = kernels().open_far(far, left, coins, price)
    return opened


def partners(centers: Rows, weights: Floats, some: Indices) -> Indices:
    """Find for some centers the one that it costs least to unite each with.

    Parameters
    ----------
    centers : ndarray of shape (n_centers, n_features), float32
        At least two, near the origin.
    weights : ndarray of shape (n_centers,), float32
        Positive.
    some : ndarray of shape (n,), intp

    Returns
    -------
    ndarray of shape (n,), intp
        For each, the other center with the least ``a b / (a + b) s``, for weights a and b at
        squared distance s; the lowest index among equal ones.

    Notes
    -----
    Costs 2 * n * n_centers * n_features operations.
    """
    found: Indices = kernels().partners(centers, weights, some)
    return found


def partners_in_double(centers: Doubles, weights: Doubles, some: Indices) -> Indices:
    """Find partners in float64, as `partners`: slower, and right where float32 is in doubt."""
    found: Indices = reference.partners(centers, weights, some)
    return found


def peak(rows: AnyRows) -> float:
    """Return the largest absolute value: 0 for no rows, infinity or NaN where there is any.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
        Any.
    """
    if isinstance(rows, ShiftedRows):
        rows = rows.rows
    if isinstance(rows, SparseRows):
        rows = rows.values[:, None]
    largest: float = kernels().peak(rows)
    return largest


def _origin(rows: Rows) -> Rows:
    """Return the mean of the rows, summed by a product: `mean` takes ten times as long."""
    mean: Rows = np.ones(len(rows), np.float32) @ rows / np.float32(max(len(rows), 1))
    return mean


def search_doubtful_again(found: Found, rows: Rows, centers: Rows) -> None:
    """Search by differences where products are in doubt."""
    exact = found.sq_distances
    (doubtful,) = (exact < doubt_of(rows.shape[1]) * found.squares).nonzero()
    if not len(doubtful):
        return
    doubtful = doubtful[exact[doubtful] > 0]
    if len(doubtful):
        kernels().search_exactly(found, doubtful, rows, centers)
