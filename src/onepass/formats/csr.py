"""Rows of which only the values that are not zero are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.formats.arrays import Rows, Vector


class CsrRows(NamedTuple):
    """Sparse rows, one behind the other ("compressed sparse rows").

    Attributes
    ----------
    starts : ndarray of shape (n_samples + 1,), int64
        Row `i` has the keys and values from ``starts[i]`` to ``starts[i + 1]``; the first is 0.
    keys : ndarray, int64
        The feature of each value, from 0; none twice in a row.
    values : ndarray, float32
    n_features : int

    Examples
    --------
    >>> rows = CsrRows.from_dense(np.float32([[0, 2, 0, 5], [0, 0, 0, 0]]))
    >>> rows.keys, rows.values
    (array([1, 3]), array([2., 5.], dtype=float32))
    >>> rows.to_dense()
    array([[0., 2., 0., 5.],
           [0., 0., 0., 0.]], dtype=float32)
    """

    starts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    values: Vector
    n_features: int

    @classmethod
    def from_dense(cls, rows: Rows) -> CsrRows:
        """Take the values of a matrix that are not zero."""
        places, keys = np.nonzero(rows)
        counts = np.bincount(places, minlength=len(rows))
        return cls(_starts(counts), keys.astype(np.int64), rows[places, keys], rows.shape[1])

    @classmethod
    def from_counts(
        cls,
        counts: npt.NDArray[np.integer],
        *,
        keys: npt.NDArray[np.int64],
        values: Vector,
        n_features: int,
    ) -> CsrRows:
        """Make rows that have so many values each."""
        return cls(_starts(counts), keys, values, n_features)

    @property
    def n_samples(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many values each row has, shape (n_samples,)."""
        return np.diff(self.starts)

    def part(self, start: int, stop: int) -> CsrRows:
        """Return the rows from one to before another; keys and values are views."""
        first, last = int(self.starts[start]), int(self.starts[stop])
        return CsrRows(
            self.starts[start : stop + 1] - first,
            self.keys[first:last],
            self.values[first:last],
            self.n_features,
        )

    def to_dense(self) -> Rows:
        """Unfold all rows; the caller knows that they are not too many."""
        rows = np.zeros((self.n_samples, self.n_features), np.float32)
        rows[np.repeat(np.arange(self.n_samples), self.counts), self.keys] = self.values
        return rows

    def unfolded(self, most_values: int) -> Iterator[Rows]:
        """Yield the rows as matrices of at most so many values, or of one row."""
        step = max(1, most_values // self.n_features)
        for start in range(0, self.n_samples, step):
            yield self.part(start, min(start + step, self.n_samples)).to_dense()


def _starts(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts
