"""One object of comma-separated values, read block by block.

Blocks of whole lines are parsed by pyarrow. Its own streaming reader reads ahead in threads that a
signal does not end while a pipe is waited for; here all reading is done by the caller.

Source: "Common data formats for training" in SageMaker's documentation for what the columns are.
"""

from __future__ import annotations

import logging
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv

from onepass.data.blocks import BlockFile
from onepass.data.columns import n_labels
from onepass.data.streams import Opened
from onepass.errors import DecodeError, TooLargeError, WidthError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Rows
from onepass.formats.media import RECORDIO_PROTOBUF
from onepass.formats.recordio import MAGIC_BYTES

_log = logging.getLogger(__name__)

READ_BYTES = 2**20
_LINE_BYTES, _VALUE_BYTES = 2**16, 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ROW = re.compile(
    r"(?:In CSV column #(?P<column>\d+): |CSV parse error: )Row #(?P<row>\d+): (?P<reason>.*)",
    re.DOTALL,
)
_WIDTH = re.compile(r"Expected \d+ columns, got (\d+)")
_VALUE = re.compile(r"CSV conversion error to float: invalid value '(.*)'", re.DOTALL)
_SHOWN, _HEADER_SHOWN = 40, 200


class CsvFile(BlockFile):
    """Reads an object from its beginning to its end.

    Parameters
    ----------
    opened : Opened
    n_features : int
    label_size : int or None
        How many leading columns are labels, which may hold any text. None: none where a line has as
        many columns as features, one where it has one more.

    Notes
    -----
    A first line in which no column is a number is a header: it is passed over, with a warning.
    Empty lines do not count. Memory: a block of 1 MiB or two of the longest line, what pyarrow
    makes of it, and its rows.
    """

    def __init__(self, opened: Opened, n_features: int, label_size: int | None) -> None:
        super().__init__(n_features)
        self._stream, self._name, self._at_start = opened
        self._label_size = label_size
        self._limit_bytes = _LINE_BYTES + _VALUE_BYTES * (n_features + (label_size or 0))
        self._left = b""
        self._at_end = False
        self._names: list[str] = []
        self._header = ""
        self._n_rows = 0

    def _next_block(self) -> Rows | None:
        lines = self._some_lines()
        if self._header:
            told = "%s: the first line is taken as a header, not as data: %s"
            _log.warning(told, self._name, self._header)
            self._header = ""
        return self._parse(lines) if lines else None

    def peek(self) -> bool:
        """Check the width of the first line; False when there is none."""
        lines = self._some_lines()
        self._left = lines + self._left
        return bool(lines)

    def _some_lines(self) -> bytes:
        """Read blocks until one has more than a header or empty lines; nothing at the end."""
        while not (lines := self._lines()) and not self._at_end:
            pass
        return lines

    def _lines(self) -> bytes:
        """Read whole lines, about a block of them, without the header: perhaps nothing."""
        data = bytearray(self._left)
        while not self._at_end and (len(data) < READ_BYTES or b"\n" not in data):
            if len(data) > READ_BYTES + self._limit_bytes:
                raise self._error(f"a line is longer than {self._limit_bytes} bytes", TooLargeError)
            room = bytearray(READ_BYTES)
            n = self._stream.readinto(memoryview(room))
            self._at_end = n == 0
            data += memoryview(room)[:n]
        end = len(data) if self._at_end else data.rfind(b"\n") + 1
        self._left = bytes(data[end:])
        lines = bytes(data[:end])
        return self._without_header(lines) if not self._names else lines

    def _without_header(self, data: bytes) -> bytes:
        """Learn what the columns are from the first line; drop it where it is a header."""
        if data.startswith(MAGIC_BYTES):
            raise self._error(
                f"RecordIO records; ContentType must be {RECORDIO_PROTOBUF} for these"
            )
        if self._at_start:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        data = data.lstrip(b"\r\n")
        if not data:
            return data
        line, _, rest = data.partition(b"\n")
        columns = line.decode("utf-8", "replace").strip().split(",")
        self._names = [str(i) for i in range(len(columns))]
        self._label_size = self._n_labels(len(columns))
        if any(map(_is_number, columns)):
            return data
        if not self._at_start:
            raise self._error(f"no number in a line of text: {line[:_SHOWN]!r}")
        self._header = line.decode("utf-8", "replace").strip()[:_HEADER_SHOWN]
        return rest

    def _n_labels(self, n_columns: int) -> int:
        try:
            return n_labels(n_columns, self._n_features, self._label_size)
        except WidthError as error:
            raise self._error(f"a line of {error.reason}", WidthError) from error

    def _parse(self, lines: bytes) -> Rows:
        names = self._names[self._label_size :]
        if lines.startswith(_BYTE_ORDER_MARK):  # pyarrow drops it, which is right in a file only
            lines = b"\n" + lines
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(lines),
                pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=len(lines) + 1, column_names=self._names
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.float32()),
                    include_columns=names,
                    null_values=[],
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if str(error) == "Empty CSV file":  # nothing but empty lines
                return np.empty((0, self._n_features), np.float32)
            raise self._explained(str(error)) from error
        rows = np.empty((table.num_rows, self._n_features), np.float32)
        for j, column in enumerate(table.itercolumns()):
            rows[:, j] = column.to_numpy()
        bad = first_non_finite(rows)
        if bad:
            raise self._error("a value that is NaN or infinite as float32", DecodeError, *bad)
        self._n_rows += len(rows)
        return rows

    def _explained(self, message: str) -> DecodeError:
        """Say with the row and the column of the whole object what pyarrow says of a block."""
        found = _ROW.match(message)
        if not found:
            return self._error(message)
        row, reason = int(found["row"]) - 1, found["reason"]
        if width := _WIDTH.match(reason):
            reason = f"{width[1]} columns, where the lines before have {len(self._names)}"
            return self._error(reason, WidthError, row)
        if value := _VALUE.match(reason):
            reason = f"{value[1][:_SHOWN]!r} is no number; fill it in or drop the row"
        column = found["column"]
        feature = None if column is None else int(column) - (self._label_size or 0)
        return self._error(reason, DecodeError, row, feature)

    def _error(
        self,
        reason: str,
        kind: type[DecodeError] = DecodeError,
        row: int = 0,
        feature: int | None = None,
    ) -> DecodeError:
        where = f"row {self._n_rows + row + 1}"
        if feature is not None:
            where += f", column {(self._label_size or 0) + feature + 1}"
        return kind(reason, where=where, source=self._name)


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"'))
    except ValueError:
        return False
    return True
