"""Files or pipes to batches of rows, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from onepass.data.sources import Pipe, Source, is_compressed, n_bytes_of
from onepass.data.streams import OpenSource
from onepass.data.table_format import RECORDS, RowFile, TableFormat
from onepass.errors import DecodeError
from onepass.formats.arrays import Rows

_MOST_VALUES = 2**24


class BatchReader:
    """Reads sources one behind the other and cuts their rows into batches.

    Parameters
    ----------
    sources : sequence of Span or Pipe
        Files, parts of them, or pipes.
    n_features : int
        The width every record must have.
    batch_rows : int
        Rows of a batch, as far as 64 MiB hold them; the last one may be shorter. Batches run on
        from file to file.
    table_format : TableFormat
        Of the objects; RecordIO-protobuf by default.

    Attributes
    ----------
    n_rows : int
        Decoded so far.
    n_bytes : int
        Read so far, compressed as they are.

    Notes
    -----
    Memory: one batch, and a block of 1 MiB or the longest record. Files are opened once and read
    forward only.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        n_features: int,
        batch_rows: int,
        table_format: TableFormat = RECORDS,
    ) -> None:
        self.sources = sources
        self.n_features = n_features
        self.batch_rows = batch_rows
        self._format = table_format
        self.n_rows = 0
        self.n_bytes = 0

    def __iter__(self) -> Iterator[Rows]:
        """Yield batches of shape (batch_rows, n_features).

        A batch is valid until the next one is asked for: its memory is used again.

        Raises
        ------
        DecodeError
            With the file, the record and its byte offset.
        PlatformError
            When a file cannot be read.
        """
        room = max(1, _MOST_VALUES // self.n_features)
        n_rows = min(self.batch_rows, most_rows(self.sources, self._format), room)
        batch = np.empty((n_rows, self.n_features), np.float32)
        filled = 0
        for source in self.sources:
            n_bytes_before = self.n_bytes
            with OpenSource(source) as open_source:
                for opened in open_source.objects():
                    file = self._format.open(opened, self.n_features)
                    while n := _decode(file, batch[filled:], opened.name):
                        filled += n
                        self.n_rows += n
                        self.n_bytes = n_bytes_before + open_source.n_read
                        if filled == len(batch):
                            yield batch
                            filled = 0
                self.n_bytes = n_bytes_before + open_source.n_read
        if filled:
            yield batch[:filled]

    def peek(self) -> None:
        """Check the width of the first record, in memory that does not depend on it.

        Raises
        ------
        DecodeError
            As reading the record would; `WidthError` when it has another width.
        """
        for source in self.sources:
            with OpenSource(source) as open_source:
                objects = open_source.objects()
                if any(self._format.open(o, self.n_features).peek() for o in objects):
                    return


def _decode(file: RowFile, out: Rows, name: str) -> int:
    """Decode rows; an error of the bytes below them has no name of a file yet."""
    try:
        return file.decode(out).n_rows
    except DecodeError as error:
        if error.source:
            raise
        raise error.within(name) from error


def most_rows(sources: Sequence[Source], table_format: TableFormat = RECORDS) -> int:
    """Return more rows than the sources can hold, so that nothing is made far too large."""
    unknown = (isinstance(source, Pipe) or is_compressed(source.path) for source in sources)
    if not table_format.least_row_bytes or any(unknown):
        return sys.maxsize
    return n_bytes_of(sources) // table_format.least_row_bytes + 1
