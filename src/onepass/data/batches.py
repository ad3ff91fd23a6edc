"""Files of RecordIO-protobuf to batches of rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onepass.data.record_file import RecordFile
from onepass.data.shards import Span, n_bytes_of
from onepass.formats.arrays import Rows
from onepass.formats.recordio import HEADER_BYTES
from onepass.formats.records import Decoded


class BatchReader:
    """Reads files one behind the other and cuts their rows into batches.

    Parameters
    ----------
    spans : sequence of Span
        Files, or parts of them.
    n_features : int
        The width every record must have.
    batch_rows : int
        Rows of a batch; the last one may be shorter. Batches run on from file to file.

    Attributes
    ----------
    n_rows, n_bytes : int
        Decoded so far.

    Notes
    -----
    Memory: one batch, and a block of 1 MiB or the longest record. Files are opened once and read
    forward only.
    """

    def __init__(self, spans: Sequence[Span], n_features: int, batch_rows: int) -> None:
        self.spans = spans
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
        batch = np.empty((min(self.batch_rows, most_rows(self.spans)), self.n_features), np.float32)
        filled = 0
        for span in self.spans:
            with RecordFile(span, self.n_features) as file:
                while n := self._count(file.decode(batch[filled:])):
                    filled += n
                    if filled == len(batch):
                        yield batch
                        filled = 0
        if filled:
            yield batch[:filled]

    def peek(self) -> None:
        """Check the width of the first record, in memory that does not depend on it.

        Raises
        ------
        DecodeError
            As reading the record would; `WidthError` when it has another width.
        """
        for span in self.spans:
            with RecordFile(span, self.n_features) as file:
                if file.peek():
                    return

    def _count(self, done: Decoded) -> int:
        self.n_rows += done.n_rows
        self.n_bytes += done.n_bytes
        return done.n_rows


def most_rows(spans: Sequence[Span]) -> int:
    """Return more rows than the spans can hold, so that nothing is made far too large."""
    return n_bytes_of(spans) // HEADER_BYTES + 1
