"""Matrices as NumPy saves them (``.npy``).

Source: "NPY format" in NumPy's documentation (``numpy.lib.format``).
"""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from onepass.errors import DecodeError, WidthError
from onepass.finite import first_non_finite
from onepass.formats.answers import Answers
from onepass.formats.arrays import BLOCK_VALUES, Array, Rows

MAGIC = b"\x93NUMPY"
PREFIX_BYTES = {1: 10, 2: 12, 3: 12}
"""Of each version: up to the header, with its length."""

LONGEST_HEADER = 2**16
_HEADER_BYTES = 128
"""Of the answers we write, whatever their number."""

_UNREADABLE = (
    *(ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError, LookupError),
    tokenize.TokenError,
)
"""What NumPy raises for a header, which it takes for an expression of Python."""


class Header(NamedTuple):
    """What a file says of its matrix.

    Attributes
    ----------
    n_rows, n_columns : int
    by_columns : bool
        Whether it is stored column behind column (``order="F"``).
    dtype : dtype
    n_bytes : int
        Where the values begin.
    """

    n_rows: int
    n_columns: int
    by_columns: bool
    dtype: np.dtype[Any]
    n_bytes: int


def version_of(start: bytes) -> int:
    """Return the version of a format from its first eight bytes.

    Raises
    ------
    DecodeError
        When it is none that is known.
    """
    whole = start.startswith(MAGIC) and len(start) == len(MAGIC) + 2
    version = start[-2] if whole else 0
    if version not in PREFIX_BYTES:
        raise DecodeError(
            f"no matrix as numpy.save writes it: it begins with {start.hex()}; check "
            "ContentType, or save it so"
        )
    return version


def header_bytes(version: int, size: bytes) -> int:
    """Return how long a header is from the bytes that say it; refuses a very long one."""
    n_bytes = int.from_bytes(size, "little")
    if n_bytes > LONGEST_HEADER:
        raise DecodeError(
            f"a header of {n_bytes} bytes; at most {LONGEST_HEADER} are read; save it with "
            "numpy.save"
        )
    return PREFIX_BYTES[version] + n_bytes


def parse_header(version: int, header: bytes) -> Header:
    """Read a header, from the bytes that say its length on; nothing is unpickled or allocated.

    Raises
    ------
    DecodeError
        For anything but a matrix of numbers or truth values of at most 64 bits.
    """
    read: Any = np.lib.format.read_array_header_1_0
    if version > 1:
        read = np.lib.format.read_array_header_2_0
    try:
        shape, by_columns, dtype = read(io.BytesIO(header), max_header_size=LONGEST_HEADER)
    except _UNREADABLE as error:
        raise DecodeError(
            f"a header that NumPy cannot read: {error}; save it with numpy.save"
        ) from error
    if dtype.kind not in "fiub" or dtype.hasobject or dtype.itemsize > np.dtype("f8").itemsize:
        raise DecodeError(
            f"values of type {dtype}; numbers of at most 64 bits are read; convert them"
        )
    if len(shape) != 2 or min(shape) < 0:
        raise DecodeError(f"an array of shape {shape}; save a matrix, row behind row (order='C')")
    return Header(shape[0], shape[1], bool(by_columns), dtype, len(MAGIC) + 2 + len(header))


def read_blocks(pieces: Iterable[bytes], n_features: int) -> Iterator[Rows]:
    """Decode a matrix.

    Parameters
    ----------
    pieces : iterable of bytes
        The file, cut anywhere. One that is stored by columns must come in one piece.
    n_features : int

    Yields
    ------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row.

    Raises
    ------
    DecodeError
        Naming the row, from 1. Of a file in one piece, the size is checked before anything else.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> np.save(file, np.eye(2))
    >>> list(read_blocks([file.getvalue()], 2))
    [array([[1., 0.],
           [0., 1.]], dtype=float32)]
    """
    source = _Source(pieces)
    header = _read_header(source)
    if header.n_columns != n_features:
        raise WidthError(f"rows have {header.n_columns} features, the model takes {n_features}")
    if not header.n_rows:
        raise DecodeError("the matrix has no rows; at least one row is needed")
    if source.whole:
        n_values = len(source.left) - math.prod(header[:2]) * header.dtype.itemsize
        _check_end(n_values, header)
    if header.by_columns:
        yield from _by_columns(source, header)
    else:
        yield from _by_rows(source, header)


def write_head(n_rows: int, n_columns: int) -> bytes:
    """Return what stands before a float32 matrix of answers: always as many bytes.

    Examples
    --------
    >>> np.load(io.BytesIO(write_head(1, 2) + bytes(8)))
    array([[0., 0.]], dtype=float32)
    """
    head = MAGIC + b"\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    told = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {n_columns}), }}"
    return head + told.ljust(_HEADER_BYTES - 11).encode() + b"\n"


def write_answers(answers: Answers) -> bytes:
    """Encode answers as rows of float32: the cluster, its distance, what of the table there is."""
    return answers.matrix("<f4").tobytes()


class _Source:
    """Bytes that come in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.left = memoryview(next(self._pieces, b""))
        following = next(self._pieces, None)
        self.whole = following is None
        self._next = following

    def take(self, n_bytes: int) -> memoryview:
        """Return the next bytes, fewer at the end only."""
        if len(self.left) < n_bytes and self._next is not None:
            gathered = bytearray(self.left)
            while len(gathered) < n_bytes and self._next is not None:
                gathered += self._next
                self._next = next(self._pieces, None)
            self.left = memoryview(bytes(gathered))
        taken, self.left = self.left[:n_bytes], self.left[n_bytes:]
        return taken


def _read_header(source: _Source) -> Header:
    start = bytes(source.take(len(MAGIC) + 2))
    if not start:
        raise DecodeError("the data is empty; at least one row is needed")
    version = version_of(start)
    size = bytes(source.take(PREFIX_BYTES[version] - len(start)))
    n_bytes = header_bytes(version, size) - PREFIX_BYTES[version]
    return parse_header(version, size + bytes(source.take(n_bytes)))


def _by_rows(source: _Source, header: Header) -> Iterator[Rows]:
    row_bytes = header.n_columns * header.dtype.itemsize
    n_done = 0
    while n_done < header.n_rows:
        n = min(header.n_rows - n_done, max(1, BLOCK_VALUES // header.n_columns))
        data = source.take(n * row_bytes)
        if len(data) < n * row_bytes:
            _check_end(len(data) - (header.n_rows - n_done) * row_bytes, header)
        block = np.frombuffer(data, header.dtype).reshape(n, header.n_columns)
        yield _finite_rows(block, n_done)
        n_done += n
    _check_end(len(source.take(1)), header)


def _by_columns(source: _Source, header: Header) -> Iterator[Rows]:
    if not source.whole:
        raise DecodeError(
            "a matrix by columns (Fortran order) cannot be read in pieces; save it row behind row "
            "(order='C')"
        )
    matrix = np.frombuffer(source.left, header.dtype).reshape(header.n_columns, header.n_rows).T
    step = max(1, BLOCK_VALUES // header.n_columns)
    for start in range(0, header.n_rows, step):
        yield _finite_rows(matrix[start : start + step], start)


def _check_end(n_bytes_more: int, header: Header) -> None:
    """Refuse values that are missing, or bytes behind the last."""
    if n_bytes_more < 0:
        raise DecodeError(
            f"the data end {-n_bytes_more} bytes before the last of {header.n_rows} rows; write "
            "them anew"
        )
    if n_bytes_more > 0:
        raise DecodeError(f"data follow the last of {header.n_rows} rows; send one matrix")


def _finite_rows(block: Array, n_before: int) -> Rows:
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.ascontiguousarray(block, np.float32)
    bad = first_non_finite(rows)
    if bad:
        where = f"row {n_before + bad[0] + 1}, column {bad[1] + 1}"
        raise DecodeError("the number is NaN, infinite or too large for float32", where=where)
    return rows
