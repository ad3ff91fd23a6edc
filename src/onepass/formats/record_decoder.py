"""RecordIO-protobuf: a stream of framed `Record` messages to rows.

There are two paths. Blocks of dense float records of one length are viewed where they lie
(`onepass.formats.wire`), at memory speed; every other record the schema allows is parsed by
protobuf, one at a time. Both give float32 rows; float64 and int32 values are rounded to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.errors import DecodeError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Bytes, Rows, Vector
from onepass.formats.record_row import check_width, read_row, read_sparse_row, row_width
from onepass.formats.recordio import HEADER_BYTES, next_record
from onepass.formats.sparse_room import SparseRoom
from onepass.formats.wire import Layout, learn_layout

_LONG_RUN = 64
_LONGEST_SEARCH_PAUSE = 1024
CUT_SHORT = "the data ends inside this record; {} bytes of it are there: write it whole"
"""How what is left over at the end is refused; takes its bytes."""


class Decoded(NamedTuple):
    """How far one call of `RecordDecoder.decode` came.

    Attributes
    ----------
    n_bytes : int
        Bytes of the input that are done with.
    n_rows : int
        Rows written to the output.
    """

    n_bytes: int
    n_rows: int


class RecordDecoder:
    """Turns a stream of RecordIO-protobuf bytes into float32 rows, piece by piece.

    Parameters
    ----------
    n_features : int
        The width every record must have.

    Attributes
    ----------
    n_records, n_bytes : int
        What has been decoded so far, padding included; positions in error messages count from
        these.

    Notes
    -----
    Nothing larger than one record is kept: the caller owns both buffers. A record may take
    1 MiB and 32 bytes a feature; a longer one is refused before it is read.

    Examples
    --------
    >>> import numpy as np
    >>> from onepass.formats.record_writer import write_rows
    >>> data = np.frombuffer(write_rows([[1.5, 16.0], [2.0, 3.0]]), np.uint8)
    >>> out = np.empty((8, 2), np.float32)
    >>> RecordDecoder(2).decode(data, out)
    Decoded(n_bytes=64, n_rows=2)
    >>> out[:2]
    array([[ 1.5, 16. ],
           [ 2. ,  3. ]], dtype=float32)
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.limit_bytes = 2**20 + 32 * n_features
        self.n_records = 0
        self.n_bytes = 0
        self._layout: Layout | None = None
        self._search_pause = 1
        self._search_in = 0
        self._look_ahead = 1
        self._padding_due = 0

    def decode(self, data: Bytes, out: Rows) -> Decoded:
        """Decode whole records from the head of `data` until it ends or `out` is full.

        Parameters
        ----------
        data : ndarray of uint8, contiguous
            Starts where the last call left off.
        out : ndarray of shape (n, n_features), float32, C-contiguous
            Receives the rows.

        Returns
        -------
        Decoded
            Zero bytes when `data` does not hold one whole record.

        Raises
        ------
        DecodeError
            Naming the record (from 0) and its byte offset in the stream. It is at the head of
            `data`: rows before it have been written by the calls before. Where it is skippable,
            `skip` passes over it.
        """
        view = data.data
        position, n_rows = self._padding_due, 0
        while n_rows < len(out) and position < len(data):
            try:
                done = self._decode_block(data[position:], out[n_rows:])
                if not done.n_rows:
                    done = self._decode_one(view[position:], out[n_rows])
            except DecodeError:
                if not n_rows:
                    raise
                break  # those before it first: it is met again at the next call
            if not done.n_rows:
                break
            self._count(done)
            position += done.n_bytes
            n_rows += done.n_rows
        return Decoded(position, n_rows) if n_rows else Decoded(0, 0)

    def decode_sparse(self, data: Bytes, room: SparseRoom) -> Decoded:
        """Decode whole records from the head of `data` until it ends or the room is full.

        Parameters
        ----------
        data : ndarray of uint8, contiguous
            Starts where the last call, of this or of `decode`, left off.
        room : SparseRoom
            Receives the rows, which stay sparse.

        Returns
        -------
        Decoded
            Zero bytes when `data` does not hold one whole record, or ``room.full``.

        Raises
        ------
        DecodeError
            As `decode`.
        """
        view = data.data
        position, n_rows = self._padding_due, 0
        while room.n_left and position < len(data):
            n_bytes, n = room.take_plain(data[position:])
            try:
                if not n:
                    n_bytes, n = self._decode_one_sparse(view[position:], room)
            except DecodeError:
                if not n_rows:
                    raise
                break  # as in `decode`
            if not n:
                break
            self._count(Decoded(n_bytes, n))
            position += n_bytes
            n_rows += n
        return Decoded(position, n_rows) if n_rows else Decoded(0, 0)

    @property
    def layout(self) -> Layout | None:
        """The layout of the latest dense records, where they have one in common."""
        return self._layout

    def restart(self, n_records: int = 0, n_bytes: int = 0) -> None:
        """Begin another stream, of which so much is passed; what is known of layouts is kept."""
        self.n_records, self.n_bytes, self._padding_due = n_records, n_bytes, 0

    def peek(self, data: Bytes) -> bool:
        """Check the width of the record at the head of `data`, without unfolding it.

        Returns
        -------
        bool
            False when `data` does not hold one whole record.
        """
        raw = None
        try:
            raw = next_record(data.data, self._padding_due, limit_bytes=self.limit_bytes)
            if raw is not None:
                check_width(row_width(bytes(raw.payload)), self.n_features)
        except DecodeError as error:
            skippable = raw is not None
            raise type(error)(error.reason, where=self._where(), skippable=skippable) from error
        return raw is not None

    def skip(self, data: Bytes) -> int:
        """Pass over the record at the head of `data`, whose frame is right; return its bytes."""
        start = self._padding_due
        raw = next_record(data.data, start, limit_bytes=self.limit_bytes)
        if raw is None:
            return 0
        self._padding_due = (start - raw.end) % 4
        self.n_records += 1
        self.n_bytes += raw.end - start + self._padding_due
        return raw.end

    def finish(self, rest: Bytes) -> None:
        """Refuse what is left over when the stream has ended: a record cut short."""
        n_bytes = len(rest) - self._padding_due
        if n_bytes > 0:
            raise DecodeError(CUT_SHORT.format(n_bytes), where=self._where())

    def _count(self, done: Decoded) -> None:
        """Count records that have been decoded; padding may be missing yet."""
        self._padding_due = -done.n_bytes % 4
        self.n_records += done.n_rows
        self.n_bytes += done.n_bytes + self._padding_due

    def _decode_block(self, data: Bytes, out: Rows) -> Decoded:
        """Take a run of records that share the known layout."""
        layout = self._layout
        if layout is None or self._search_in:
            return Decoded(0, 0)
        # What is left, different or not finite, is looked at by itself.
        if layout.compiled:
            n_rows = layout.compiled.decode(data, out)
        else:
            n_rows = self._view(layout, data, out)
        if n_rows >= _LONG_RUN:
            self._search_pause = 1
        return Decoded(n_rows * layout.stride, n_rows)

    def _view(self, layout: Layout, data: Bytes, out: Rows) -> int:
        """Copy values where they lie until a record differs or is not finite."""
        n_rows, n_there = 0, min(len(out), len(data) // layout.stride)
        while n_rows < n_there:
            # Look far ahead only in a stream that was regular so far: looking has its price.
            n_wanted = min(self._look_ahead, n_there - n_rows)
            block = data[n_rows * layout.stride :]
            n = layout.count_matching(block, n_wanted)
            if n:
                rows = out[n_rows : n_rows + n]
                layout.copy_values(block, rows)
                bad = first_non_finite(rows)
                n_rows += bad[0] if bad else n
                if bad:
                    break
            if n < n_wanted:
                self._look_ahead = 1
                break
            self._look_ahead = min(2 * self._look_ahead, layout.block_rows)
        return n_rows

    def _decode_one(self, view: memoryview, out: Vector) -> Decoded:
        """Parse one record by protobuf, and learn its layout."""
        raw = None
        try:
            raw = next_record(view, 0, limit_bytes=self.limit_bytes)
            if raw is None:
                return Decoded(0, 0)
            out[:] = read_row(bytes(raw.payload), self.n_features)
        except DecodeError as error:
            skippable = raw is not None
            raise type(error)(error.reason, where=self._where(), skippable=skippable) from error
        if self._search_in:
            self._search_in -= 1
        else:
            # Streams without a common layout pay for each search: look ever more rarely.
            self._search_in = self._search_pause - 1
            self._search_pause = min(2 * self._search_pause, _LONGEST_SEARCH_PAUSE)
            self._learn(bytes(view[: raw.end]), len(raw.payload), out)
        return Decoded(raw.end, 1)

    def _decode_one_sparse(self, view: memoryview, room: SparseRoom) -> Decoded:
        """Parse one record by protobuf, if there is room for it."""
        raw = None
        try:
            raw = next_record(view, 0, limit_bytes=self.limit_bytes)
            if raw is None:
                return Decoded(0, 0)
            row = read_sparse_row(bytes(raw.payload), self.n_features)
        except DecodeError as error:
            skippable = raw is not None
            raise type(error)(error.reason, where=self._where(), skippable=skippable) from error
        return Decoded(raw.end, 1) if room.put(row.columns, row.values) else Decoded(0, 0)

    def _learn(self, framed: bytes, n_payload_bytes: int, row: Vector) -> None:
        """Adopt the record's layout if viewing it gives what protobuf gave."""
        self._layout, self._look_ahead = None, 1
        layout = learn_layout(framed, HEADER_BYTES, HEADER_BYTES + n_payload_bytes)
        if layout and layout.n_features == self.n_features:
            viewed = np.empty((1, self.n_features), np.float32)
            layout.copy_values(np.frombuffer(framed, np.uint8), viewed)
            if np.array_equal(viewed[0], row):
                self._layout = layout

    def _where(self) -> str:
        return f"record {self.n_records} at byte {self.n_bytes}"
