"""Where a reservoir keeps its rows: dense ones in an array, sparse ones in as few bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np

from onepass.cluster.arrays import Indices, Rows
from onepass.cluster.batches import as_dense, as_sparse
from onepass.sparse import SparseRows

R = TypeVar("R", Rows, SparseRows)

_FEWEST_VALUES = 2**16


class RowStore(ABC, Generic[R]):
    """Rows in places that are numbered from 0, without gaps.

    Attributes
    ----------
    size : int
        Rows kept.
    """

    size = 0

    @abstractmethod
    def put(self, rows: R, which: Indices) -> None:
        """Keep some rows, behind those that are there."""

    @abstractmethod
    def as_kept(self, rows: Rows | SparseRows) -> R:
        """Return rows of another store as they are kept here."""

    @abstractmethod
    def drop(self, holes: Indices, movers: Indices, size: int) -> None:
        """Move rows into the places of others, and keep the first `size` only."""

    @abstractmethod
    def clear(self) -> None:
        """Drop all rows."""

    @abstractmethod
    def held(self) -> R:
        """Return all rows."""

    @abstractmethod
    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""

    @abstractmethod
    def trim(self) -> None:
        """Give back the room for more rows until some are put."""

    @abstractmethod
    def overfull(self) -> bool:
        """Whether there are more rows than there is memory for."""

    @abstractmethod
    def n_fitting(self, order: Indices) -> int:
        """Return how many rows, taken in an order, there is memory for."""


class DenseStore(RowStore[Rows]):
    """Rows in an array.

    Parameters
    ----------
    n_rows : int
        There is room for.
    n_features : int
    """

    def __init__(self, n_rows: int, n_features: int) -> None:
        self._n_rows = n_rows
        self._rows = np.empty((n_rows, n_features), np.float32)

    def put(self, rows: Rows, which: Indices) -> None:
        """Keep some rows, of which there may not be more than there is room for."""
        if len(self._rows) < self._n_rows:  # it was trimmed
            room = np.empty((self._n_rows, self._rows.shape[1]), np.float32)
            room[: self.size] = self._rows[: self.size]
            self._rows = room
        stop = self.size + len(which)
        np.take(rows, which, axis=0, out=self._rows[self.size : stop], mode="clip")
        self.size = stop

    def as_kept(self, rows: Rows | SparseRows) -> Rows:
        """Return rows with their zeros."""
        return as_dense(rows)

    def drop(self, holes: Indices, movers: Indices, size: int) -> None:
        """Move rows into the places of others, and keep the first `size` only."""
        self._rows[holes] = self._rows[movers]
        self.size = size

    def clear(self) -> None:
        """Drop all rows."""
        self.size = 0

    def held(self) -> Rows:
        """Return all rows: a view."""
        return self._rows[: self.size]

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        np.ldexp(self.held(), -exponent, out=self.held())

    def trim(self) -> None:
        """Give back the room for more rows until some are put."""
        self._rows = self.held()

    def overfull(self) -> bool:
        """Return False: its memory was taken when it was made."""
        return False

    def n_fitting(self, order: Indices) -> int:
        """Return the number of all."""
        return len(order)


class SparseStore(RowStore[SparseRows]):
    """Rows as the values that are not zero.

    Parameters
    ----------
    most_values : int
        Of all rows together; a quarter more may be there until rows are dropped.
    n_features : int

    Notes
    -----
    Memory: 10 bytes for each of `most_values`, and as much again while rows are dropped.
    """

    def __init__(self, most_values: int, n_features: int) -> None:
        self._most_values = max(most_values, _FEWEST_VALUES)
        self._parts = [SparseRows.of_dense(np.empty((0, n_features), np.float32))]

    def put(self, rows: SparseRows, which: Indices) -> None:
        """Keep some rows."""
        self._parts.append(rows[which])
        self.size += len(which)

    def as_kept(self, rows: Rows | SparseRows) -> SparseRows:
        """Return rows without their zeros."""
        return as_sparse(rows)

    def drop(self, holes: Indices, movers: Indices, size: int) -> None:
        """Move rows into the places of others, and keep the first `size` only."""
        order = np.arange(size)
        order[holes] = movers
        self._parts = [self.held()[order]]
        self.size = size

    def clear(self) -> None:
        """Drop all rows."""
        self._parts, self.size = [self.held()[:0]], 0

    def held(self) -> SparseRows:
        """Return all rows."""
        self._parts = [SparseRows.concatenate(self._parts)]
        return self._parts[0]

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        rows = self.held()
        self._parts = [rows.with_values(np.ldexp(rows.values, -exponent))]

    def trim(self) -> None:
        """Put the parts together."""
        self.held()

    def overfull(self) -> bool:
        """Whether there are a quarter more values than there should be."""
        n_values = sum(part.n_values for part in self._parts)
        return n_values > self._most_values + self._most_values // 4

    def n_fitting(self, order: Indices) -> int:
        """Return how many rows, taken in an order, have no more values than there should be."""
        ends = np.cumsum(self.held().counts[order])
        return int(np.searchsorted(ends, self._most_values, side="right"))
