"""The functions of `native.c`.

Everything here expects clean input: labels in range, above all, and at least one center. Arrays
that are read are copied where they are not contiguous or of another type; those that are changed in
place must be both. What makes this module long is that structures and checks stand beside the calls
that rely on them: what is given to C is all in one place.
"""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.kernels.results import (
    Bounds,
    Clustering,
    Crossed,
    Found,
    Holdings,
    Shifts,
    Sums,
)

_MOST_CANDIDATES = 64  # as in native.c
_TABLE_WIDTH = 32


class _Problem(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("centers", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("n_rows", ctypes.c_int64),
        ("n_centers", ctypes.c_int64),
        ("n_features", ctypes.c_int64),
    )


class _Result(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in Found._fields)


class _Bounds(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in Bounds._fields)


class _Shifts(ctypes.Structure):
    _fields_ = (
        ("own", ctypes.c_void_p),
        ("others", ctypes.c_void_p),
        ("far", ctypes.c_void_p),
        ("halfway", ctypes.c_void_p),
        ("share", ctypes.c_float),
    )


class _Weighted(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("n_rows", ctypes.c_int64),
        ("n_features", ctypes.c_int64),
    )


class _Holdings(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in Holdings._fields),
        ("n_centers", ctypes.c_int64),
    )


class _Iterating(ctypes.Structure):
    _fields_ = (
        ("centers", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("n_clusters", ctypes.c_int64),
        ("max_iter", ctypes.c_int64),
        ("tol", ctypes.c_double),
        ("doubt", ctypes.c_double),
        ("inertia", ctypes.c_void_p),
    )


class _Table(ctypes.Structure):
    _fields_ = (("values", ctypes.c_void_p), ("stride", ctypes.c_int64))


class _Swapping(ctypes.Structure):
    _fields_ = (
        ("centers", ctypes.c_void_p),
        ("n_clusters", ctypes.c_int64),
        ("n_steps", ctypes.c_int64),
        ("n_candidates", ctypes.c_int64),
        ("uniforms", ctypes.c_void_p),
        ("least_gain", ctypes.c_double),
    )


def is_compiled() -> bool:
    """Whether the functions of this module can be called: not where no compiler was found."""
    return _file() is not None


def fastest_lanes() -> int:
    """Return how many float32 values are computed at once here: 4, 8 or 16."""
    return int(_library().onepass_fastest())


def all_lanes() -> list[int]:
    """Return the widths this processor has."""
    return [lanes for lanes in (4, 8, 16) if lanes <= _library().onepass_widest()]


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
    scores of six rows and two vectors of centers stay in registers. Memory: the centers, and as
    much of the rows as fits the cache.
    """
    n = len(rows)
    found = _nothing_found(n, second=second)
    out = _Result(*(array.ctypes.data if len(array) else None for array in found))
    if _library().onepass_search(_problem(rows, centers, origin), out, lanes or fastest_lanes()):
        raise MemoryError(f"no room to search among {len(centers)} centers")
    return found


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
    chosen = _read(pivots, np.int64)
    _check(len(chosen) > 0, "there are no pivots")
    _check(0 <= chosen.min() <= chosen.max() < len(centers), "pivots that are no centers")
    found = _nothing_found(n, second=False)
    out = _Result(*(array.ctypes.data if len(array) else None for array in found))
    n_looked = _library().onepass_search_by_pivots(
        _problem(rows, centers, origin),
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
    chosen = _read(which, np.int64)
    failed = _library().onepass_search_exactly(
        _problem(rows, centers, centers[0]),
        chosen.ctypes.data,
        len(chosen),
        _changed(found.labels, np.int32),
        _changed(found.sq_distances, np.float32),
        fastest_lanes(),
    )
    if failed:
        raise MemoryError(f"no room to search among {len(centers)} centers")


def sq_distances_to(rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it."""
    sq_distances = np.empty(len(rows), np.float32)
    labels = _read(chosen, np.int32)
    pointers = labels.ctypes.data, sq_distances.ctypes.data
    _library().onepass_measure(_problem(rows, centers, centers[0]), *pointers, fastest_lanes())
    return sq_distances


def accumulate(rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None) -> Sums:
    """Sum the rows of each cluster in float64, in their order."""
    sums = Sums(np.zeros((n_clusters, rows.shape[1])), np.zeros(n_clusters))
    chosen = _read(labels, np.int32)
    to = (array.ctypes.data for array in sums)
    _library().onepass_accumulate(_weighted(rows, weights), chosen.ctypes.data, *to)
    return sums


def lloyd(data: WeightedRows, centers: Rows, max_iter: int, tol: float, doubt: float) -> Clustering:
    """Move centers to the means of their rows until that gains little."""
    _check(len(data.rows) > 0, "there are no rows")
    moved, inertia = centers.astype(np.float32, order="C"), np.zeros(1)
    origin = data.rows.mean(axis=0, dtype=np.float32)
    iterating = _Iterating(
        moved.ctypes.data,
        origin.ctypes.data,
        len(moved),
        max_iter,
        tol,
        doubt,
        inertia.ctypes.data,
    )
    if _library().onepass_lloyd(_weighted(*data), iterating, fastest_lanes()):
        raise MemoryError(f"no room to cluster {len(data.rows)} rows")
    return Clustering(moved, float(inertia[0]))


def move(data: WeightedRows, labels: Labels, sq_distances: Floats, holdings: Holdings) -> None:
    """Add rows to the centers that absorb them, which move to the mean of all they hold."""
    n_centers = len(holdings.weights)
    chosen, apart = _read(labels, np.int32), _read(sq_distances, np.float32)
    # Threads that share an estimator may have changed what the labels refer to.
    _check(all(len(array) == n_centers for array in holdings), "holdings of several lengths")
    _check(len(chosen) == len(apart) == len(data.rows), "a label and a distance for each row")
    _check(not len(chosen) or 0 <= chosen.min() <= chosen.max() < n_centers, "labels out of range")
    held = _Holdings(
        _changed(holdings.centers, np.float32),
        *(_changed(array, np.float64) for array in holdings[1:]),
        n_centers,
    )
    pointers = chosen.ctypes.data, apart.ctypes.data
    if _library().onepass_move(_weighted(*data), *pointers, held, fastest_lanes()):
        raise MemoryError(f"no room to move {len(holdings.weights)} centers")


def open_far(far: WeightedRows, left: Doubles, coins: Doubles, price: float) -> Indices:
    """Open rows, one after the other, where what is left of their distance pays for it."""
    opened = np.empty(len(left), np.int64)
    tosses = _read(coins, np.float64)
    n_opened = _library().onepass_open(
        _weighted(*far),
        _changed(left, np.float64),
        tosses.ctypes.data,
        price,
        opened.ctypes.data,
        fastest_lanes(),
    )
    return opened[:n_opened]


def partners(centers: Rows, weights: Floats, some: Indices) -> Indices:
    """Find for some centers the one that it costs least to unite each with."""
    masses = _read(weights, np.float32)
    named = _read(some, np.int32)
    found = np.empty(len(some), np.int32)
    problem = _problem(centers, centers, np.zeros(centers.shape[1], np.float32))
    problem.n_rows = len(some)
    pointers = (array.ctypes.data for array in (masses, named, found))
    if _library().onepass_partners(problem, *pointers, fastest_lanes()):
        raise MemoryError(f"no room to unite {len(centers)} centers")
    return found.astype(np.intp)


def peak(rows: Rows) -> float:
    """Return the largest absolute value, infinity or NaN where there is any."""
    values = _read(rows, np.float32)
    return float(_library().onepass_peak(values.ctypes.data, values.size, fastest_lanes()))


def between(rows: Rows) -> Floats:
    """Return the squared distances between all rows, and behind each line what fills it up."""
    n = len(rows)
    apart = np.empty((n, -(-n // _TABLE_WIDTH) * _TABLE_WIDTH), np.float32)
    if _library().onepass_between(_weighted(rows, None), _table(apart, n), fastest_lanes()):
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
    _check_candidates(n_candidates)
    numbers = _read(uniforms, np.float64)
    _check(numbers.size > (n_clusters - 1) * n_candidates, "too few numbers to draw by")
    chosen = np.empty(n_clusters, np.int64)
    n_chosen = _library().onepass_plus_plus(
        _weighted(*data),
        _table(apart, len(data.rows)),
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
    _check_candidates(uniforms.shape[1])
    swapped, numbers = centers.astype(np.float32, order="C"), _read(uniforms, np.float64)
    swapping = _Swapping(
        swapped.ctypes.data, len(swapped), *numbers.shape, numbers.ctypes.data, least_gain
    )
    rows, table = _weighted(*data), _table(apart, len(data.rows))
    if _library().onepass_swap(rows, table, swapping, fastest_lanes()):
        raise MemoryError(f"no room to swap centers for {len(data.rows)} rows")
    return swapped


def loosen(rows: Rows, centers: Rows, bounds: Bounds, shifts: Shifts) -> Crossed:
    """Move the bounds of rows as far as their centers have moved."""
    moves = [_read(array, np.float32) for array in shifts[:-1]]
    crossed = Crossed(np.empty(len(rows), np.int64), np.empty(len(rows), np.float32))
    n_crossed = _library().onepass_loosen(
        _problem(rows, centers, centers[0]),
        _Bounds(
            _changed(bounds.labels, np.int32),
            _changed(bounds.upper, np.float32),
            _changed(bounds.lower, np.float32),
        ),
        _Shifts(*(array.ctypes.data for array in moves), shifts.share),
        *(array.ctypes.data for array in crossed),
        fastest_lanes(),
    )
    return Crossed(crossed.rows[:n_crossed], crossed.sq_distances[:n_crossed])


def transfer(
    data: WeightedRows, moved: Indices, former: Labels, labels: Labels, sums: Doubles
) -> None:
    """Move rows from the sums of their former clusters to those of their new ones."""
    which = _read(moved, np.int64)
    before, after = _read(former, np.int32), _read(labels, np.int32)
    pointers = which.ctypes.data, len(which), before.ctypes.data, after.ctypes.data
    _library().onepass_transfer(_weighted(*data), *pointers, _changed(sums, np.float64))


def _read(array: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Return an array whose address may be given away to be read: itself if possible."""
    there = np.ascontiguousarray(array, dtype)
    return there if there.flags.aligned else there.copy()


def _changed(array: npt.NDArray[Any], dtype: type[np.generic]) -> int:
    """Return the address of an array that is changed in place."""
    _check(array.flags.carray and array.dtype == dtype, "an array that cannot be changed in place")
    return int(array.ctypes.data)


def _check(good: bool, problem: str) -> None:
    """Refuse what would make C write where it must not."""
    if not good:
        raise ValueError(problem)


def _check_candidates(n: int) -> None:
    _check(0 < n <= _MOST_CANDIDATES, f"{n} candidates; from 1 to {_MOST_CANDIDATES} are possible")


def _problem(rows: Rows, centers: Rows, origin: Rows) -> _Problem:
    _check(len(centers) > 0, "there are no centers")
    _check(rows.shape[1] == centers.shape[1] == len(origin), "rows and centers of several widths")
    arrays = [_read(array, np.float32) for array in (rows, centers, origin)]
    problem = _Problem(*(array.ctypes.data for array in arrays), len(rows), *centers.shape)
    problem.arrays = arrays  # which must live as long as their addresses
    return problem


def _weighted(rows: Rows, weights: Doubles | None) -> _Weighted:
    arrays = (
        _read(rows, np.float32),
        None if weights is None else _read(weights, np.float64),
    )
    data = _Weighted(*(a if a is None else a.ctypes.data for a in arrays), *rows.shape)
    data.arrays = arrays
    return data


def _table(apart: Floats | None, n_rows: int) -> _Table:
    if apart is None:
        return _Table(None, 0)
    width = -(-n_rows // _TABLE_WIDTH) * _TABLE_WIDTH
    _check(apart.shape == (n_rows, width), "distances between other rows")
    _check(apart.flags.carray and apart.dtype == np.float32, "a table of another layout")
    table = _Table(apart.ctypes.data, width)
    table.array = apart
    return table


@functools.cache
def _file() -> Path | None:
    """Return what `native.c` was compiled to when this package was installed."""
    folder = Path(__file__).parent
    places = (folder / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((place for place in places if place.exists()), None)


@functools.cache
def _library() -> Any:
    """Load it; Python's lock is let go while a function of it runs."""
    library = ctypes.CDLL(str(_file()))
    array, number, lanes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    problem, data = ctypes.POINTER(_Problem), ctypes.POINTER(_Weighted)
    table = ctypes.POINTER(_Table)
    signatures: dict[str, tuple[Any, ...]] = {
        "search": (lanes, problem, ctypes.POINTER(_Result), lanes),
        "search_by_pivots": (number, problem, array, number, ctypes.POINTER(_Result), lanes),
        "search_exactly": (lanes, problem, array, number, array, array, lanes),
        "measure": (None, problem, array, array, lanes),
        "partners": (lanes, problem, array, array, array, lanes),
        "accumulate": (None, data, array, array, array),
        "lloyd": (lanes, data, ctypes.POINTER(_Iterating), lanes),
        "move": (lanes, data, array, array, ctypes.POINTER(_Holdings), lanes),
        "open": (number, data, array, array, ctypes.c_double, array, lanes),
        "peak": (ctypes.c_float, array, number, lanes),
        "between": (lanes, data, table, lanes),
        "plus_plus": (number, data, table, number, number, array, array, lanes),
        "swap": (lanes, data, table, ctypes.POINTER(_Swapping), lanes),
        "loosen": (
            number, problem, ctypes.POINTER(_Bounds), ctypes.POINTER(_Shifts), array, array, lanes
        ),
        "transfer": (None, data, array, number, array, array, array),
    }  # fmt: skip
    for name, (result, *arguments) in signatures.items():
        function = getattr(library, f"onepass_{name}")
        function.restype, function.argtypes = result, arguments
    return library
