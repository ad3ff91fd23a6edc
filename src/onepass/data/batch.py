"""One batch of rows, dense or sparse, as it is filled."""

from __future__ import annotations

import logging
import mmap
from itertools import pairwise
from typing import Protocol, cast

import numpy as np

from onepass.data.record_file import RecordFile
from onepass.data.table_format import RowFile
from onepass.formats.arrays import Rows
from onepass.formats.sparse_room import SparseRoom
from onepass.sparse import SparseRows

_log = logging.getLogger(__name__)

_MOST_VALUES = 2**23  # of sparse rows
_LOOKED_AT = 256  # rows
_WORTH = 16
"""A product with a sparse value takes as long as with so many dense ones."""


class Batch(Protocol):
    """Rows of one batch."""

    @property
    def full(self) -> bool:
        """Whether it is to be taken before more can be put in."""

    @property
    def n_rows(self) -> int:
        """Rows that are there."""

    def fill(self, file: RowFile) -> int:
        """Decode rows until it is full or the file has no more at hand; 0 only at its end."""

    def take(self) -> Rows | SparseRows:
        """Return the rows, which are valid until more are put in their place."""


class DenseBatch:
    """A batch of dense rows.

    Parameters
    ----------
    n_rows, n_features : int
        There is room for.

    Attributes
    ----------
    limit : int
        Rows that may be put in.
    """

    def __init__(self, n_rows: int, n_features: int) -> None:
        # What a thread has from malloc stays its own when it is free; this goes back.
        memory = mmap.mmap(-1, max(1, 4 * n_rows * n_features))
        self._rows = np.frombuffer(memory, np.float32, n_rows * n_features)
        self._rows = self._rows.reshape(n_rows, n_features)
        self.n_rows = 0
        self.limit = n_rows

    @property
    def full(self) -> bool:
        """Whether there is no room for another row."""
        return self.n_rows == len(self._rows)

    def fill(self, file: RowFile) -> int:
        """Decode rows; see `Batch`."""
        n = file.decode(self._rows[self.n_rows : self.limit]).n_rows
        self.n_rows += n
        return n

    def put(self, rows: SparseRows) -> None:
        """Take over rows, of which there are no more than there is room for."""
        self._rows[self.n_rows : self.n_rows + len(rows)] = rows.dense()
        self.n_rows += len(rows)

    def take(self) -> Rows:
        """Return the rows; see `Batch`."""
        rows = self._rows[: self.n_rows]
        self.n_rows = 0
        return rows


class SparseBatch:
    """A batch of sparse rows, which only files of records have.

    Parameters
    ----------
    n_rows, n_features : int
        There is room for, and for 64 MiB of values at most.
    """

    def __init__(self, n_rows: int, n_features: int) -> None:
        self.room = SparseRoom(n_rows, min(_MOST_VALUES, n_rows * n_features), n_features)

    @property
    def full(self) -> bool:
        """Whether there is no room for another row, or for the one that comes next."""
        return self.room.full or not self.room.n_left

    @property
    def n_rows(self) -> int:
        """Rows that are there."""
        return self.room.size

    def fill(self, file: RowFile) -> int:
        """Decode rows; see `Batch`."""
        return cast("RecordFile", file).decode_sparse(self.room).n_rows

    def put(self, rows: SparseRows) -> None:
        """Take over rows, of which there are no more than there is room for."""
        for start, stop in pairwise(rows.starts):
            self.room.put(rows.columns[start:stop], rows.values[start:stop])

    def take(self) -> SparseRows:
        """Return the rows; see `Batch`."""
        return self.room.take()


class Choice:
    """What several batches become: the first of them that has rows decides.

    Attributes
    ----------
    is_sparse : bool or None
    """

    is_sparse: bool | None = None


class UndecidedBatch:
    """A batch that becomes a sparse or a dense one, as the first few hundred rows are.

    Parameters
    ----------
    choice : Choice
        That all batches of these rows share.
    n_rows, n_dense_rows, n_features : int
        There is room for: so many sparse rows, or so many dense ones.
    """

    def __init__(self, choice: Choice, n_rows: int, n_dense_rows: int, n_features: int) -> None:
        self._choice = choice
        self._sizes = n_rows, n_dense_rows, n_features
        self._first = SparseBatch(min(_LOOKED_AT, n_rows, n_dense_rows), n_features)
        self._batch: DenseBatch | SparseBatch | None = None

    @property
    def full(self) -> bool:
        """Whether it is to be taken; see `Batch`."""
        return self._batch is not None and self._batch.full

    @property
    def n_rows(self) -> int:
        """Rows that are there."""
        return self._first.n_rows if self._batch is None else self._batch.n_rows

    def fill(self, file: RowFile) -> int:
        """Decode rows; see `Batch`."""
        if self._batch is None and self._choice.is_sparse is not None:
            self._batch = self._new_batch()
        if self._batch is None:
            n = self._first.fill(file)
            if not self._first.full:
                return n
            self._batch = self._decide(self._first.take())
            if n:
                return n
        return self._batch.fill(file)

    def take(self) -> Rows | SparseRows:
        """Return the rows; see `Batch`."""
        if self._batch is None:
            if not self.n_rows:
                return self._first.take()
            self._batch = self._decide(self._first.take())
        return self._batch.take()

    def _decide(self, first: SparseRows) -> DenseBatch | SparseBatch:
        share = first.n_values / (max(1, len(first)) * first.n_features)
        self._choice.is_sparse = share * _WORTH <= 1
        if self._choice.is_sparse:
            _log.info("rows stay sparse: %.3g %% of the first rows' values are given", 100 * share)
        batch = self._new_batch()
        batch.put(first)
        return batch

    def _new_batch(self) -> DenseBatch | SparseBatch:
        n_rows, n_dense_rows, n_features = self._sizes
        if self._choice.is_sparse:
            return SparseBatch(n_rows, n_features)
        return DenseBatch(n_dense_rows, n_features)
