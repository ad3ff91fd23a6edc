"""Search and accumulation of sparse rows among dense centers: cost by values, not by features.

Products are SciPy's, in float64: what float32 loses in ``|x|^2 - 2 x.c + |c|^2`` could not be
had back by differences, as those cost one operation for each feature.
Measured on one core, for rows of 100 values among 500 centers of 100,000 features: 80 microseconds
a row, for which memory is waited. SciPy is imported where it is needed: that takes a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, Weighted
from onepass.cluster.kernels.results import Sums
from onepass.cluster.shifted_rows import Shift, ShiftedRows
from onepass.sparse import SparseRows

Sparse: TypeAlias = SparseRows | ShiftedRows
WeightedSparse: TypeAlias = Weighted[Sparse]

_NOTHING = 1e-13
"""Squared distances below this share of the squares they come from are rounding."""

_TABLE_VALUES = 2**21
"""Products held at once, 16 MiB."""

_OFFSETS_AT_ONCE, _FEATURES_AT_ONCE = 64, 4096


class FoundSparse(NamedTuple):
    """The closest center of each row.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        The lowest index among equally close ones.
    sq_distances : ndarray of shape (n_samples,), float64
    others : ndarray of shape (n_samples,), float64
        Squared distance to the second closest; infinite where there is none.
    """

    labels: Labels
    sq_distances: Doubles
    others: Doubles


class Turned(NamedTuple):
    """Points that sparse rows are searched among, feature by feature.

    Attributes
    ----------
    table : ndarray of shape (n_features, n_points), float64
        C-contiguous; columns behind those of the points are not looked at.
    scale : ndarray of shape (n_points,), float64
        By which each is to be divided.
    squares : ndarray of shape (n_points,), float64
        Of the points, divided.
    """

    table: Doubles
    scale: Doubles
    squares: Doubles

    @classmethod
    def of(cls, centers: npt.NDArray[Any]) -> Turned:
        """Turn centers; costs a copy of them in float64."""
        table = np.ascontiguousarray(centers.T, np.float64)
        squares = np.einsum("ij,ij->j", table, table)
        return cls(table, np.ones(len(centers)), squares)


def search(rows: Sparse, points: Turned) -> FoundSparse:
    """Find the closest of some points for each row.

    Costs 2 * n_points operations for each value of the rows.
    """
    n = len(rows)
    found = FoundSparse(np.empty(n, np.int32), np.empty(n), np.full(n, np.inf))
    squares, of_offsets = squares_of(rows), _offset_products(rows, points.table)
    step = max(64, _TABLE_VALUES // len(points.squares))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        scores = products(_plain(rows)[part], points.table)[:, : len(points.squares)]
        if isinstance(rows, ShiftedRows):
            scores += of_offsets[rows.shift.groups[part]]
        scores *= -2 / points.scale
        scores += points.squares
        here = np.arange(len(scores))
        chosen = scores.argmin(axis=1)
        both = squares[part] + points.squares[chosen]
        found.labels[part] = chosen
        found.sq_distances[part] = _clean(scores[here, chosen] + squares[part], both)
        if scores.shape[1] > 1:
            scores[here, chosen] = np.inf
            found.others[part] = np.maximum(scores.min(axis=1) + squares[part], 0)
    return found


def between(rows: SparseRows, others: SparseRows) -> Doubles:
    """Return the squared distances between all rows and all others, shape (n_rows, n_others)."""
    both = squares_of(rows)[:, None] + squares_of(others)
    product: Doubles = (_matrix(rows) @ _matrix(others).T).toarray()
    return _clean(both - 2 * product, both)


def products_within(rows: Sparse) -> Doubles:
    """Return the products of all rows with one another, shape (n_rows, n_rows)."""
    matrix = _matrix(_plain(rows))
    found: Doubles = (matrix @ matrix.T).toarray()
    if isinstance(rows, ShiftedRows):
        offsets, groups = rows.shift.offsets.astype(np.float64), rows.shift.groups
        mixed = (matrix @ np.ascontiguousarray(offsets.T))[:, groups]
        found += mixed + mixed.T + (offsets @ offsets.T)[groups][:, groups]
    return found


def nearest_rows(rows: SparseRows, others: SparseRows) -> FoundSparse:
    """Find the closest of some sparse rows for each row; the second closest is not looked for."""
    found = FoundSparse(np.empty(len(rows), np.int32), np.empty(len(rows)), np.empty(0))
    step = max(64, _TABLE_VALUES // max(1, len(others)))
    for start in range(0, len(rows), step):
        apart = between(rows[start : start + step], others)
        chosen = apart.argmin(axis=1)
        found.labels[start : start + step] = chosen
        found.sq_distances[start : start + step] = apart[np.arange(len(apart)), chosen]
    return found


def open_far(far: Weighted[SparseRows], left: Doubles, coins: Doubles, price: float) -> Indices:
    """Open rows, one after the other, where what is left of their distance pays for it."""
    apart = between(far.rows, far.rows)
    opened = []
    for i, weight in enumerate(far.weights):
        if left[i] > 0 and left[i] * weight >= coins[i] * price:
            opened.append(i)
            np.minimum(left, apart[i], out=left)
    return np.array(opened, np.intp)


def squares_of(rows: Sparse) -> Doubles:
    """Return the squared norm of each row, shape (n_samples,), float64."""
    if isinstance(rows, ShiftedRows):
        return rows.shift.squares
    exact = rows.values.astype(np.float64)
    return _sums(exact * exact, rows)


def sq_distances_to(rows: Sparse, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it."""
    dots = _dots(_plain(rows), centers, chosen)
    if isinstance(rows, ShiftedRows):
        dots += _offset_dots(rows.shift, centers, chosen)
    norms = np.einsum("ij,ij->i", centers, centers, dtype=np.float64)
    both = squares_of(rows) + norms[chosen]
    return _clean(both - 2 * dots, both).astype(np.float32)


def accumulate(
    rows: Sparse, labels: Labels, n_clusters: int, weights: Doubles | None = None
) -> Sums:
    """Sum the rows of each cluster, in float64."""
    shares = np.ones(len(rows)) if weights is None else weights
    sums: Doubles = sums_of(_plain(rows), labels, n_clusters, shares).toarray()
    if isinstance(rows, ShiftedRows):
        _add_offsets(sums, rows.shift, labels, shares)
    received = np.bincount(labels, weights, n_clusters).astype(np.float64, copy=False)
    return Sums(sums, received)


def transfer(
    data: WeightedSparse, moved: Indices, former: Labels, labels: Labels, sums: Doubles
) -> None:
    """Move rows from the sums of their former clusters to those of their new ones."""
    rows, weights = data.rows[moved], data.weights[moved]
    for chosen, shares in ((labels[moved], weights), (former, -weights)):
        change = sums_of(_plain(rows), chosen, len(sums), shares)
        owners = np.repeat(np.arange(len(sums)), np.diff(change.indptr))
        sums[owners, change.indices] += change.data
        if isinstance(rows, ShiftedRows):
            _add_offsets(sums, rows.shift, chosen, shares)


def products(rows: SparseRows, table: Doubles) -> Doubles:
    """Return the products of rows with a table of shape (n_features, n), C-contiguous."""
    found: Doubles = _matrix(rows) @ table
    return found


def sums_of(rows: SparseRows, labels: Labels, n_clusters: int, weights: Doubles) -> Any:
    """Return the sums of the rows of each cluster, as a `scipy.sparse.csr_array` without twins."""
    from scipy import sparse

    places = np.arange(len(rows) + 1)
    one_hot = sparse.csr_array((weights, labels, places), shape=(len(rows), n_clusters))
    return one_hot.T.tocsr() @ _matrix(rows)


def move_by(rows: SparseRows, offsets: Rows, groups: Labels) -> ShiftedRows:
    """Move rows, each by the offset of its group."""
    norms = np.einsum("ij,ij->i", offsets, offsets, dtype=np.float64)
    squares = squares_of(rows) + 2 * _dots(rows, offsets, groups) + norms[groups]
    return ShiftedRows(rows, Shift(offsets, groups, np.maximum(squares, 0)))


def _matrix(rows: SparseRows) -> Any:
    from scipy import sparse

    starts: npt.NDArray[Any] = rows.starts
    if rows.n_values <= np.iinfo(np.int32).max:  # else indices of two kinds would be copied
        starts = starts.astype(np.int32)
    values = rows.values.astype(np.float64)
    return sparse.csr_array((values, rows.columns, starts), shape=rows.shape)


def _plain(rows: Sparse) -> SparseRows:
    return rows.rows if isinstance(rows, ShiftedRows) else rows


def _dots(rows: SparseRows, points: Rows, chosen: npt.NDArray[np.integer]) -> Doubles:
    """Return the product of each row with the point chosen for it."""
    terms = points[chosen[rows.owners()], rows.columns].astype(np.float64)
    terms *= rows.values
    return _sums(terms, rows)


def _sums(terms: Doubles, rows: SparseRows) -> Doubles:
    """Sum what belongs to the values of each row."""
    return np.bincount(rows.owners(), terms, len(rows)).astype(np.float64, copy=False)


def _offset_products(rows: Sparse, table: Doubles) -> Doubles:
    """Return the products of offsets and points, of those groups only that there are rows of."""
    if not isinstance(rows, ShiftedRows):
        return np.empty(0)
    offsets = rows.shift.offsets
    found = np.zeros((len(offsets), table.shape[1]))
    used = np.unique(rows.shift.groups)
    for start in range(0, len(used), _OFFSETS_AT_ONCE):
        part = used[start : start + _OFFSETS_AT_ONCE]
        found[part] = offsets[part].astype(np.float64) @ table
    return found


def _offset_dots(shift: Shift, centers: Rows, chosen: npt.NDArray[np.integer]) -> Doubles:
    """Return the product of each row's offset with the center chosen: pairs are few."""
    pairs, place = np.unique(_pairs(shift, chosen), return_inverse=True)
    clusters, groups = np.divmod(pairs, len(shift.offsets))
    dots = np.zeros(len(pairs))
    for part in _feature_blocks(centers):
        left, right = centers[clusters, part], shift.offsets[groups, part]
        dots += np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return dots[place]


def _add_offsets(sums: Doubles, shift: Shift, labels: Labels, weights: Doubles) -> None:
    """Add the offsets of rows to the sums of their clusters."""
    from scipy import sparse

    pairs, place = np.unique(_pairs(shift, labels), return_inverse=True)
    shares = np.bincount(place, weights, len(pairs))
    shape = len(sums), len(shift.offsets)
    table = sparse.csr_array((shares, np.divmod(pairs, shape[1])), shape=shape)
    for part in _feature_blocks(sums):
        sums[:, part] += table @ shift.offsets[:, part].astype(np.float64)


def _pairs(shift: Shift, labels: npt.NDArray[np.integer]) -> Indices:
    """Give each pair of a cluster and a group a number."""
    return labels * np.intp(len(shift.offsets)) + shift.groups


def _feature_blocks(rows: npt.NDArray[Any]) -> Iterator[slice]:
    for start in range(0, rows.shape[1], _FEATURES_AT_ONCE):
        yield slice(start, start + _FEATURES_AT_ONCE)


def _clean(sq_distances: Doubles, both: Doubles) -> Doubles:
    """Make 0 of what is rounding beside the squares that it is the difference of."""
    sq_distances[sq_distances < _NOTHING * both] = 0
    return sq_distances
