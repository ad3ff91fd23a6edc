"""Search and accumulation in C: the functions of `native.c`.

Everything here expects clean input: labels in range, above all. Arrays that are not contiguous or
of another type are copied.
"""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows
from onepass.cluster.kernels.results import Found, Sums


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
    found = Found(
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n if second else 0, np.float32),
    )
    out = _Result(*(array.ctypes.data if len(array) else None for array in found))
    if _library().onepass_search(_problem(rows, centers, origin), out, lanes or fastest_lanes()):
        raise MemoryError(f"no room to search among {len(centers)} centers")
    return found


def sq_distances_to(rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it."""
    sq_distances = np.empty(len(rows), np.float32)
    labels = np.ascontiguousarray(chosen, np.int32)
    pointers = labels.ctypes.data, sq_distances.ctypes.data
    _library().onepass_measure(_problem(rows, centers, centers[0]), *pointers, fastest_lanes())
    return sq_distances


def accumulate(rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None) -> Sums:
    """Sum the rows of each cluster in float64, in their order."""
    n, d = rows.shape
    sums = Sums(np.zeros((n_clusters, d)), np.zeros(n_clusters))
    given = np.ascontiguousarray(rows, np.float32)
    chosen = np.ascontiguousarray(labels, np.int32)
    shares = None if weights is None else np.ascontiguousarray(weights, np.float64)
    inputs = (
        *(a.ctypes.data for a in (given, chosen)),
        None if shares is None else shares.ctypes.data,
    )
    _library().onepass_accumulate(*inputs, n, d, *(array.ctypes.data for array in sums))
    return sums


def _problem(rows: Rows, centers: Rows, origin: Rows) -> _Problem:
    arrays = [np.ascontiguousarray(array, np.float32) for array in (rows, centers, origin)]
    problem = _Problem(*(array.ctypes.data for array in arrays), len(rows), *centers.shape)
    problem.arrays = arrays  # which must live as long as their addresses
    return problem


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
    pointer, number, lanes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    problem = ctypes.POINTER(_Problem)
    library.onepass_search.argtypes = problem, ctypes.POINTER(_Result), lanes
    library.onepass_measure.argtypes = problem, pointer, pointer, lanes
    library.onepass_measure.restype = None
    library.onepass_accumulate.argtypes = *[pointer] * 3, number, number, pointer, pointer
    library.onepass_accumulate.restype = None
    return library
