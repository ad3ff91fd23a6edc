"""Files or pipes of RecordIO-protobuf to batches of rows, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from onepass.data.record_file import RecordFile
from onepass.data.sources import Pipe, Source, is_compressed, n_bytes_of
from onepass.data.streams import OpenSource
from onepass.formats.arrays import Rows
from onepass.formats.recordio import HEADER_BYTES

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

    def __init__(self, sources: Sequence[Source], n_features: int, batch_rows: int) -> None:
        self.sources = sources
        self.n_features = n_features
        self.batch_rows = batch_rows
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
        n_rows = min(self.batch_rows, most_rows(self.sources), room)
        batch = np.empty((n_rows, self.n_features), np.float32)
        filled = 0
        for source in self.sources:
            n_bytes_before = self.n_bytes
            with OpenSource(source) as open_source:
                for opened in open_source.objects():
                    file = RecordFile(opened, self.n_features)
                    while n := file.decode(batch[filled:]).n_rows:
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
                if any(RecordFile(o, self.n_features).peek() for o in open_source.objects()):
                    return


def most_rows(sources: Sequence[Source]) -> int:
    """Return more rows than the sources can hold, so that nothing is made far too large."""
    if any(isinstance(source, Pipe) or is_compressed(source.path) for source in sources):
        return sys.maxsize
    return n_bytes_of(sources) // HEADER_BYTES + 1
