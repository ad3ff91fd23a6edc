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
from onepass.formats.arrays import Array, Rows, Vector

_ALLOWED = b"0123456789+-.eE, \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PLACE = re.compile(r"row (\d+), column (\d+)")
_SHOWN = 40


def read_rows(data: bytes, *, label_size: int = 0) -> Rows:
    r"""Decode a CSV body without a header.

    Parameters
    ----------
    data : bytes
        One row a line; the last line may lack its end.
    label_size : int
        How many columns at the left are labels, which are dropped.

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
    text = data.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n").removesuffix(b"\n")
    if not text.strip():
        raise DecodeError("the data is empty; at least one row is needed")
    _check_characters(text)
    _check_lines(text)
    try:
        table = np.loadtxt(io.BytesIO(text), np.float64, comments=None, delimiter=",", ndmin=2)
    except ValueError as error:
        raise _explain(error, text) from error
    return _to_rows(table, label_size)


def write_predictions(labels: Array, distances: Vector) -> bytes:
    """Encode answers, one ``closest_cluster,distance_to_cluster`` a line; no end of line last."""
    pairs = zip(labels.astype(np.float32).tolist(), distances.tolist(), strict=True)
    return "\n".join(f"{cluster},{distance}" for cluster, distance in pairs).encode()


def _to_rows(table: Array, label_size: int) -> Rows:
    if not 0 <= label_size < table.shape[1]:
        raise DecodeError(
            f"label_size={label_size} leaves no features of the {table.shape[1]} columns"
        )
    with np.errstate(over="ignore"):
        rows = table[:, label_size:].astype(np.float32)
    bad = first_non_finite(rows)
    if bad:
        where = _where(bad[0], label_size + bad[1])
        raise DecodeError("the number is too large for float32", where=where)
    return rows


def _check_characters(text: bytes) -> None:
    if not text.translate(None, _ALLOWED):
        return
    for row, line in enumerate(text.split(b"\n")):
        for column, field in enumerate(line.split(b",")):
            if field.translate(None, _ALLOWED):
                raise DecodeError(_no_number(field), where=_where(row, column))


def _check_lines(text: bytes) -> None:
    """Refuse what the parser would pass over: empty lines and stray carriage returns."""
    if b"\r" in text:
        row = text[: text.index(b"\r")].count(b"\n")
        raise DecodeError("a carriage return without a line feed", where=f"row {row + 1}")
    lines = b"\n" + text + b"\n"
    empty = lines.find(b"\n\n")
    if empty >= 0:
        row = lines[:empty].count(b"\n")
        raise DecodeError("the line is empty", where=f"row {row + 1}")


def _explain(error: ValueError, text: bytes) -> DecodeError:
    """Turn the parser's complaint into ours, which shows the field."""
    lines = text.split(b"\n")
    found = _PLACE.search(str(error))
    if found:
        row, column = int(found[1]), int(found[2]) - 1
        return DecodeError(_no_number(lines[row].split(b",")[column]), where=_where(row, column))
    widths = [line.count(b",") + 1 for line in lines]
    row = next((i for i, width in enumerate(widths) if width != widths[0]), 0)
    return DecodeError(
        f"the row has {widths[row]} columns, the first has {widths[0]}", where=f"row {row + 1}"
    )


def _no_number(field: bytes) -> str:
    shown = field[:_SHOWN].decode("utf-8", "replace").strip()
    return f"{shown!r} is not a number; rows are decimal numbers between commas, without a header"


def _where(row: int, column: int) -> str:
    return f"row {row + 1}, column {column + 1}"
