"""CSV bodies: numbers, commas and line ends, nothing else.

The text is parsed by `numpy.loadtxt`, behind a gate that lets only the characters of decimal
numbers through: headers, quotes, comments, ``nan``, ``1_000`` or digits of other scripts are
refused with their place, where parsers differ in what they make of them.
"""

from __future__ import annotations

import io
import re

import numpy as np

from onepass.errors import DecodeError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Array, Rows

_ALLOWED = b"0123456789+-.eE, \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PLACE = re.compile(r"row (\d+), column (\d+)")
_SHOWN = 40


def read_rows(
    data: bytes, *, label_size: int = 0, n_before: int = 0, n_columns: int | None = None
) -> Rows:
    r"""Decode a CSV body without a header.

    Parameters
    ----------
    data : bytes
        One row a line; the last line may lack its end.
    label_size : int
        How many columns at the left are labels, which are dropped.
    n_before : int
        How many rows were read before these, for the places in messages.
    n_columns : int, optional
        How many columns rows should have, where they are not all alike; by default as many as the
        first.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row.

    Raises
    ------
    DecodeError
        With the row and the column, counted from 1.

    Examples
    --------
    >>> read_rows(b"1.5,16.0\n2,3e1")
    array([[ 1.5, 16. ],
           [ 2. , 30. ]], dtype=float32)
    """
    if not n_before:
        data = data.removeprefix(_BYTE_ORDER_MARK)
    text = data.replace(b"\r\n", b"\n").removesuffix(b"\n")
    if not text.strip() and not n_before:
        raise DecodeError("the data is empty; at least one row is needed")
    try:
        _check_characters(text)
        _check_lines(text)
        return _to_rows(_parse(text, n_columns), label_size)
    except _WrongError as wrong:
        raise DecodeError(wrong.reason, where=wrong.where(n_before)) from wrong.__cause__


class _WrongError(Exception):
    """What is wrong, and in which row and column, counted from 0."""

    def __init__(self, reason: str, row: int | None = None, column: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self._row, self._column = reason, row, column

    def where(self, n_before: int) -> str:
        """Name the place, counted from 1."""
        if self._row is None:
            return ""
        row = f"row {n_before + self._row + 1}"
        return row if self._column is None else f"{row}, column {self._column + 1}"


def _parse(text: bytes, n_columns: int | None) -> Array:
    try:
        return np.loadtxt(io.BytesIO(text), np.float64, comments=None, delimiter=",", ndmin=2)
    except ValueError as error:
        raise _explain(error, text, n_columns) from error


def _to_rows(table: Array, label_size: int) -> Rows:
    if not 0 <= label_size < table.shape[1]:
        raise _WrongError(
            f"label_size={label_size} leaves no features of the {table.shape[1]} columns"
        )
    with np.errstate(over="ignore"):
        rows = table[:, label_size:].astype(np.float32)
    bad = first_non_finite(rows)
    if bad:
        raise _WrongError("the number is too large for float32", bad[0], label_size + bad[1])
    return rows


def _check_characters(text: bytes) -> None:
    if not text.translate(None, _ALLOWED):
        return
    for row, line in enumerate(text.split(b"\n")):
        for column, field in enumerate(line.split(b",")):
            if field.translate(None, _ALLOWED):
                raise _WrongError(_no_number(field), row, column)


def _check_lines(text: bytes) -> None:
    """Refuse what the parser would pass over: empty lines and stray carriage returns."""
    if b"\r" in text:
        row = text[: text.index(b"\r")].count(b"\n")
        raise _WrongError("a carriage return without a line feed", row)
    lines = b"\n" + text + b"\n"
    empty = lines.find(b"\n\n")
    if empty >= 0:
        row = lines[:empty].count(b"\n")
        raise _WrongError("the line is empty", row)


def _explain(error: ValueError, text: bytes, n_columns: int | None) -> _WrongError:
    """Turn the parser's complaint into ours, which shows the field."""
    lines = text.split(b"\n")
    found = _PLACE.search(str(error))
    if found:
        row, column = int(found[1]), int(found[2]) - 1
        return _WrongError(_no_number(lines[row].split(b",")[column]), row, column)
    widths = [line.count(b",") + 1 for line in lines]
    expected = n_columns or widths[0]
    row = next((i for i, width in enumerate(widths) if width != expected), 0)
    told = f"{n_columns} are expected" if n_columns else f"the first has {expected}"
    return _WrongError(f"the row has {widths[row]} columns, {told}", row)


def _no_number(field: bytes) -> str:
    shown = field[:_SHOWN].decode("utf-8", "replace").strip()
    return f"{shown!r} is not a number; rows are decimal numbers between commas, without a header"
