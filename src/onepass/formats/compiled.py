"""What the C of this package was compiled to: how it is loaded and what it is given.

Everything here expects arrays that are contiguous and of the right type, as its callers make them;
sizes are checked before an address is given away.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.errors import AlgorithmError
from onepass.formats.arrays import Bytes, Rows


class _Layout(ctypes.Structure):
    _fields_ = (
        ("model", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
        ("n_constants", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("values_start", ctypes.c_int64),
        ("n_features", ctypes.c_int64),
    )


class _Room(ctypes.Structure):
    _fields_ = (
        ("ends", ctypes.c_void_p),
        ("columns", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("n_rows", ctypes.c_int64),
        ("n_values", ctypes.c_int64),
        ("n_labels", ctypes.c_int64),
    )


class Form(NamedTuple):
    """How rows of numbers stand in a text, with commas between numbers and blanks about them.

    Attributes
    ----------
    between : bytes
        What stands between two rows, which must not begin with a blank; may be empty where there is
        one row.
    n_columns : int
        Numbers of a row, one at least.
    n_dropped : int
        Of them, how many at the left are left out; fewer than all.
    is_lines : bool
        Whether a line end is no blank, but for a carriage return before a line feed.
    is_lax : bool
        Whether numbers may also be written like ``+1``, ``.5``, ``5.`` and ``007``, which JSON
        does not allow.
    may_end : bool
        Whether what stands between rows may stand behind the last.
    plainly : bool
        Whether what not every processor can do shall not be used, for tests.
    """

    between: bytes
    n_columns: int
    n_dropped: int = 0
    is_lines: bool = False
    is_lax: bool = False
    may_end: bool = False
    plainly: bool = False


class _Form(ctypes.Structure):
    _fields_ = (
        ("between", ctypes.c_char_p),
        ("n_between", ctypes.c_int64),
        *((name, ctypes.c_int64) for name in Form._fields[1:]),
    )


class Room(NamedTuple):
    """Room for sparse rows, each array from where the next row goes.

    Attributes
    ----------
    ends : ndarray of shape (n_rows,), int64
        Where each row's values end.
    columns : ndarray of shape (n_values,), int32
    values : ndarray of shape (n_values,), float32
    labels : ndarray of shape (n_rows, n_labels), float32, or None
        None where labels are left out, however many there are.
    """

    ends: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    labels: Rows | None


class DecodedSparse(NamedTuple):
    """How far a call came.

    Attributes
    ----------
    n_bytes, n_rows : int
    """

    n_bytes: int
    n_rows: int


class DenseLayout:
    """Where the values of dense float32 records that are all alike lie.

    Parameters
    ----------
    model : bytes
        A whole record, framed.
    constants : list of tuple of int
        Where the bytes that must not differ start and end in it, in order.
    values_start, n_features : int
    """

    def __init__(
        self, model: bytes, constants: list[tuple[int, int]], values_start: int, n_features: int
    ) -> None:
        self._n_features = n_features
        self._stride = len(model)
        _check(values_start + 4 * n_features <= len(model), "values behind their record")
        _check(all(0 <= a < b <= len(model) for a, b in constants), "constants behind their record")
        self._model = np.frombuffer(model, np.uint8)
        bounds = np.array(constants, np.int64).reshape(-1, 2)
        self._starts, self._ends = (np.ascontiguousarray(side) for side in bounds.T)
        addresses = (a.ctypes.data for a in (self._model, self._starts, self._ends))
        self._given = _Layout(*addresses, len(bounds), len(model), values_start, n_features)

    def decode(self, data: Bytes, out: Rows) -> int:
        """Copy values of the records at the head of `data` until one differs or is not finite."""
        _check(out.shape[1] == self._n_features and out.flags.c_contiguous, "rows of another shape")
        n = min(len(out), len(data) // self._stride)
        given = ctypes.byref(self._given)
        return int(_library().onepass_dense(data.ctypes.data, given, n, out.ctypes.data))


def is_compiled() -> bool:
    """Whether the functions of this module can be called: not where no compiler was found."""
    return _file() is not None and sys.byteorder == "little"


def decode_sparse(data: Bytes, n_features: int, room: Room) -> DecodedSparse:
    """Decode plain float32 records at the head of `data`, sparse or dense, to sparse rows.

    Stops at the first that is not plain, not whole or without room; `n_features` is below 2**31.
    """
    _check(len(room.columns) == len(room.values) and n_features < 2**31, "another room")
    labels = np.empty((0, 0), np.float32) if room.labels is None else room.labels
    arrays = room.ends, room.columns, room.values, labels
    _check(all(array.flags.c_contiguous for array in arrays), "a room of another layout")
    _check(room.labels is None or len(labels) == len(room.ends), "labels of other rows")
    n_labels = -1 if room.labels is None else labels.shape[1]
    given = _Room(*(a.ctypes.data for a in arrays), len(room.ends), len(room.values), n_labels)
    n_done = ctypes.c_int64()
    n_rows = _library().onepass_sparse(
        data.ctypes.data, len(data), n_features, ctypes.byref(given), ctypes.byref(n_done)
    )
    return DecodedSparse(n_done.value, int(n_rows))


def read_numbers(text: Bytes, form: Form, out: Rows) -> int:
    """Read rows of numbers into `out`; returns how many, or -1 where the text is anything else."""
    _check(0 <= form.n_dropped < form.n_columns, "rows of no columns")
    _check(out.shape[1] == form.n_columns - form.n_dropped, "rows of another shape")
    _check(out.flags.c_contiguous, "rows of another layout")
    given = ctypes.byref(_Form(form.between, len(form.between), *form[1:]))
    data = text.ctypes.data
    return int(_library().onepass_numbers(data, len(text), given, len(out), out.ctypes.data))


def _check(good: bool, problem: str) -> None:
    """Refuse what would make C read or write where it must not."""
    if not good:
        raise AlgorithmError(problem)


@functools.cache
def _file() -> Path | None:
    """Return what was compiled when this package was installed."""
    folder = Path(__file__).parent
    places = (folder / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((place for place in places if place.exists()), None)


@functools.cache
def _library() -> Any:
    """Load it; Python's lock is let go while a function of it runs."""
    library = ctypes.CDLL(str(_file()))
    array, number, given = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
    for function, arguments in (
        (library.onepass_dense, (array, given, number, array)),
        (library.onepass_sparse, (array, number, number, given, given)),
        (library.onepass_numbers, (array, number, given, number, array)),
    ):
        function.restype, function.argtypes = number, arguments
    return library
