"""Lines of libsvm (svmlight): a label, and ``index:value`` for each value that is not zero.

Whole blocks of lines are cut by NumPy into labels and pairs, which pyarrow parses as tables of one
and of two columns: strictly, so that whatever else stands in a line is refused.

Source: https://www.csie.ntu.edu.tw/~cjlin/libsvm/ (README, "svm-train Usage").
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from onepass.errors import DecodeError, WidthError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Bytes, Rows, Vector
from onepass.sparse import SparseRows

_COMMENT = re.compile(rb"#[^\n]*")
_AROUND_LINES = re.compile(rb" *\n[ \n]*")
_BLANKS = bytes.maketrans(b"\t\r", b"  ")
_SPACE, _COLON, _LINE_END = b" :\n"
_ROW = re.compile(
    r"(?:In CSV column #(?P<column>\d+): |CSV parse error: )Row #(?P<row>\d+): (?P<reason>.*)",
    re.DOTALL,
)
_QUOTED = re.compile(r"invalid value '(.*)'", re.DOTALL)
_SHOWN = 40
_MOST_FEATURES = 2**31

Keys: TypeAlias = npt.NDArray[np.int64]


class Lines(NamedTuple):
    """What some lines hold.

    Attributes
    ----------
    labels : ndarray of shape (n_samples, 1), float32
    rows : SparseRows
    """

    labels: Rows
    rows: SparseRows


def read_lines(text: bytes, *, n_features: int, first_index: int, n_before: int = 0) -> Lines:
    r"""Parse whole lines.

    Parameters
    ----------
    text : bytes
        Empty lines, and what follows a ``#``, do not count.
    n_features : int
    first_index : int
        What the first feature is called: 1, or 0.
    n_before : int
        Rows before these, for messages.

    Raises
    ------
    DecodeError
        With the row, from 1, and what stands there.

    Examples
    --------
    >>> text = b"1 1:0.5 3:2\n-1 2:7 # a comment\n"
    >>> read_lines(text, n_features=3, first_index=1).rows.dense()
    array([[0.5, 0. , 2. ],
           [0. , 7. , 0. ]], dtype=float32)
    """
    lines = _tidied(text)
    if not lines:
        empty = np.empty((0, 1), np.float32)
        return Lines(empty, SparseRows.of_dense(np.empty((0, n_features), np.float32)))
    return _Parser(np.frombuffer(lines, np.uint8), n_before).parse(n_features, first_index)


def write_lines(rows: SparseRows, labels: Rows, *, first_index: int) -> bytes:
    r"""Write rows, each with its label; the shortest numbers that are read back the same.

    Parameters
    ----------
    rows : SparseRows
    labels : ndarray of shape (n_samples, 1), float32
    first_index : int

    Examples
    --------
    >>> rows = SparseRows.of_dense(np.float32([[0.5, 0, 2], [0, 0, 0]]))
    >>> write_lines(rows, np.float32([[1], [-1]]), first_index=1)
    b'1 1:0.5 3:2\n-1\n'
    """
    pairs = pc.binary_join_element_wise(
        pa.array(rows.columns.astype(np.int64) + first_index).cast(pa.string()),
        pa.array(rows.values).cast(pa.string()),
        ":",
    )
    joined = pc.binary_join(
        pa.ListArray.from_arrays(pa.array(rows.starts.astype(np.int32)), pairs), " "
    )
    label = pa.array(np.ascontiguousarray(labels[:, 0])).cast(pa.string())
    lines = pc.ascii_rtrim_whitespace(pc.binary_join_element_wise(label, joined, " "))
    ended = pc.binary_join_element_wise(lines, "", "\n")
    first, last = (int(np.frombuffer(ended.buffers()[1], np.int32)[i]) for i in (0, len(ended)))
    return bytes(memoryview(ended.buffers()[2])[first:last])


def _tidied(text: bytes) -> bytes:
    """Drop comments, empty lines, and blanks at the ends of lines."""
    if b"#" in text:
        text = _COMMENT.sub(b"", text)
    if b"\t" in text or b"\r" in text:
        text = text.translate(_BLANKS)
    if _has_blanks_around_lines(np.frombuffer(text, np.uint8)):
        text = _AROUND_LINES.sub(b"\n", text).strip(b" \n")
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _has_blanks_around_lines(text: Bytes) -> bool:
    if not len(text):
        return False
    ends = np.flatnonzero(text == _LINE_END)
    before, behind = text[ends - 1], text[np.minimum(ends + 1, len(text) - 1)]
    blanks = (_SPACE, _LINE_END)
    doubled = np.isin(before, blanks) | (behind == _SPACE)
    return bool(doubled.any()) or text[0] in blanks or text[-1] == _SPACE


class _Parser:
    """Parses lines of which each has a label."""

    def __init__(self, text: Bytes, n_before: int) -> None:
        self._text = text
        self._n_before = n_before
        self._ends = np.flatnonzero(text == _LINE_END)
        colons = np.flatnonzero(text == _COLON)
        counts = np.searchsorted(colons, self._ends)
        self._counts = np.diff(counts, prepend=0)

    def parse(self, n_features: int, first_index: int) -> Lines:
        labels, pairs = self._cut()
        label = self._table(labels, {"label": pa.float32()})["label"].to_numpy()
        table = self._table(pairs, {"index": pa.int64(), "value": pa.float32()})
        keys, values = (table[name].to_numpy() for name in ("index", "value"))
        keys = keys - first_index
        self._check_finite(label, values)
        self._check_keys(keys, n_features, first_index)
        keys, values = self._sorted(keys, values, first_index)
        rows = SparseRows.of_counts(
            self._counts, columns=keys.astype(np.int32), values=values, n_features=n_features
        )
        return Lines(label.reshape(-1, 1), rows)

    def _cut(self) -> tuple[bytes, bytes]:
        """Return the labels and the pairs, one a line each."""
        begins = np.concatenate(([0], self._ends[:-1] + 1))
        marks = np.flatnonzero((self._text == _SPACE) | (self._text == _LINE_END))
        label_ends = marks[np.searchsorted(marks, begins)]
        text = np.where(self._text == _SPACE, np.uint8(_LINE_END), self._text)
        lengths = label_ends - begins + 1
        before = np.cumsum(lengths) - lengths
        in_label = np.repeat(begins - before, lengths) + np.arange(lengths.sum())
        labels = text[in_label].tobytes()
        text[in_label] = _LINE_END  # as empty lines, which do not count
        return labels, text.tobytes()

    def _table(self, text: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        names = list(types)
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(text),
                pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=len(text) + 1, column_names=names
                ),
                pyarrow.csv.ParseOptions(delimiter=":", quote_char=False),
                pyarrow.csv.ConvertOptions(column_types=types, null_values=[], check_utf8=False),
            )
        except pa.ArrowInvalid as error:
            if str(error) == "Empty CSV file":
                return pa.table({name: pa.array([], kind) for name, kind in types.items()})
            raise self._explained(str(error), text, pairs=len(names) > 1) from error

    def _explained(self, message: str, text: bytes, *, pairs: bool) -> DecodeError:
        """Say with the row what pyarrow says of a label or of a pair, the n-th of all."""
        found = _ROW.match(message)
        if not found:
            return DecodeError(message, where=f"row {self._n_before + 1}")
        n = int(found["row"]) - 1
        tokens = [token for token in text.split(b"\n") if token]
        token = tokens[n][:_SHOWN].decode("utf-8", "replace")
        if not pairs:
            return self._error(n, f"{token!r} where the label, a number, must stand")
        if token.startswith("qid:"):
            return self._error(self._row_of_token(n), f"{token!r}: groups (qid) are not supported")
        shown = _QUOTED.search(found["reason"])
        why = f" ({shown[1][:_SHOWN]!r} is no number)" if shown and shown[1] else ""
        row = self._row_of_token(n)
        return self._error(
            row, f"{token!r} where index:value, a whole number and a number, must stand{why}"
        )

    def _row_of_token(self, n: int) -> int:
        """Return the line of the n-th token that is no label."""
        blank = self._text == _SPACE
        starts = blank[:-1] & (self._text[1:] != _SPACE) & (self._text[1:] != _LINE_END)
        return int(np.searchsorted(self._ends, np.flatnonzero(starts)[n]))

    def _check_finite(self, label: Vector, values: Vector) -> None:
        if len(values) and (bad := first_non_finite(values[:, None])):
            row = int(np.searchsorted(np.cumsum(self._counts), bad[0], side="right"))
            raise self._error(row, "a value that is NaN or infinite as float32")
        if bad := first_non_finite(label[:, None]):
            raise self._error(bad[0], "a label that is NaN or infinite as float32")

    def _check_keys(self, keys: Keys, n_features: int, first_index: int) -> None:
        wrong = np.flatnonzero((keys < 0) | (keys >= min(n_features, _MOST_FEATURES)))
        if not len(wrong):
            return
        key = int(keys[wrong[0]])
        row = int(np.searchsorted(np.cumsum(self._counts), wrong[0], side="right"))
        last = n_features - 1 + first_index
        hint = "; --first-index 0 where indices count from 0" if key == -1 else ""
        raise WidthError(
            f"index {key + first_index}; {n_features} features have the indices "
            f"{first_index} to {last}{hint}",
            where=self._where(row),
        )

    def _sorted(self, keys: Keys, values: Vector, first_index: int) -> tuple[Keys, Vector]:
        """Bring the keys of each row into order, where they are not, and refuse one named twice."""
        places = np.repeat(np.arange(len(self._counts)), self._counts)
        within = np.diff(places, prepend=-1) == 0  # not the first of its row
        if np.all(np.diff(keys, prepend=-1)[within] > 0):
            return keys, values
        order = np.lexsort((keys, places))
        keys, values = keys[order], values[order]
        twice = np.flatnonzero((np.diff(keys, prepend=-1) == 0) & within)
        if len(twice):
            key = int(keys[twice[0]]) + first_index
            raise self._error(int(places[twice[0]]), f"index {key} stands there twice")
        return keys, values

    def _error(self, row: int, reason: str) -> DecodeError:
        return DecodeError(reason, where=self._where(row))

    def _where(self, row: int) -> str:
        return f"row {self._n_before + row + 1}"
