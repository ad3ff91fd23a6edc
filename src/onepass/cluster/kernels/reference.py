"""Search and accumulation with NumPy and SciPy: short, and what `native` is tested against.

Everything here expects clean input: C-contiguous float32 rows without NaN, labels in range. What
makes this module long is that it has every kernel once more, none of which is long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.draws import draw
from onepass.cluster.kernels.reference_swaps import swap
from onepass.cluster.kernels.results import (
    Bounds,
    Clustering,
    Crossed,
    Found,
    Holdings,
    Shifts,
    Sums,
    doubt_of,
)

__all__ = [
    "accumulate",
    "layout",
    "lloyd",
    "loosen",
    "move",
    "open_far",
    "partners",
    "peak",
    "plus_plus",
    "search",
    "search_among",
    "search_exactly",
    "sq_distances_to",
    "swap",
    "transfer",
]

_TILE_VALUES = 2**18
"""Products held at once, 1 MiB: a tile is read again by argmin while it is still in cache."""

_TABLE_ROWS = 512
"""Centers priced for union at a time."""

_SUM_ROWS = 8192
"""Rows turned to float64 at a time, to be summed."""


class Layout(NamedTuple):
    """Centers as a search reads them.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    origin : ndarray of shape (n_features,), float32
    factor : ndarray of shape (n_features + 1, n_clusters), float32
        What rows are multiplied by: ``-2 c`` as columns above ``|c|^2``, from this origin.
    """

    centers: Rows
    origin: Rows
    factor: Rows


def layout(centers: Rows, origin: Rows) -> Layout:
    """Lay out centers for searches from this origin."""
    near = centers - origin
    factor = np.empty((centers.shape[1] + 1, len(centers)), np.float32)
    np.multiply(near.T, -2, out=factor[:-1])
    np.einsum("ij,ij->i", near, near, out=factor[-1])
    return Layout(centers, origin, factor)


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
    return _search(rows, layout(centers, origin), second=second)


def search_among(rows: Rows, laid_out: Layout) -> Found:
    """Find the center with the least score for each row, as `search`, among centers laid out.

    To the last bit what it finds for each row alone.
    """
    found = _search(rows, laid_out, second=True, alone=True)
    return found._replace(ahead=found.ahead[:0])


def _search(rows: Rows, laid_out: Layout, *, second: bool, alone: bool = False) -> Found:
    n, d = rows.shape
    centers, origin, factor = laid_out
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
    norms = np.einsum("ij,ij->i", near[:, :-1], near[:, :-1])
    if alone:  # matrix products round one row otherwise than many: it matters where two are close
        close = ahead < doubt_of(d) * (norms + factor[-1].take(chosen))
        for i in np.flatnonzero(close):
            chosen[i] = np.einsum("j,jk->k", near[i], factor).argmin()
    squares = norms + factor[-1].take(chosen)
    exact = sq_distances_to(rows, centers, chosen)
    return Found(chosen.astype(np.int32), exact, squares, ahead)


def search_by_pivots(rows: Rows, centers: Rows, origin: Rows, pivots: Indices) -> tuple[Found, int]:
    """Find the center with the least score for each row, looking at all."""
    del pivots
    return search(rows, centers, origin), len(rows) * len(centers)


def search_exactly(found: Found, which: Indices, rows: Rows, centers: Rows) -> None:
    """Search some rows once more, by differences."""
    step = max(1, _TILE_VALUES // centers.size)
    for start in range(0, len(which), step):
        part = which[start : start + step]
        gaps = rows[part, None] - centers
        apart = np.einsum("ijk,ijk->ij", gaps, gaps)
        found.labels[part] = chosen = apart.argmin(axis=1)
        found.sq_distances[part] = apart[np.arange(len(part)), chosen]


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
    from scipy import sparse  # which takes a while to import

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


def lloyd(data: WeightedRows, centers: Rows, max_iter: int, tol: float, doubt: float) -> Clustering:
    """Move centers to the means of their rows until that gains little."""
    rows, weights = data
    origin = rows.mean(axis=0)
    before = 0.0
    for iteration in range(max_iter + 1):
        labels, sq_distances, squares, _ = search(rows, centers, origin)
        for i in np.flatnonzero((sq_distances > 0) & (sq_distances < doubt * squares)):
            gap = centers - rows[i]
            apart = np.einsum("ij,ij->i", gap, gap)
            labels[i], sq_distances[i] = apart.argmin(), apart.min()
        inertia = float(sq_distances @ weights)
        if iteration == max_iter or (iteration and before - inertia <= tol * before):
            break
        before = inertia
        sums, held = accumulate(rows, labels, len(centers), weights)
        filled = held > 0
        centers = centers.copy()
        centers[filled] = sums[filled] / held[filled, None]
        farthest = np.argsort(-sq_distances * weights, kind="stable")
        centers[~filled] = rows[farthest[: int((~filled).sum())]]
    return Clustering(centers, inertia)


def move(data: WeightedRows, labels: Labels, sq_distances: Floats, holdings: Holdings) -> None:
    """Add rows to the centers that absorb them, which move to the mean of all they hold."""
    centers, sums, weights, scatter = holdings
    fresh = accumulate(data.rows, labels, len(weights), data.weights)
    # What they hold already scatters about its mean; the center is that in float32.
    held = weights > 0
    rounded = sums[held] / weights[held, None] - centers[held]
    scatter[held] += weights[held] * np.einsum("ij,ij->i", rounded, rounded)
    sums += fresh.sums
    weights += fresh.weights
    means = centers.astype(np.float64)
    np.divide(sums, weights[:, None], out=means, where=weights[:, None] > 0)
    # About the former center the rows scatter by their cost; about the new mean, by less.
    scatter += np.bincount(labels, sq_distances * data.weights, len(weights))
    gap = means - centers
    scatter -= weights * np.einsum("ij,ij->i", gap, gap)
    np.maximum(scatter, 0, out=scatter)
    centers[:] = means


def open_far(far: WeightedRows, left: Doubles, coins: Doubles, price: float) -> Indices:
    """Open rows, one after the other, where what is left of their distance pays for it."""
    opened = []
    for i, weight in enumerate(far.weights):
        if left[i] > 0 and left[i] * weight >= coins[i] * price:
            opened.append(i)
            gap = far.rows - far.rows[i]
            np.minimum(left, np.einsum("ij,ij->i", gap, gap), out=left)
    return np.array(opened, np.intp)


def partners(
    centers: npt.NDArray[np.floating], weights: npt.NDArray[np.floating], some: Indices
) -> Indices:
    """Find for some centers the one that it costs least to unite each with.

    In the precision of the centers. Memory: 8 bytes for each pair of 512 centers with all.
    """
    norms = np.einsum("ij,ij->i", centers, centers)
    found = np.empty(len(some), np.intp)
    for start in range(0, len(some), _TABLE_ROWS):
        part = some[start : start + _TABLE_ROWS]
        table = centers[part] @ centers.T
        table *= -2
        table += norms
        table += norms[part, None]
        np.maximum(table, 0, out=table)
        heavy = weights[part, None]
        table *= heavy * (weights / (heavy + weights))
        table[np.arange(len(part)), part] = np.inf
        table.argmin(axis=1, out=found[start : start + _TABLE_ROWS])
    return found


def peak(rows: Rows) -> float:
    """Return the largest absolute value, infinity or NaN where there is any."""
    return float(np.maximum(rows.max(initial=0), -rows.min(initial=0)))


def between(rows: Rows) -> Floats:
    """Return the squared distances between all rows."""
    apart = np.empty((len(rows), len(rows)), np.float32)
    for row, line in zip(rows, apart, strict=True):
        gap = rows - row
        np.einsum("ij,ij->i", gap, gap, out=line)
    return apart


def plus_plus(
    data: WeightedRows,
    n_clusters: int,
    n_candidates: int,
    uniforms: Doubles,
    apart: Floats | None = None,
) -> Indices:
    """Choose rows to start from by greedy k-means++."""
    weights = data.weights
    rows = data.rows - data.rows.mean(axis=0)  # products lose digits far from the origin
    norms = np.einsum("ij,ij->i", rows, rows)
    chosen = np.empty(n_clusters, np.intp)
    chosen[0] = draw(weights, uniforms[:1])[0]
    gap = rows - rows[chosen[0]]
    sq_distances = np.einsum("ij,ij->i", gap, gap)
    for i in range(1, n_clusters):
        numbers = uniforms[1 + (i - 1) * n_candidates :][:n_candidates]
        candidates = draw(weights * sq_distances, numbers)
        if not len(candidates):
            return chosen[:i]
        table = _sq_distances(rows, norms, candidates) if apart is None else apart[candidates]
        closer = np.minimum(table, sq_distances)
        chosen[i] = candidates[int((closer @ weights).argmin())]
        gap = rows - rows[chosen[i]]  # exactly: beside far rows, products do not tell close ones
        sq_distances = np.minimum(np.einsum("ij,ij->i", gap, gap), sq_distances)
    return chosen


def loosen(rows: Rows, centers: Rows, bounds: Bounds, shifts: Shifts) -> Crossed:
    """Move the bounds of rows as far as their centers have moved."""
    return loosen_by(lambda part, own: sq_distances_to(rows[part], centers, own), bounds, shifts)


def loosen_by(
    measure: Callable[[Indices, Labels], Floats], bounds: Bounds, shifts: Shifts
) -> Crossed:
    """Move bounds; `measure` tells the squared distances of some rows to the centers they have."""
    labels, upper, lower = bounds
    upper += shifts.own[labels]
    near = lower - shifts.others[labels]
    far, halfway = shifts.far[labels], shifts.halfway[labels]

    def crossed() -> npt.NDArray[np.bool_]:
        np.minimum(near, far - upper, out=lower)
        safe = np.maximum(lower, halfway)
        safe *= np.float32(shifts.share)
        return np.asarray(upper > safe)

    doubtful = np.flatnonzero(crossed())
    own = np.zeros(len(labels), np.float32)
    for start in range(0, len(doubtful), _SUM_ROWS):
        part = doubtful[start : start + _SUM_ROWS]
        own[part] = measure(part, labels[part])
    upper[doubtful] = np.sqrt(own[doubtful])
    again = np.flatnonzero(crossed())
    return Crossed(again, own[again])


def transfer(
    data: WeightedRows, moved: Indices, former: Labels, labels: Labels, sums: Doubles
) -> None:
    """Move rows from the sums of their former clusters to those of their new ones."""
    for start in range(0, len(moved), _SUM_ROWS):
        part, before = moved[start : start + _SUM_ROWS], former[start : start + _SUM_ROWS]
        rows, weights = data.rows[part], data.weights[part]
        sums += accumulate(rows, labels[part], len(sums), weights).sums
        sums -= accumulate(rows, before, len(sums), weights).sums


def _sq_distances(rows: Rows, norms: Floats, chosen: Indices) -> Floats:
    """Return squared distances from the chosen rows to all rows, shape (n_chosen, n_rows)."""
    table: Floats = rows[chosen] @ rows.T
    table *= -2
    table += norms
    table += norms[chosen, None]
    np.maximum(table, 0, out=table)
    return table
