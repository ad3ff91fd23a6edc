"""One object of comma-separated values, read block by block.

Blocks of whole lines are parsed by pyarrow. Its own streaming reader reads ahead in threads that a
signal does not end while a pipe is waited for; here all reading is done by the caller. A block that
is refused is cut in halves, again and again, until a line that is wrong stands alone.

Source: "Common data formats for training" in SageMaker's documentation for what the columns are.
"""

from __future__ import annotations

import contextlib
import logging
import re
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.csv

from onepass.data.blocks import NOT_FINITE, BlockFile
from onepass.data.columns import n_labels
from onepass.data.s3_stream import S3Stream
from onepass.data.streams import FileStream, Opened
from onepass.errors import DecodeError, TooLargeError, WidthError
from onepass.formats.arrays import Rows
from onepass.formats.media import RECORDIO_PROTOBUF
from onepass.formats.recordio import MAGIC_BYTES

_log = logging.getLogger(__name__)

READ_BYTES = 2**20
_LINE_BYTES, _VALUE_BYTES = 2**16, 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE, _BREAK = re.compile(rb"[^\r\n]+"), re.compile(rb"[\r\n]")
_ROW = re.compile(
    r"(?:In CSV column #(?P<column>\d+): |CSV parse error: )Row #\d+: (?P<reason>.*)", re.DOTALL
)
_WIDTH = re.compile(r"Expected \d+ columns, got (\d+)")
_VALUE = re.compile(r"CSV conversion error to float: invalid value '(.*)'", re.DOTALL)
_FIELD = rb'(?:"(?:[^"]|"")*+"[^,]*+|[^",][^,]*+|)'
_QUOTES_END = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+", re.DOTALL)
_OPEN_QUOTE = "a quote that does not end on its line; write each row on one line"
_SHOWN, _HEADER_SHOWN = 40, 200


class CsvFile(BlockFile):
    """Reads an object from its beginning to its end.

    Parameters
    ----------
    opened : Opened
    n_features : int
    label_size : int or None
        How many leading columns are labels, which may hold any text on one line. None: none where
        the first line of a width that fits has as many columns as features, one where it has one
        more; the beginning of a file tells that for all its parts.

    Notes
    -----
    A first line in which no column is a number is a header: it is passed over, with a warning.
    Empty lines do not count. Memory: a block of 1 MiB or two of the longest line, what pyarrow
    makes of it, and its rows.
    """

    def __init__(self, opened: Opened, n_features: int, label_size: int | None) -> None:
        super().__init__(n_features)
        self._stream, self._name, self._start = opened
        self._label_size = label_size
        self._limit_bytes = _LINE_BYTES + _VALUE_BYTES * (n_features + (label_size or 0))
        self._left = b""
        self._at_end = False
        self._names: list[str] = []
        self._pieces: list[bytes] = []  # that have been read, the next one last
        self._piece = b""  # of which the block is made
        self._n_bytes = self._start  # of the file, up to the piece

    def _next_block(self) -> Rows | None:
        self._n_bytes += len(self._piece)
        self._piece = self._pieces.pop() if self._pieces else self._lines()
        if not self._piece:
            return None
        if not self._names and (header := self._begin()):
            told = "%s: the first line is taken as a header, not as data: %s"
            _log.warning(told, self._name, header)
        try:
            return self._parse() if _LINE.search(self._piece) else self._no_rows()
        except pa.ArrowInvalid as error:
            if halves := _halves(self._piece):
                self._pieces += halves
                self._piece = b""
                return self._no_rows()
            raise self._refused(*self._explained(str(error))) from error

    def peek(self) -> bool:
        """Check the width of the first line; False when there is none."""
        while (piece := self._lines()) and not _LINE.search(piece):
            self._n_bytes += len(piece)
        self._piece = piece
        if piece:
            self._begin()
        return bool(piece)

    def _lines(self) -> bytes:
        """Read whole lines, about a block of them, without the header: perhaps nothing."""
        data = bytearray(self._left)
        while not self._at_end and (len(data) < READ_BYTES or b"\n" not in data):
            if len(data) > READ_BYTES + self._limit_bytes:
                raise TooLargeError(
                    f"a line is longer than {self._limit_bytes} bytes; check its line breaks, and "
                    "whether this is text/csv at all",
                    where=self._where(self._n_bytes),
                    source=self._name,
                )
            room = bytearray(READ_BYTES)
            n = self._stream.readinto(memoryview(room))
            self._at_end = n == 0
            data += memoryview(room)[:n]
        end = len(data) if self._at_end else data.rfind(b"\n") + 1
        self._left = bytes(data[end:])
        return bytes(data[:end])

    def _begin(self) -> str:
        """Learn what the columns are from the first line; return it where it is a header."""
        if self._piece.startswith(MAGIC_BYTES):
            reason = f"RecordIO records; ContentType must be {RECORDIO_PROTOBUF} for these"
            raise DecodeError(reason, where=self._where(self._n_bytes), source=self._name)
        if self._start:
            self._learn_from_beginning()
            return ""
        if not self._n_bytes and self._piece.startswith(_BYTE_ORDER_MARK):
            self._cut(len(_BYTE_ORDER_MARK))
        first = _LINE.search(self._piece)
        if not first:
            return ""
        columns = _columns(first[0])
        try:
            self._adopt(len(columns))
        except WidthError as error:
            if rest := self._piece[first.end() :]:
                self._pieces.append(rest)
            self._piece = self._piece[: first.end()]
            raise self._refused(f"a line of {error.reason}", WidthError) from error
        if self._n_rows or any(map(_is_number, columns)):
            return ""
        self._cut(first.end())
        return ",".join(columns)[:_HEADER_SHOWN]

    def _learn_from_beginning(self) -> None:
        """Learn what the columns are where only a part of a file is read."""
        if self._label_size is not None or not isinstance(self._stream, FileStream | S3Stream):
            self._adopt(self._n_features + (self._label_size or 0))
            return
        there = self._stream.beginning(READ_BYTES + self._limit_bytes)
        for line in _LINE.finditer(there.removeprefix(_BYTE_ORDER_MARK)):
            with contextlib.suppress(WidthError):
                self._adopt(len(_columns(line[0])))
                return
        raise WidthError(
            f"no line has {self._n_features} columns, or {self._n_features + 1} with a label",
            where=f"the first {len(there)} bytes",
            source=self._name,
        )

    def _adopt(self, n_columns: int) -> None:
        self._label_size = n_labels(n_columns, self._n_features, self._label_size)
        self._names = [str(i) for i in range(n_columns)]

    def _cut(self, n_bytes: int) -> None:
        self._piece = self._piece[n_bytes:]
        self._n_bytes += n_bytes

    def _no_rows(self) -> Rows:
        return np.empty((0, self._n_features), np.float32)

    def _parse(self) -> Rows:
        lines = self._piece
        if lines.startswith(_BYTE_ORDER_MARK):  # pyarrow drops it, which is right in a file only
            lines = b"\n" + lines
        table = pyarrow.csv.read_csv(
            pa.BufferReader(lines),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(lines) + 1, column_names=self._names
            ),
            convert_options=_conversion(len(self._names), self._label_size or 0),
        )
        if b'"' in lines and not self._quotes_end(table.num_rows):
            raise pa.ArrowInvalid(_OPEN_QUOTE)
        rows = np.empty((table.num_rows, self._n_features), np.float32)
        for j, column in enumerate(table.itercolumns()):
            rows[:, j] = column.to_numpy()
        return rows

    def _quotes_end(self, n_rows: int) -> bool:
        """Whether no quotes hold the end of a line, which pyarrow takes for text."""
        there = [line[0] for line in _LINE.finditer(self._piece)]
        return len(there) == n_rows and _QUOTES_END.fullmatch(there[-1]) is not None

    def _explained(self, message: str) -> tuple[str, type[DecodeError], int | None]:
        """Put into words what pyarrow says of a line: the reason, its kind and the column."""
        found = _ROW.match(message)
        if not found:
            return message, DecodeError, None
        reason = found["reason"]
        if width := _WIDTH.match(reason):
            reason = f"{width[1]} columns, where the lines before have {len(self._names)}"
            return reason, WidthError, None
        if value := _VALUE.match(reason):
            reason = f"{value[1][:_SHOWN]!r} is no number"
        return reason, DecodeError, None if found["column"] is None else int(found["column"])

    def _refused(
        self, reason: str, kind: type[DecodeError], column: int | None = None
    ) -> DecodeError:
        """Count the one line of the piece as a row, and say what is wrong with it."""
        [line] = _LINE.finditer(self._piece)
        where = self._where(self._n_bytes + line.start(), column)
        self._n_rows += 1
        if not _QUOTES_END.fullmatch(line[0]):  # nobody knows where the next row begins
            return DecodeError(_OPEN_QUOTE, where=where, source=self._name)
        return kind(reason, where=where, source=self._name, skippable=True)

    def _refusal(self, row: int, feature: int) -> DecodeError:
        starts = [line.start() for line in _LINE.finditer(self._piece)]
        exact = len(starts) == len(self._block)  # no label has a line break in it
        where = self._where(
            self._n_bytes + starts[row] if exact else None, (self._label_size or 0) + feature
        )
        return DecodeError(NOT_FINITE, where=where, source=self._name, skippable=True)

    def _where(self, at: int | None, column: int | None = None) -> str:
        """Name a line; in a part of a file nobody has counted the rows before."""
        line = f"a line behind byte {self._n_bytes}" if at is None else f"the line at byte {at}"
        row = f"row {self._n_rows + 1}" + ("" if at is None else f" at byte {at}")
        place = line if self._start else row
        return place if column is None else f"{place}, column {column + 1}"


@lru_cache(maxsize=8)
def _conversion(n_columns: int, n_labels: int) -> pyarrow.csv.ConvertOptions:
    """Make them once: for a small file, that takes as long as reading it."""
    names = [str(i) for i in range(n_labels, n_columns)]
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.float32()),
        include_columns=names,
        null_values=[],
        check_utf8=False,
    )


def _halves(piece: bytes) -> list[bytes]:
    """Cut lines in two about the middle, the first half last; nothing where there is one line."""
    start = len(piece) - len(piece.lstrip(b"\r\n"))
    stop = len(piece.rstrip(b"\r\n"))
    middle = (start + stop) // 2
    behind = _BREAK.search(piece, middle, stop)
    before = max(piece.rfind(b"\n", start, middle), piece.rfind(b"\r", start, middle))
    cut = behind.end() if behind else before + 1
    return [piece[cut:], piece[:cut]] if cut else []


def _columns(line: bytes) -> list[str]:
    return line.decode("utf-8", "replace").strip().split(",")


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"'))
    except ValueError:
        return False
    return True
