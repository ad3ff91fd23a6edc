"""How a GPU gets the records of a channel: as they lie in the files, wherever they are all alike.

What is not alike, or not finite, or packed, is decoded on the host, and goes on in its place.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Protocol

from onepass.cluster.kernels.on_device import RecordLayout
from onepass.cluster.record_intake import N_SLOTS, IrregularRecordError, RecordIntake
from onepass.data.bad_records import BadRecords
from onepass.data.batches import BatchReader
from onepass.data.record_blocks import Memories, Place, RecordBlock
from onepass.data.record_cursor import RecordCursor
from onepass.data.sources import Span, is_compressed
from onepass.distributed.passes import EnoughError, Seen, Tell
from onepass.formats.arrays import Rows
from onepass.formats.wire import Layout
from onepass.resources import available_cpus

_BLOCK_BYTES = 2**24
_MOST_THREADS = 16
_LOOKED_AT = 256
"""Records that decide whether rows are dense; the CPU looks at as many."""

_DECODED_VALUES = 2**24
_FEWEST_DECODED = 256
_LONG_RUN = 64
"""Blocks pay where there are so many times as many records as are decoded where they fail."""


class Sink(Protocol):
    """Where rows go."""

    def take(self, rows: Rows) -> None:
        """Take rows that were decoded."""

    def record_intake(self, n_rows: int) -> RecordIntake | None:
        """Return what takes records as they are, of which about so many are to come, if it does."""

    def msds(self) -> tuple[float, float]:
        """Return how near rows are, of the latest and of all; see `Seen`."""


class Pauses(Protocol):
    """Is given a moment, now and then, in which the sink has taken all that the reader tells of."""

    @property
    def is_due(self) -> bool:
        """Whether it is time."""

    def keep(self) -> None:
        """Keep what there is."""


def feed(sink: Sink, reader: BatchReader, tell: Tell, pauses: Pauses | None = None) -> bool:
    """Read one shard for a GPU.

    Parameters
    ----------
    sink : Sink
    reader : BatchReader
        Of plain files of RecordIO-protobuf, or what is left of them; is told what has been read.
    tell : callable
    pauses : Pauses, optional

    Returns
    -------
    bool
        False where the first records are packed, or not all dense and alike, or where the reader
        is to go on amid a packed file: nothing is taken.

    Notes
    -----
    Memory of the host: ``9 + n`` blocks of 16 MiB, with n threads that read, 16 at most.
    """
    with closing(_cursor_of(reader)) as cursor:
        first = cursor.decode(_LOOKED_AT)
        plain = _is_plain(cursor) and not is_packed(reader)
        if plain and reader.n_before:
            place = reader.first
            bad = BadRecords(reader.max_bad_records, place.n_bad, place.first_bad)
            plain = cursor.resume(place, bad)
            first = cursor.decode(_LOOKED_AT) if plain else first
        if plain:
            reader.bad = cursor.bad
            _Feed(sink, reader, cursor, tell, pauses).run(first)
    return plain


def is_plain(reader: BatchReader) -> bool:
    """Whether the first records are all dense ones of one layout, packed or not."""
    with closing(_cursor_of(reader)) as cursor:
        cursor.decode(_LOOKED_AT)
        return _is_plain(cursor)


def is_packed(reader: BatchReader) -> bool:
    """Whether the first file is compressed."""
    sources = [source for source in reader.sources if isinstance(source, Span)]
    return bool(sources) and is_compressed(sources[0].path)


def _cursor_of(reader: BatchReader) -> RecordCursor:
    sources = [source for source in reader.sources if isinstance(source, Span)]
    return RecordCursor(sources, reader.n_features, BadRecords(reader.max_bad_records))


def _is_plain(cursor: RecordCursor) -> bool:
    layout, (n_bytes, n_records) = cursor.layout, cursor.decoded
    return layout is not None and n_bytes == n_records * layout.stride


class _Feed:
    def __init__(
        self,
        sink: Sink,
        reader: BatchReader,
        cursor: RecordCursor,
        tell: Tell,
        pauses: Pauses | None,
    ) -> None:
        self._sink, self._reader, self._cursor, self._tell = sink, reader, cursor, tell
        self._pauses = pauses
        self._n_at_once = min(reader.batch_rows, max(1, _DECODED_VALUES // reader.n_features))
        self._n_decoded, self._n_due = _FEWEST_DECODED, 0
        self._n_threads = min(available_cpus(), _MOST_THREADS)
        self._enough: EnoughError | None = None

    def run(self, rows: Rows) -> None:
        """Take all rows, the first of which have been decoded."""
        while len(rows) and not self._enough:
            self._sink.take(rows)
            self._seen(self._cursor.place)
            self._n_due -= len(rows)
            if self._n_due <= 0:
                self._n_due = self._n_decoded if self._take_blocks() else 0
            self._pause()
            if not self._enough:
                rows = self._cursor.decode(min(self._n_due or self._n_at_once, self._n_at_once))
        self._seen(self._cursor.place)
        if self._enough:
            raise self._enough

    def _pause(self) -> None:
        """Have what has been taken kept, where it is time and the place is known."""
        if self._pauses is None or self._cursor.is_amid_compressed:
            return
        if self._pauses.is_due or self._enough:
            self._reader.position = self._cursor.position
            self._pauses.keep()

    def _is_due(self) -> bool:
        return self._pauses is not None and self._pauses.is_due

    def _take_blocks(self) -> bool:
        """Take records as they are, as far as that goes; returns whether it went at all."""
        layout = self._cursor.layout
        if layout is None or not layout.is_float32 or self._cursor.is_amid_compressed:
            return False
        intake = self._sink.record_intake(self._cursor.n_left // layout.stride)
        if intake is None:
            return False
        first = self._cursor.place.row
        memories = Memories(
            intake.page_locked, N_SLOTS + 1 + self._n_threads, _BLOCK_BYTES, self._n_threads
        )
        try:
            with closing(self._blocks(layout.stride, memories)) as blocks:
                intake.take(blocks, layout_of(layout))
        except IrregularRecordError as error:
            block: RecordBlock = error.block
            self._cursor.go_to(block.place_of(error.record))
            if self._cursor.place.row - first > _LONG_RUN * self._n_decoded:
                self._n_decoded = _FEWEST_DECODED
            else:
                self._n_decoded *= 2
        self._seen(self._cursor.place)
        return True

    def _blocks(self, stride: int, memories: Memories) -> Generator[RecordBlock, None, None]:
        behind = None
        with closing(self._cursor.blocks(stride, memories)) as blocks:
            for block in blocks:
                yield block
                self._seen(block.place)
                if self._enough or self._is_due():
                    behind = block.place_of(4 * len(block.words) // stride)
                    break
        if behind is not None:
            self._cursor.go_to(behind)

    def _seen(self, place: Place) -> None:
        """Tell how far it is."""
        reader = self._reader
        n_batches = -(-place.row // reader.batch_rows)
        reader.n_rows, reader.n_bytes = place.row, self._cursor.bytes_before(place)
        msds = self._sink.msds()
        try:
            self._tell(Seen(reader.n_rows, reader.n_bytes, n_batches, *msds, reader.bad.n))
        except EnoughError as error:  # all that has been sent is to be taken first
            self._enough = error


def layout_of(layout: Layout) -> RecordLayout:
    """Return a layout as a device takes it."""
    pattern, mask = layout.words()
    first, rest = divmod(layout.values_start, 4)
    return RecordLayout(layout.stride // 4, pattern, mask, first, 8 * rest)
