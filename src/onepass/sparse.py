"""Rows as their values that are not zero: what decoders of sparse records give and clusterers take.

Compressed sparse rows, as `scipy.sparse.csr_array` holds them; that class is not used so that
reading data needs no SciPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Which: TypeAlias = slice | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows of which most values are zero.

    Parameters
    ----------
    starts : ndarray of shape (n_samples + 1,), int64
        Where the values of each row begin, and where those of the last one end.
    columns : ndarray of shape (n_values,), int32
        The feature of each value; no feature twice in a row.
    values : ndarray of shape (n_values,), float32
    n_features : int

    Examples
    --------
    >>> rows = SparseRows.of_dense(np.array([[0, 2, 0], [0, 0, 0], [1, 0, 3]], np.float32))
    >>> rows.columns, rows[1:].shape, rows[np.array([2])].dense()
    (array([1, 0, 2], dtype=int32), (2, 3), array([[1., 0., 3.]], dtype=float32))
    """

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    n_features: int

    @classmethod
    def of_dense(cls, rows: npt.NDArray[Any]) -> SparseRows:
        """Leave the zeros of dense rows out."""
        which, columns = np.nonzero(rows)
        counts = np.bincount(which, minlength=len(rows))
        values = rows[which, columns].astype(np.float32)
        return cls(_ends(counts), columns.astype(np.int32), values, rows.shape[1])

    @classmethod
    def of_counts(
        cls,
        counts: npt.NDArray[Any],
        *,
        columns: npt.NDArray[np.int32],
        values: npt.NDArray[np.float32],
        n_features: int,
    ) -> SparseRows:
        """Make rows that have so many values each."""
        return cls(_ends(counts), columns, values, n_features)

    @classmethod
    def concatenate(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """Put rows of one width behind one another; at least one part."""
        if len(parts) == 1:
            return parts[0]
        counts = np.concatenate([part.counts for part in parts])
        return cls(
            _ends(counts),
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.values for part in parts]),
            parts[0].n_features,
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, which: _Which) -> SparseRows:
        """Return some rows: a view of those behind one another, and else a copy."""
        if isinstance(which, slice) and which.step in (None, 1):
            first, stop, _ = which.indices(len(self))
            starts = self.starts[first : max(first, stop) + 1]
            held = slice(int(starts[0]), int(starts[-1]))
            return SparseRows(
                starts - starts[0], self.columns[held], self.values[held], self.n_features
            )
        chosen = np.arange(len(self))[which]
        counts = self.counts[chosen]
        starts = _ends(counts)
        places = np.repeat(self.starts[chosen] - starts[:-1], counts)
        places += np.arange(starts[-1])
        return SparseRows(starts, self.columns[places], self.values[places], self.n_features)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self), self.n_features

    @property
    def n_values(self) -> int:
        """How many values there are in all."""
        return len(self.values)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many values each row has."""
        return np.diff(self.starts)

    def copy(self) -> SparseRows:
        """Return rows that do not change when these do."""
        return self.with_values(self.values.copy(), columns=self.columns.copy())

    def with_values(
        self, values: npt.NDArray[np.float32], *, columns: npt.NDArray[np.int32] | None = None
    ) -> SparseRows:
        """Return rows with other values in the same places."""
        columns = self.columns if columns is None else columns
        return SparseRows(self.starts, columns, values, self.n_features)

    def owners(self) -> npt.NDArray[np.intp]:
        """Return the row of each value, shape (n_values,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def dense(self) -> npt.NDArray[np.float32]:
        """Return the rows with their zeros, shape (n_samples, n_features)."""
        rows = np.zeros(self.shape, np.float32)
        rows[self.owners(), self.columns] = self.values
        return rows


def _ends(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return 0, and where each row's values end."""
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends
