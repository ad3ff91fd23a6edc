"""The functions of `native.c`.

Everything here expects clean input: labels in range, above all, and at least one center. What is
given to C, and what is refused, stands in `compiled`. What makes this module long is that it calls
every kernel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.kernels.compiled import (
    TABLE_WIDTH,
    CBounds,
    CHoldings,
    CIterating,
    CProblem,
    CResult,
    CShifts,
    CSwapping,
    Layout,
    address_of,
    changed,
    check,
    check_candidates,
    fastest_lanes,
    layout_of,
    library,
    problem_among,
    problem_of,
    read,
    table_of,
    weighted,
)
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
from onepass.cluster.kernels.rounded import rounds

_FEWEST_ROWS = 32
"""To round centers for these alone."""

_PROBED_CENTERS, _MOST_LEFT = 64, 0.1

_SMALL_VALUES = 2**18
"""Laid out, centers take this much, 1 MiB, whatever it is that they take otherwise."""


def search(
    rows: Rows, centers: Rows, origin: Rows, *, second: bool = False, lanes: int | None = None
) -> Found:
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
    lanes : int, optional
        One of `all_lanes`.

    Notes
    -----
    Costs 2 * n_clusters * n_features operations a row, at nearly the speed of the processor: the
    scores of six rows and two vectors of centers stay in registers; and a quarter of that where
    centers are rounded first. Memory: the centers, and as much of the rows as fits the cache, or
    six times as many scores as there are centers.
    """
    n = len(rows)
    found = _nothing_found(n, second=second)
    out = CResult(*(array.ctypes.data if len(array) else None for array in found))
    if lanes is None and n >= _FEWEST_ROWS and rounds(*centers.shape):
        _search_rounded(problem_of(rows, centers, origin), None, out)
    elif library().onepass_search(problem_of(rows, centers, origin), out, lanes or fastest_lanes()):
        raise MemoryError(f"no room to search among {len(centers)} centers")
    return found


def layout(centers: Rows, origin: Rows) -> Layout | None:
    """Lay out centers once for all searches; None where that would take up too much.

    Few centers are filled up to a whole vector of them: if there are many features, each search
    does so anew.
    """
    if rounds(*centers.shape):
        rounded = layout_of(centers, origin, 0)
        if _tells_apart(rounded):
            return rounded
    lanes = fastest_lanes()
    n_filled = -(-len(centers) // (2 * lanes)) * 2 * lanes
    if n_filled > max(2 * len(centers), _SMALL_VALUES // centers.shape[1]):
        return None
    return layout_of(centers, origin, lanes)


def _tells_apart(rounded: Layout) -> bool:
    """Whether rounded centers are enough for most rows, those at and halfway between centers."""
    centers = rounded.arrays[0]
    some = centers[:: -(-len(centers) // _PROBED_CENTERS)]
    found = search_among(np.vstack([some, (some[1:] + some[:-1]) * np.float32(0.5)]), rounded)
    return bool((found.squares > 0).mean() < _MOST_LEFT)


def search_among(rows: Rows, centers: Layout) -> Found:
    """Find the center with the least score for each row, as `search`, among centers laid out."""
    n = len(rows)
    values = np.empty((3, n), np.float32)
    first = address_of(values)
    out = CResult(first, first + 4 * n, first + 8 * n, None)
    if not centers.lanes:
        _search_rounded(problem_among(rows, centers), centers.addresses[2], out)
    elif library().onepass_search(problem_among(rows, centers), out, centers.lanes):
        raise MemoryError(f"no room to search for {n} rows")
    labels, sq_distances, squares = values
    return Found(labels.view(np.int32), sq_distances, squares, values[0, :0])


def _search_rounded(problem: CProblem, rounded: int | None, out: CResult) -> None:
    doubt = doubt_of(problem.n_features)
    if library().onepass_search_rounded(problem, rounded, doubt, out, fastest_lanes()):
        raise MemoryError(f"no room to search for {problem.n_rows} rows")


def _nothing_found(n: int, *, second: bool) -> Found:
    return Found(
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n if second else 0, np.float32),
    )


def search_by_pivots(
    rows: Rows, centers: Rows, origin: Rows, pivots: Indices, lanes: int | None = None
) -> tuple[Found, int]:
    """Find the center with the least score for each row, passing over most by way of pivots."""
    n = len(rows)
    chosen = read(pivots, np.int64)
    check(len(chosen) > 0, "there are no pivots")
    check(0 <= chosen.min() <= chosen.max() < len(centers), "pivots that are no centers")
    found = _nothing_found(n, second=False)
    out = CResult(*(array.ctypes.data if len(array) else None for array in found))
    n_looked = library().onepass_search_by_pivots(
        problem_of(rows, centers, origin),
        chosen.ctypes.data,
        len(chosen),
        out,
        lanes or fastest_lanes(),
    )
    if n_looked < 0:
        raise MemoryError(f"no room to search among {len(centers)} centers")
    return found, n_looked


def search_exactly(found: Found, which: Indices, rows: Rows, centers: Rows) -> None:
    """Search some rows once more, by differences."""
    chosen = read(which, np.int64)
    failed = library().onepass_search_exactly(
        problem_of(rows, centers, centers[0]),
        chosen.ctypes.data,
        len(chosen),
        changed(found.labels, np.int32),
        changed(found.sq_distances, np.float32),
        fastest_lanes(),
    )
    if failed:
        raise MemoryError(f"no room to search among {len(centers)} centers")


def sq_distances_to(rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it."""
    sq_distances = np.empty(len(rows), np.float32)
    labels = read(chosen, np.int32)
    pointers = labels.ctypes.data, sq_distances.ctypes.data
    library().onepass_measure(problem_of(rows, centers, centers[0]), *pointers, fastest_lanes())
    return sq_distances


def accumulate(rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None) -> Sums:
    """Sum the rows of each cluster in float64, in their order."""
    sums = Sums(np.zeros((n_clusters, rows.shape[1])), np.zeros(n_clusters))
    chosen = read(labels, np.int32)
    to = (array.ctypes.data for array in sums)
    library().onepass_accumulate(weighted(rows, weights), chosen.ctypes.data, *to)
    return sums


def lloyd(data: WeightedRows, centers: Rows, max_iter: int, tol: float, doubt: float) -> Clustering:
    """Move centers to the means of their rows until that gains little."""
    check(len(data.rows) > 0, "there are no rows")
    moved, inertia = centers.astype(np.float32, order="C"), np.zeros(1)
    origin = data.rows.mean(axis=0, dtype=np.float32)
    iterating = CIterating(
        moved.ctypes.data,
        origin.ctypes.data,
        len(moved),
        max_iter,
        tol,
        doubt,
        inertia.ctypes.data,
    )
    if library().onepass_lloyd(weighted(*data), iterating, fastest_lanes()):
        raise MemoryError(f"no room to cluster {len(data.rows)} rows")
    return Clustering(moved, float(inertia[0]))


def move(data: WeightedRows, labels: Labels, sq_distances: Floats, holdings: Holdings) -> None:
    """Add rows to the centers that absorb them, which move to the mean of all they hold."""
    n_centers = len(holdings.weights)
    chosen, apart = read(labels, np.int32), read(sq_distances, np.float32)
    # Threads that share an estimator may have changed what the labels refer to.
    check(all(len(array) == n_centers for array in holdings), "holdings of several lengths")
    check(len(chosen) == len(apart) == len(data.rows), "a label and a distance for each row")
    check(not len(chosen) or 0 <= chosen.min() <= chosen.max() < n_centers, "labels out of range")
    held = CHoldings(
        changed(holdings.centers, np.float32),
        *(changed(array, np.float64) for array in holdings[1:]),
        n_centers,
    )
    pointers = chosen.ctypes.data, apart.ctypes.data
    if library().onepass_move(weighted(*data), *pointers, held, fastest_lanes()):
        raise MemoryError(f"no room to move {len(holdings.weights)} centers")


def open_far(far: WeightedRows, left: Doubles, coins: Doubles, price: float) -> Indices:
    """Open rows, one after the other, where what is left of their distance pays for it."""
    opened = np.empty(len(left), np.int64)
    tosses = read(coins, np.float64)
    n_opened = library().onepass_open(
        weighted(*far),
        changed(left, np.float64),
        tosses.ctypes.data,
        price,
        opened.ctypes.data,
        fastest_lanes(),
    )
    return opened[:n_opened]


def partners(centers: Rows, weights: Floats, some: Indices) -> Indices:
    """Find for some centers the one that it costs least to unite each with."""
    masses = read(weights, np.float32)
    named = read(some, np.int32)
    found = np.empty(len(some), np.int32)
    problem = problem_of(centers, centers, np.zeros(centers.shape[1], np.float32))
    problem.n_rows = len(some)
    pointers = (array.ctypes.data for array in (masses, named, found))
    if library().onepass_partners(problem, *pointers, fastest_lanes()):
        raise MemoryError(f"no room to unite {len(centers)} centers")
    return found.astype(np.intp)


def peak(rows: Rows) -> float:
    """Return the largest absolute value, infinity or NaN where there is any."""
    values = read(rows, np.float32)
    return float(library().onepass_peak(address_of(values), values.size, fastest_lanes()))


def between(rows: Rows) -> Floats:
    """Return the squared distances between all rows, and behind each line what fills it up."""
    n = len(rows)
    apart = np.empty((n, -(-n // TABLE_WIDTH) * TABLE_WIDTH), np.float32)
    if library().onepass_between(weighted(rows, None), table_of(apart, n), fastest_lanes()):
        raise MemoryError(f"no room to measure {n} rows")
    return apart


def plus_plus(
    data: WeightedRows,
    n_clusters: int,
    n_candidates: int,
    uniforms: Doubles,
    apart: Floats | None = None,
) -> Indices:
    """Choose rows to start from by greedy k-means++."""
    check_candidates(n_candidates)
    numbers = read(uniforms, np.float64)
    check(numbers.size > (n_clusters - 1) * n_candidates, "too few numbers to draw by")
    chosen = np.empty(n_clusters, np.int64)
    n_chosen = library().onepass_plus_plus(
        weighted(*data),
        table_of(apart, len(data.rows)),
        n_clusters,
        n_candidates,
        numbers.ctypes.data,
        chosen.ctypes.data,
        fastest_lanes(),
    )
    if n_chosen < 0:
        raise MemoryError(f"no room to choose among {len(data.rows)} rows")
    return chosen[:n_chosen]


def swap(
    data: WeightedRows,
    centers: Rows,
    uniforms: Doubles,
    least_gain: float,
    apart: Floats | None = None,
) -> Rows:
    """Put rows in the place of centers where that lowers the inertia."""
    check_candidates(uniforms.shape[1])
    swapped, numbers = centers.astype(np.float32, order="C"), read(uniforms, np.float64)
    swapping = CSwapping(
        swapped.ctypes.data, len(swapped), *numbers.shape, numbers.ctypes.data, least_gain
    )
    rows, table = weighted(*data), table_of(apart, len(data.rows))
    if library().onepass_swap(rows, table, swapping, fastest_lanes()):
        raise MemoryError(f"no room to swap centers for {len(data.rows)} rows")
    return swapped


def loosen(rows: Rows, centers: Rows, bounds: Bounds, shifts: Shifts) -> Crossed:
    """Move the bounds of rows as far as their centers have moved."""
    moves = [read(array, np.float32) for array in shifts[:-1]]
    crossed = Crossed(np.empty(len(rows), np.int64), np.empty(len(rows), np.float32))
    n_crossed = library().onepass_loosen(
        problem_of(rows, centers, centers[0]),
        CBounds(
            changed(bounds.labels, np.int32),
            changed(bounds.upper, np.float32),
            changed(bounds.lower, np.float32),
        ),
        CShifts(*(array.ctypes.data for array in moves), shifts.share),
        *(array.ctypes.data for array in crossed),
        fastest_lanes(),
    )
    return Crossed(crossed.rows[:n_crossed], crossed.sq_distances[:n_crossed])


def transfer(
    data: WeightedRows, moved: Indices, former: Labels, labels: Labels, sums: Doubles
) -> None:
    """Move rows from the sums of their former clusters to those of their new ones."""
    which = read(moved, np.int64)
    before, after = read(former, np.int32), read(labels, np.int32)
    pointers = which.ctypes.data, len(which), before.ctypes.data, after.ctypes.data
    library().onepass_transfer(weighted(*data), *pointers, changed(sums, np.float64))
