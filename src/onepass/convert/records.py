"""RecordIO-protobuf to blocks: labels are kept, and sparse records are not unfolded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onepass.convert.blocks import BLOCK_VALUES, Block
from onepass.convert.survey import Table
from onepass.data.streams import Opened
from onepass.errors import DecodeError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Bytes
from onepass.formats.record_row import LabelledRow, check_width, not_finite, read_labelled
from onepass.formats.recordio import HEADER_BYTES, RawRecord, next_record
from onepass.formats.sparse_room import SparseRoom
from onepass.formats.wire import Layout, learn_layout
from onepass.sparse import SparseRows

_READ_BYTES = 2**20
_RECORD_BYTES = 2**20
_PARSED_AT_ONCE = 64
_TAKEN_AT_ONCE = 4096


class RecordBlocks:
    """Reads an object from its beginning to its end.

    Parameters
    ----------
    opened : Opened
    table : Table
        What every record must have.
    keep_labels : bool
        Else they are left out, however many there are.

    Notes
    -----
    Runs of dense float records of one length are copied as they lie, and runs of sparse ones are
    decoded in C; all others are parsed by protobuf, one by one, and given out sparse.
    Memory: 10 MiB, or two of the longest record and its rows.
    """

    def __init__(self, opened: Opened, table: Table, *, keep_labels: bool) -> None:
        self._stream, self._name = opened.stream, opened.name
        self._table = table
        self._keep_labels = keep_labels
        self._limit_bytes = _RECORD_BYTES + 32 * table.n_features
        self._n_records = self._n_bytes = 0
        self._layout: Layout | None = None
        n_labels = table.n_labels if keep_labels else None
        self._room = SparseRoom(_TAKEN_AT_ONCE, BLOCK_VALUES, table.n_features, n_labels)
        self._is_sparse = False

    def __iter__(self) -> Iterator[Block]:
        """Yield the rows.

        Raises
        ------
        DecodeError
            With the file, the record and its byte.
        """
        left = np.empty(0, np.uint8)
        while len(data := self._more(left)) > len(left):
            place = 0
            try:
                while (done := self._next(data[place:])) is not None:
                    block, n_bytes = done
                    place += n_bytes
                    yield block
            except DecodeError as error:
                raise self._placed(error) from error
            left = data[place:]
        if len(left):
            cut = f"the data ends inside this record; {len(left)} bytes of it are there"
            raise self._placed(DecodeError(cut))

    def _placed(self, error: DecodeError) -> DecodeError:
        where = f"record {self._n_records} at byte {self._n_bytes}"
        return type(error)(error.reason, where=where, source=self._name)

    def _more(self, left: Bytes) -> Bytes:
        """Read a block with what is left before it; all but the last one are full.

        Blocks begin at multiples of four bytes, as records do, so that no padding is cut in two.
        """
        room = np.empty(len(left) + max(_READ_BYTES, len(left)), np.uint8)
        room[: len(left)] = left
        n = len(left)
        while n < len(room) and (n_more := self._stream.readinto(room[n:].data)):
            n += n_more
        return room[:n]

    def _next(self, data: Bytes) -> tuple[Block, int] | None:
        """Take a run of records from the head; None where there is no whole one."""
        return self._viewed(data) or self._sparse_run(data) or self._parsed(data)

    def _viewed(self, data: Bytes) -> tuple[Block, int] | None:
        layout = self._layout
        if layout is None:
            return None
        room = max(1, BLOCK_VALUES // layout.n_features)
        n = min(len(data) // layout.stride, layout.block_rows, room)
        n = layout.count_matching(data, n) if n else 0
        if not n:
            return None
        rows = np.empty((n, layout.n_features), np.float32)
        labels = np.empty((n, self._table.n_labels), np.float32)
        layout.copy_values(data, rows)
        if self._keep_labels:
            layout.copy_labels(data, labels)
        self._check(rows, "feature", layout)
        self._check(labels, "label", layout)
        self._count(n, n * layout.stride)
        return Block(rows, labels), n * layout.stride

    def _sparse_run(self, data: Bytes) -> tuple[Block, int] | None:
        if not self._is_sparse:
            return None
        n_bytes, n = self._room.take_plain(data)
        if not n:
            return None
        labels = (
            np.empty((n, 0), np.float32) if self._room.labels is None else self._room.labels[:n]
        )
        self._count(n, n_bytes)
        return Block(self._room.take(), labels), n_bytes

    def _check(self, numbers: np.ndarray, what: str, layout: Layout) -> None:
        bad = first_non_finite(numbers) if numbers.shape[1] else None
        if bad:
            self._count(bad[0], bad[0] * layout.stride)
            raise DecodeError(not_finite(bad[1], what))

    def _parsed(self, data: Bytes) -> tuple[Block, int] | None:
        """Parse some records, up to the first dense one, after which others may be viewed."""
        view, place = data.data, 0
        rows: list[LabelledRow] = []
        while len(rows) < _PARSED_AT_ONCE:
            raw = next_record(view, place, limit_bytes=self._limit_bytes)
            if raw is None:
                break
            row = self._row(raw)
            rows.append(row)
            framed = bytes(view[place : raw.end])
            self._count(1, raw.end - place)
            place = raw.end
            self._is_sparse = row.is_sparse
            if not row.is_sparse and self._learn(framed, raw, row):
                break
        return (_block(rows, self._table.n_features), place) if rows else None

    def _row(self, raw: RawRecord) -> LabelledRow:
        row = read_labelled(bytes(raw.payload))
        check_width(row.n_features, self._table.n_features)
        if not self._keep_labels:
            return row._replace(labels=row.labels[:0])
        if len(row.labels) != self._table.n_labels:
            raise DecodeError(
                f"the record has {len(row.labels)} labels, the first of all has "
                f"{self._table.n_labels}; --labels drop leaves them out"
            )
        return row

    def _learn(self, framed: bytes, raw: RawRecord, row: LabelledRow) -> bool:
        layout = learn_layout(framed, HEADER_BYTES, HEADER_BYTES + len(raw.payload))
        if layout is None or layout.n_features != row.n_features:
            return False
        if self._keep_labels and layout.n_labels != self._table.n_labels:
            return False
        self._layout = layout
        return True

    def _count(self, n_records: int, n_bytes: int) -> None:
        self._n_records += n_records
        self._n_bytes += n_bytes


def _block(rows: list[LabelledRow], n_features: int) -> Block:
    found = SparseRows.of_counts(
        np.array([len(row.columns) for row in rows]),
        columns=np.concatenate([row.columns for row in rows]),
        values=np.concatenate([row.values for row in rows]),
        n_features=n_features,
    )
    return Block(found, np.stack([row.labels for row in rows]))
