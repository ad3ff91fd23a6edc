"""Files of libsvm lines to blocks."""

from __future__ import annotations

from collections.abc import Iterator

from onepass.convert.blocks import Block
from onepass.convert.survey import Table
from onepass.data.streams import Opened
from onepass.errors import DecodeError, TooLargeError
from onepass.formats.libsvm import read_lines

_READ_BYTES = 2**20
_LINE_BYTES, _PAIR_BYTES = 2**16, 64


class LibsvmBlocks:
    """Reads an object from its beginning to its end.

    Parameters
    ----------
    opened : Opened
    table : Table
    first_index : int
        What the first feature is called.

    Notes
    -----
    Memory: 1 MiB or two of the longest line, and some ten times as much while it is parsed.
    """

    def __init__(self, opened: Opened, table: Table, *, first_index: int) -> None:
        self._stream, self._name = opened.stream, opened.name
        self._table = table
        self._first_index = first_index
        self._n_rows = 0
        self._limit_bytes = _LINE_BYTES + _PAIR_BYTES * table.n_features

    def __iter__(self) -> Iterator[Block]:
        """Yield the rows.

        Raises
        ------
        DecodeError
            With the file and the row.
        """
        try:
            for text in self._texts():
                labels, rows = read_lines(
                    text,
                    n_features=self._table.n_features,
                    first_index=self._first_index,
                    n_before=self._n_rows,
                )
                self._n_rows += len(labels)
                yield Block(rows, labels[:, : self._table.n_labels])
        except DecodeError as error:
            raise (error if error.source else error.within(self._name)) from error

    def _texts(self) -> Iterator[bytes]:
        """Yield whole lines, about a block of them at a time."""
        left = b""
        room = memoryview(bytearray(_READ_BYTES))
        while n := self._stream.readinto(room):
            data = left + room[:n]
            end = data.rfind(b"\n") + 1
            left = data[end:]
            if len(left) > self._limit_bytes:
                longer = f"a line is longer than {self._limit_bytes} bytes"
                raise TooLargeError(longer, where=f"row {self._n_rows + 1} or later")
            if end:
                yield data[:end]
        if left:
            yield left
