"""Batches of one size from pieces of any size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from onepass.cluster.arrays import Rows, Weighted, WeightedRows
from onepass.sparse import SparseRows

R = TypeVar("R", Rows, SparseRows)


class Buffer(ABC, Generic[R]):
    """Cuts a stream of pieces of any size into batches of one size.

    Parameters
    ----------
    batch_size : int
        Rows of a batch; may be changed between batches.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._n_rows = 0

    def __len__(self) -> int:
        return self._n_rows

    def push(self, piece: Weighted[R]) -> Iterator[Weighted[R]]:
        """Add rows; yields the batches they complete, each valid until the next is asked for.

        Parameters
        ----------
        piece : Weighted
            Copied as far as it is kept; rows of weight 0 are dropped.
        """
        counted = piece.weights > 0
        rows, weights = piece
        if not counted.all():
            rows, weights = rows[counted], weights[counted]
        while self._n_rows + len(rows) >= self.batch_size:
            taken = self.batch_size - self._n_rows
            head = Weighted(rows[:taken], weights[:taken])
            rows, weights = rows[taken:], weights[taken:]
            if self._n_rows:
                self._keep(head)
                head = self._held()
                self._n_rows = 0
            yield head
        self._keep(Weighted(rows, weights))

    def flush(self) -> Weighted[R] | None:
        """Return what is kept as a last, shorter batch; None if nothing is."""
        if not self._n_rows:
            return None
        rest = self._held()
        self._n_rows = 0
        return rest

    def held(self) -> Weighted[R]:
        """Return what is kept, which stays."""
        return self._held()

    @abstractmethod
    def _held(self) -> Weighted[R]:
        """Return what is kept."""

    @abstractmethod
    def _keep(self, piece: Weighted[R]) -> None:
        """Keep a piece behind what is kept, which it does not make more than a batch."""


class RowBuffer(Buffer[Rows]):
    """A buffer of dense rows.

    Parameters
    ----------
    batch_size : int
    n_features : int

    Notes
    -----
    Pieces of just that size are passed through without a copy; at most a batch is kept. Memory:
    ``4 * n_features + 8`` bytes for each row kept, and as much again where pieces are small.
    """

    def __init__(self, batch_size: int, n_features: int) -> None:
        super().__init__(batch_size)
        self._rows = np.empty((0, n_features), np.float32)
        self._weights = np.empty(0)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the room for more rows behind when it goes to another process."""
        rows, weights = self._held()
        return self.__dict__ | {"_rows": rows, "_weights": weights}

    def _held(self) -> WeightedRows:
        return WeightedRows(self._rows[: self._n_rows], self._weights[: self._n_rows])

    def _keep(self, piece: WeightedRows) -> None:
        n = self._n_rows + len(piece.rows)
        if n > len(self._rows) or not self._rows.flags.writeable:  # as unpickled from such memory
            room = min(self.batch_size, 2 * n)
            held = self._held()
            self._rows = np.empty((room, self._rows.shape[1]), np.float32)
            self._weights = np.empty(room)
            self._rows[: self._n_rows], self._weights[: self._n_rows] = held
        self._rows[self._n_rows : n], self._weights[self._n_rows : n] = piece
        self._n_rows = n


class SparseRowBuffer(Buffer[SparseRows]):
    """A buffer of sparse rows: 8 bytes for each value kept, and as much again as a batch is made.

    Parameters
    ----------
    batch_size : int
    n_features : int
    """

    def __init__(self, batch_size: int, n_features: int) -> None:
        super().__init__(batch_size)
        self._empty = SparseRows.of_dense(np.empty((0, n_features), np.float32))
        self._pieces: list[Weighted[SparseRows]] = []

    def _held(self) -> Weighted[SparseRows]:
        rows = SparseRows.concatenate([self._empty, *(piece.rows for piece in self._pieces)])
        weights = np.concatenate([np.empty(0), *(piece.weights for piece in self._pieces)])
        self._pieces = [Weighted(rows, weights)]
        return self._pieces[0]

    def _keep(self, piece: Weighted[SparseRows]) -> None:
        if not self._n_rows:
            self._pieces = []
        if len(piece.rows):
            self._pieces.append(Weighted(piece.rows.copy(), piece.weights.copy()))
        self._n_rows += len(piece.rows)
