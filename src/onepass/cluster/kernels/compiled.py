"""What `native.c` was compiled to: its structures, what may be given to them, how it is loaded.

Arrays that are read are copied where they are not contiguous or of another type; those that are
changed in place must be both. Structures and checks stand together, so that all that keeps C from
writing where it must not is in one place.
"""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Rows
from onepass.cluster.kernels.results import Bounds, Found, Holdings

_MOST_CANDIDATES = 64  # as in native.c
TABLE_WIDTH = 32


class CProblem(ctypes.Structure):
    """Rows that are searched among centers, and a point near them."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("centers", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("n_rows", ctypes.c_int64),
        ("n_centers", ctypes.c_int64),
        ("n_features", ctypes.c_int64),
        ("packed", ctypes.c_void_p),
    )


class CResult(ctypes.Structure):
    """Where a search writes: see `Found`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in Found._fields)


class CBounds(ctypes.Structure):
    """Bounds that are moved: see `Bounds`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in Bounds._fields)


class CShifts(ctypes.Structure):
    """How centers have moved: see `Shifts`."""

    _fields_ = (
        ("own", ctypes.c_void_p),
        ("others", ctypes.c_void_p),
        ("far", ctypes.c_void_p),
        ("halfway", ctypes.c_void_p),
        ("share", ctypes.c_float),
    )


class CWeighted(ctypes.Structure):
    """Rows and the weight of each."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("n_rows", ctypes.c_int64),
        ("n_features", ctypes.c_int64),
    )


class CHoldings(ctypes.Structure):
    """What centers hold: see `Holdings`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in Holdings._fields),
        ("n_centers", ctypes.c_int64),
    )


class CIterating(ctypes.Structure):
    """How Lloyd's iterations are to be made."""

    _fields_ = (
        ("centers", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
        ("n_clusters", ctypes.c_int64),
        ("max_iter", ctypes.c_int64),
        ("tol", ctypes.c_double),
        ("doubt", ctypes.c_double),
        ("inertia", ctypes.c_void_p),
    )


class CTable(ctypes.Structure):
    """Squared distances between rows, line by line."""

    _fields_ = (("values", ctypes.c_void_p), ("stride", ctypes.c_int64))


class CSwapping(ctypes.Structure):
    """What swaps are to be tried."""

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
    return file() is not None


@functools.cache
def fastest_lanes() -> int:
    """Return how many float32 values are computed at once here: 4, 8 or 16."""
    return int(library().onepass_fastest())


def all_lanes() -> list[int]:
    """Return the widths this processor has."""
    return [lanes for lanes in (4, 8, 16) if lanes <= library().onepass_widest()]


def read(array: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Return an array whose address may be given away to be read: itself if possible."""
    there = np.ascontiguousarray(array, dtype)
    return there if there.flags.aligned else there.copy()


def address_of(array: npt.NDArray[Any]) -> int:
    """Return where a contiguous array lies; `array.ctypes.data` takes three times as long."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.ctypes.data)


def changed(array: npt.NDArray[Any], dtype: type[np.generic]) -> int:
    """Return the address of an array that is changed in place."""
    check(array.flags.carray and array.dtype == dtype, "an array that cannot be changed in place")
    return int(array.ctypes.data)


def check(good: bool, problem: str) -> None:
    """Refuse what would make C write where it must not."""
    if not good:
        raise ValueError(problem)


def check_candidates(n: int) -> None:
    """Refuse more candidates at a time than C has room for."""
    check(0 < n <= _MOST_CANDIDATES, f"{n} candidates; from 1 to {_MOST_CANDIDATES} are possible")


def problem_of(rows: Rows, centers: Rows, origin: Rows) -> CProblem:
    """Return what a search is given, with all that must live as long."""
    check(len(centers) > 0, "there are no centers")
    check(rows.shape[1] == centers.shape[1] == len(origin), "rows and centers of several widths")
    arrays = [read(array, np.float32) for array in (rows, centers, origin)]
    problem = CProblem(*(array.ctypes.data for array in arrays), len(rows), *centers.shape)
    problem.arrays = arrays  # which must live as long as their addresses
    return problem


class Layout(NamedTuple):
    """Centers as C reads them in a search, with all that must live as long.

    Attributes
    ----------
    arrays : tuple of ndarray
        The centers, the origin, and both laid out for vectors of this width, or rounded.
    addresses : tuple of int
        Of these.
    lanes : int
        The width; 0 where they are rounded.
    """

    arrays: tuple[Rows, Rows, npt.NDArray[Any]]
    addresses: tuple[int, int, int]
    lanes: int


def layout_of(centers: Rows, origin: Rows, lanes: int) -> Layout:
    """Lay out centers for searches from this origin; rounded, where there are no `lanes`."""
    problem = problem_of(centers, centers, origin)
    n, d = centers.shape
    if lanes:
        packed = np.empty(-(-n // (2 * lanes)) * 2 * lanes * (d + 1), np.float32)
        library().onepass_pack(problem, packed.ctypes.data, lanes)
    else:
        packed = np.empty(library().onepass_rounded_bytes(n, d), np.uint8)
        library().onepass_round(problem, packed.ctypes.data)
    _, given, start = problem.arrays
    return Layout(
        (given, start, packed), (problem.centers, problem.origin, packed.ctypes.data), lanes
    )


def problem_among(rows: Rows, layout: Layout) -> CProblem:
    """Return what a search among centers that are laid out is given."""
    centers = layout.arrays[0]
    check(rows.shape[1] == centers.shape[1], "rows and centers of several widths")
    given = read(rows, np.float32)
    to_centers, to_origin, to_packed = layout.addresses
    problem = CProblem(
        address_of(given),
        to_centers,
        to_origin,
        len(rows),
        *centers.shape,
        to_packed if layout.lanes else None,
    )
    problem.arrays = given, layout  # which must live as long as their addresses
    return problem


def weighted(rows: Rows, weights: Doubles | None) -> CWeighted:
    """Return rows and their weights, each 1 without, with all that must live as long."""
    arrays = (
        read(rows, np.float32),
        None if weights is None else read(weights, np.float64),
    )
    data = CWeighted(*(a if a is None else a.ctypes.data for a in arrays), *rows.shape)
    data.arrays = arrays
    return data


def table_of(apart: Floats | None, n_rows: int) -> CTable:
    """Return distances between `n_rows` rows, or a table without any."""
    if apart is None:
        return CTable(None, 0)
    width = -(-n_rows // TABLE_WIDTH) * TABLE_WIDTH
    check(apart.shape == (n_rows, width), "distances between other rows")
    check(apart.flags.carray and apart.dtype == np.float32, "a table of another layout")
    table = CTable(apart.ctypes.data, width)
    table.array = apart
    return table


@functools.cache
def file() -> Path | None:
    """Return what `native.c` was compiled to when this package was installed."""
    folder = Path(__file__).parent
    places = (folder / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((place for place in places if place.exists()), None)


@functools.cache
def library() -> Any:
    """Load it; Python's lock is let go while a function of it runs."""
    library = ctypes.CDLL(str(file()))
    array, number, lanes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    problem, data = ctypes.POINTER(CProblem), ctypes.POINTER(CWeighted)
    table = ctypes.POINTER(CTable)
    signatures: dict[str, tuple[Any, ...]] = {
        "pack": (None, problem, array, lanes),
        "search": (lanes, problem, ctypes.POINTER(CResult), lanes),
        "adds_bytes": (lanes,),
        "rounded_bytes": (number, number, number),
        "round": (None, problem, array),
        "search_rounded": (lanes, problem, array, ctypes.c_float, ctypes.POINTER(CResult), lanes),
        "search_by_pivots": (number, problem, array, number, ctypes.POINTER(CResult), lanes),
        "search_exactly": (lanes, problem, array, number, array, array, lanes),
        "measure": (None, problem, array, array, lanes),
        "partners": (lanes, problem, array, array, array, lanes),
        "accumulate": (None, data, array, array, array),
        "lloyd": (lanes, data, ctypes.POINTER(CIterating), lanes),
        "move": (lanes, data, array, array, ctypes.POINTER(CHoldings), lanes),
        "open": (number, data, array, array, ctypes.c_double, array, lanes),
        "peak": (ctypes.c_float, array, number, lanes),
        "between": (lanes, data, table, lanes),
        "plus_plus": (number, data, table, number, number, array, array, lanes),
        "swap": (lanes, data, table, ctypes.POINTER(CSwapping), lanes),
        "loosen": (
            number, problem, ctypes.POINTER(CBounds), ctypes.POINTER(CShifts), array, array, lanes
        ),
        "transfer": (None, data, array, number, array, array, array),
    }  # fmt: skip
    for name, (result, *arguments) in signatures.items():
        function = getattr(library, f"onepass_{name}")
        function.restype, function.argtypes = result, arguments
    return library
