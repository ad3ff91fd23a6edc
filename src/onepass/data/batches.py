"""Files or pipes to batches of rows, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from onepass.data.batch import Batch, DenseBatch, SparseBatch, UndecidedBatch
from onepass.data.sources import Pipe, Source, is_compressed, n_bytes_of
from onepass.data.streams import OpenSource
from onepass.data.table_format import RECORDS, RowFile, TableFormat
from onepass.errors import DecodeError
from onepass.formats.arrays import Rows
from onepass.sparse import SparseRows

Auto: TypeAlias = Literal["auto"]

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
    keep_sparse : bool or "auto"
        Leave records sparse, which only those of RecordIO-protobuf can be. "auto": if the first few
        hundred give one value in 16 or less, whose products take less time than those of all.

    Attributes
    ----------
    n_rows : int
        Decoded so far.
    n_bytes : int
        Read so far, compressed as they are.

    Notes
    -----
    Memory: one batch, of sparse rows 64 MiB at most, and a block of 1 MiB or the longest record.
    Files are opened once and read forward only.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        n_features: int,
        batch_rows: int,
        table_format: TableFormat = RECORDS,
        *,
        keep_sparse: bool | Auto = False,
    ) -> None:
        self.sources = sources
        self.n_features = n_features
        self.batch_rows = batch_rows
        self._format = table_format
        self._keep_sparse = keep_sparse
        self.n_rows = 0
        self.n_bytes = 0

    def __iter__(self) -> Iterator[Rows | SparseRows]:
        """Yield batches of batch_rows rows.

        A batch is valid until the next one is asked for: its memory is used again.

        Raises
        ------
        DecodeError
            With the file, the record and its byte offset.
        PlatformError
            When a file cannot be read.
        """
        batch = self._new_batch()
        for source in self.sources:
            n_bytes_before = self.n_bytes
            with OpenSource(source) as open_source:
                for opened in open_source.objects():
                    file = self._format.open(opened, self.n_features)
                    while self._fill(batch, file, opened.name):
                        self.n_bytes = n_bytes_before + open_source.n_read
                        if batch.full:
                            yield batch.take()
                self.n_bytes = n_bytes_before + open_source.n_read
        if batch.n_rows:
            yield batch.take()

    def _new_batch(self) -> Batch:
        room = max(1, _MOST_VALUES // self.n_features)
        n_most = min(self.batch_rows, most_rows(self.sources, self._format))
        if self._keep_sparse == "auto":
            return UndecidedBatch(n_most, min(n_most, room), self.n_features)
        if self._keep_sparse:
            return SparseBatch(n_most, self.n_features)
        return DenseBatch(min(n_most, room), self.n_features)

    def _fill(self, batch: Batch, file: RowFile, name: str) -> bool:
        """Decode rows; an error of the bytes below them has no name of a file yet."""
        try:
            n = batch.fill(file)
        except DecodeError as error:
            if error.source:
                raise
            raise error.within(name) from error
        self.n_rows += n
        return n > 0 or batch.full

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


def most_rows(sources: Sequence[Source], table_format: TableFormat = RECORDS) -> int:
    """Return more rows than the sources can hold, so that nothing is made far too large."""
    unknown = (isinstance(source, Pipe) or is_compressed(source.path) for source in sources)
    if not table_format.least_row_bytes or any(unknown):
        return sys.maxsize
    return n_bytes_of(sources) // table_format.least_row_bytes + 1
