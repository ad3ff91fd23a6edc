"""One object of RecordIO-protobuf, decoded block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onepass.data.streams import Opened
from onepass.errors import DecodeError
from onepass.formats.arrays import Bytes, Rows
from onepass.formats.record_decoder import Decoded, RecordDecoder
from onepass.formats.sparse_room import SparseRoom
from onepass.formats.wire import Layout

READ_BYTES = 2**20
"""Read at once: a block is decoded while it is still in the processor's cache."""

_PAGE_BYTES = 4096


class RecordFile:
    """Decodes an object from its beginning to its end.

    Parameters
    ----------
    opened : Opened
        Its bytes; positions in messages count from the first.
    n_features : int
        The width every record must have.

    Notes
    -----
    Holds a block of `READ_BYTES`, into which every read goes, and before it room for the part of a
    record that the block before has left; that room grows to the longest record at most. The block
    starts with a page of memory: copies from the page cache to other places took twice the time.
    """

    def __init__(self, opened: Opened, n_features: int) -> None:
        self._stream, self._name, self._start = opened
        self._decoder = RecordDecoder(n_features)
        self._room = 16 * _PAGE_BYTES
        self._buffer = _page_aligned(self._room + READ_BYTES)
        self._left = self._buffer[:0]
        self._at_end = False

    def follow(self, before: object) -> None:
        """Take over the memory and the layout of a file that has been read; see `RowFile`."""
        if isinstance(before, RecordFile):
            self._room, self._buffer = before._room, before._buffer  # noqa: SLF001 - one of us
            self._decoder = before._decoder  # noqa: SLF001 - likewise
            self._left = self._buffer[:0]
            self._decoder.restart()

    def resume(self, n_records: int, n_bytes: int) -> None:
        """Begin amid the object: so many records of it, of so many bytes, lie before the stream."""
        self._decoder.restart(n_records, n_bytes)

    @property
    def n_passed(self) -> Decoded:
        """How much of the object has been passed: what comes next begins there."""
        return Decoded(self._decoder.n_bytes, self._decoder.n_records)

    @property
    def layout(self) -> Layout | None:
        """The layout of the latest records, where they have one in common."""
        return self._decoder.layout

    def decode(self, out: Rows) -> Decoded:
        """Write the next rows to the head of `out`; see `RowFile`."""
        return self._next(lambda left: self._decoder.decode(left, out))

    def decode_sparse(self, room: SparseRoom) -> Decoded:
        """Put the next rows into a room for sparse ones; none also when that is full."""
        return self._next(lambda left: self._decoder.decode_sparse(left, room), room)

    def _next(self, decode: Callable[[Bytes], Decoded], room: SparseRoom | None = None) -> Decoded:
        try:
            while True:
                done = decode(self._left)
                self._left = self._left[done.n_bytes :]
                if done.n_rows or (room and room.full):
                    return done
                if self._at_end:
                    self._decoder.finish(self._left)
                    return done
                self._read()
        except DecodeError as error:
            refusal = self._refusal(error)
            if error.skippable:
                self._left = self._left[self._decoder.skip(self._left) :]
            raise refusal from error

    def peek(self) -> bool:
        """Check the width of the next record, without unfolding it or passing it.

        Returns
        -------
        bool
            False only when the object has ended.
        """
        try:
            while not self._decoder.peek(self._left):
                if self._at_end:
                    self._decoder.finish(self._left)
                    return False
                self._read()
        except DecodeError as error:
            raise self._refusal(error) from error
        return True

    def _refusal(self, error: DecodeError) -> DecodeError:
        """Name the file, and the place in it: in the middle nobody has counted the records."""
        named = error.within(self._name)
        if not self._start:
            return named
        where = f"the record at byte {self._start + self._decoder.n_bytes}"
        return type(error)(error.reason, where=where, source=self._name, skippable=error.skippable)

    def _read(self) -> None:
        """Read a block, with what is left before it."""
        n_left = len(self._left)
        if n_left > self._room:
            left = self._left.copy()
            self._room = -(-2 * n_left // _PAGE_BYTES) * _PAGE_BYTES
            self._buffer = _page_aligned(self._room + READ_BYTES)
            self._left = left
        start = self._room - n_left
        self._buffer[start : self._room] = self._left
        n = self._stream.readinto(self._buffer[self._room :].data)
        self._left = self._buffer[start : self._room + n]
        self._at_end = n == 0


def _page_aligned(n_bytes: int) -> Bytes:
    room = np.empty(n_bytes + _PAGE_BYTES, np.uint8)
    start = -room.ctypes.data % _PAGE_BYTES
    return room[start : start + n_bytes]
