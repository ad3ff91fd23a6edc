"""Sparse rows that are moved a little, group by group, without becoming dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.sparse import SparseRows


@dataclass(frozen=True, eq=False)
class Shift:
    """How far each group of rows is moved.

    Attributes
    ----------
    offsets : ndarray of shape (n_groups, n_features), float32
    groups : ndarray of shape (n_samples,), int32
        Which group each row is of.
    squares : ndarray of shape (n_samples,), float64
        The squared norm of each row that has been moved.
    """

    offsets: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int32]
    squares: npt.NDArray[np.float64]

    def part(self, which: slice | npt.NDArray[Any]) -> Shift:
        """Return that of some rows, with all offsets."""
        return Shift(self.offsets, self.groups[which], self.squares[which])


@dataclass(frozen=True, eq=False)
class ShiftedRows:
    """Rows ``rows[i] + offsets[groups[i]]``.

    Parameters
    ----------
    rows : SparseRows
    shift : Shift
    """

    rows: SparseRows
    shift: Shift

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | npt.NDArray[Any]) -> ShiftedRows:
        """Return some rows, which have all offsets."""
        return ShiftedRows(self.rows[which], self.shift.part(which))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.rows.shape

    def copy(self) -> ShiftedRows:
        """Return rows that do not change when these do; the offsets are the same."""
        return ShiftedRows(self.rows.copy(), self.shift)

    def dense(self) -> npt.NDArray[np.float32]:
        """Return the rows with their zeros, shape (n_samples, n_features)."""
        rows = self.rows.dense()
        rows += self.shift.offsets[self.shift.groups]
        return rows
