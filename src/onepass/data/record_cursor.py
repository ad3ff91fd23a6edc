"""Files of RecordIO-protobuf as blocks of records that are told apart elsewhere.

As long as all records are of one length, it is known where each begins without looking at any:
threads read blocks of them from wherever they lie. Where one is found to be of another length, all
that was read behind it is worth nothing; a cursor goes back to it, and decodes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from onepass.data.bad_records import BadRecords
from onepass.data.position import Position
from onepass.data.record_blocks import Memories, Place, RecordBlock
from onepass.data.record_file import RecordFile
from onepass.data.sources import Span, is_compressed
from onepass.data.streams import FileStream, Opened, unfolded
from onepass.errors import DecodeError
from onepass.formats.arrays import Bytes, Rows
from onepass.formats.record_decoder import Decoded
from onepass.formats.wire import Layout


class RecordCursor:
    """A place in some sources, from which records are decoded, or read in blocks.

    Parameters
    ----------
    sources : sequence of Span
    n_features : int
        The width every record must have.
    bad : BadRecords
        Is told of what is passed over.

    Attributes
    ----------
    bad : BadRecords
    place : Place
    decoded : Decoded
        Bytes, unpacked, and records that have been decoded or passed over.
    layout : Layout or None
        Of the records decoded last, where they have one in common.
    """

    def __init__(self, sources: Sequence[Span], n_features: int, bad: BadRecords) -> None:
        self._sources = sources
        self._n_features = n_features
        self.bad = bad
        self._file: _OpenFile | None = None
        self._passed = self.decoded = Decoded(0, 0)
        sizes = [span.stop - span.start for span in sources]
        self._bytes_before = [0, *accumulate(sizes)]
        self._free: deque[Bytes] = deque()
        self.layout: Layout | None = None
        self.place = self._at_source(0, 0)

    @property
    def n_left(self) -> int:
        """Bytes that come yet, with all of a compressed file that has not been passed."""
        return self._bytes_before[-1] - self.bytes_before()

    @property
    def is_amid_compressed(self) -> bool:
        """Whether what comes next can only be decoded."""
        return self._file is not None and self._file.is_compressed

    def bytes_before(self, place: Place | None = None) -> int:
        """Return how many bytes lie before a place, this one by default."""
        source, byte, *_ = place or self.place
        return self._bytes_before[source] + byte - self._at_source(source, 0).byte

    def decode(self, n_rows: int) -> Rows:
        """Decode the next rows, so many or all that are left.

        Raises
        ------
        DecodeError
            With the file, the record and its byte offset.
        PlatformError
            When a file cannot be read.
        """
        out = np.empty((n_rows, self._n_features), np.float32)
        n = 0
        while n < n_rows and self.place.source < len(self._sources):
            file = self._opened()
            try:
                n_decoded = file.rows.decode(out[n:]).n_rows
            except DecodeError as error:
                self.bad.pass_over(error if error.source else error.within(file.name))
                continue
            n += n_decoded
            self._pass(file, n_decoded)
        return out[:n]

    def go_to(self, place: Place) -> None:
        """Go to another place, where a record begins."""
        self.close()
        self.place = place

    @property
    def position(self) -> Position:
        """Where this is, as a `BatchReader` of the same sources goes on from it.

        Not to be asked for amid what is compressed, where it is not known.
        """
        source, byte, n_records, n_rows = self.place
        n_bytes_here = byte - self._at_source(source, 0).byte
        return Position(
            source,
            n_rows,
            self.bytes_before(),
            n_rows_here=n_records,  # only its records count where its bytes do
            n_bytes_here=n_bytes_here,
            n_records_here=n_records,
            n_bytes_before=self._bytes_before[source],
            n_bad=self.bad.n,
            n_bad_before=self.bad.n,
            first_bad=tuple(self.bad.first),
        )

    def resume(self, position: Position, bad: BadRecords) -> bool:
        """Go on from a position, with what had been passed over before it.

        Returns
        -------
        bool
            False where it is amid what is compressed; nothing is changed then.
        """
        if position.n_rows_here and not position.n_bytes_here:
            return False
        self.bad = bad
        start = self._at_source(position.source, position.n_rows)
        byte, record = start.byte + position.n_bytes_here, position.n_records_here
        self.go_to(start._replace(byte=byte, record=record))
        return True

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.stream.close()
            self._file = None

    def blocks(self, stride: int, memories: Memories) -> Generator[RecordBlock, None, None]:
        """Read records of one length, as many as there may be; the place is behind them then.

        Parameters
        ----------
        stride : int
            Bytes of a record.
        memories : Memories

        Yields
        ------
        RecordBlock
            In their order, read ahead by threads. They end where less than a record is left of a
            file, and before what is compressed.

        Raises
        ------
        PlatformError
            When a file cannot be read.
        """
        self.close()
        n_bytes = max(stride, min(memories.n_bytes, self.n_left))
        self._free = deque(memory for memory in self._free if len(memory) >= n_bytes)
        n_made = len(self._free)
        places = self._places(self.place, stride, n_bytes // stride)
        pending: deque[Future[RecordBlock]] = deque()
        end, place = self.place, next(places)
        with ThreadPoolExecutor(memories.n_threads, "read-blocks") as pool:
            try:
                while pending or place.n:
                    while place.n and (self._free or n_made < memories.n):
                        if not self._free:
                            self._free.append(memories.new(n_bytes))
                            n_made += 1
                        memory = self._free.popleft()
                        pending.append(pool.submit(self._read, place, stride, memory))
                        place = next(places)
                    yield pending.popleft().result()
                end = place.place
            finally:
                for future in pending:
                    future.cancel()
        self.place = end

    def _places(self, place: Place, stride: int, n_most: int) -> Iterator[_Some]:
        """Yield where blocks begin, and how many records each has; at last, none of them."""
        while place.source < len(self._sources):
            span = self._sources[place.source]
            if place.byte == span.start and is_compressed(span.path):
                break
            n = min(n_most, (span.stop - place.byte) // stride)
            if n:
                yield _Some(place, n)
                source, byte, record, row = place
                place = Place(source, byte + n * stride, record + n, row + n)
            if place.byte == span.stop:
                place = self._at_source(place.source + 1, place.row)
            elif not n:
                break
        yield _Some(place, 0)

    def _read(self, some: _Some, stride: int, memory: Bytes) -> RecordBlock:
        path, n_bytes = self._sources[some.place.source].path, some.n * stride
        stream = FileStream(Span(path, some.place.byte, some.place.byte + n_bytes))
        try:
            n = 0
            while n < n_bytes:
                n += stream.readinto(memory[n:n_bytes].data)
        finally:
            stream.close()
        free, words = self._free, memory[:n_bytes].view(np.uint32)
        return RecordBlock(words, stride, some.place, lambda: free.append(memory))

    def _at_source(self, source: int, row: int) -> Place:
        """Return the place where a source begins; that behind the last one is the end."""
        start = self._sources[source].start if source < len(self._sources) else 0
        return Place(source, start, 0, row)

    def _opened(self) -> _OpenFile:
        """Return the file that is open, or open that of this place."""
        if self._file is None:
            source, byte, record, _ = self.place
            span = self._sources[source]
            stream = FileStream(Span(span.path, byte, span.stop))
            inner = unfolded(stream) if byte == span.start else stream
            rows = RecordFile(Opened(inner, str(span.path), span.start), self._n_features)
            rows.resume(record, byte - span.start)
            self._passed = rows.n_passed
            self._file = _OpenFile(stream, rows, str(span.path), inner is not stream)
        return self._file

    def _pass(self, file: _OpenFile, n_rows: int) -> None:
        """Move behind rows that were decoded; none are where the file has ended."""
        source, _, _, row = self.place
        if not n_rows:
            self.go_to(self._at_source(source + 1, row))
        else:
            self.layout = file.rows.layout
            before, self._passed = self._passed, file.rows.n_passed
            n_bytes, n_records = self._passed
            gone = n_bytes - before.n_bytes, n_records - before.n_rows
            self.decoded = Decoded(self.decoded.n_bytes + gone[0], self.decoded.n_rows + gone[1])
            byte = self._sources[source].start + (0 if file.is_compressed else n_bytes)
            self.place = Place(source, byte, n_records, row + n_rows)


class _OpenFile(NamedTuple):
    """A file that is being decoded."""

    stream: FileStream
    rows: RecordFile
    name: str
    is_compressed: bool


class _Some(NamedTuple):
    """So many records, from a place on."""

    place: Place
    n: int
