"""What travels from a reader to a writer: some rows with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from onepass.formats.arrays import Rows
from onepass.sparse import SparseRows

BLOCK_VALUES = 2**20
"""Of a matrix at most, unless one row has more: 4 MiB."""


class Block(NamedTuple):
    """Rows behind one another.

    Attributes
    ----------
    rows : ndarray of shape (n_samples, n_features), float32, or SparseRows
        Valid until the next block is read.
    labels : ndarray of shape (n_samples, n_labels), float32
    """

    rows: Rows | SparseRows
    labels: Rows

    def part(self, start: int, stop: int) -> Block:
        """Return the rows from one to before another."""
        return Block(self.rows[start:stop], self.labels[start:stop])

    def sparse(self) -> SparseRows:
        """Return the rows without zeros."""
        return self.rows if isinstance(self.rows, SparseRows) else SparseRows.of_dense(self.rows)

    def matrices(self, most_values: int = BLOCK_VALUES) -> Iterator[tuple[Rows, Rows]]:
        """Yield matrices of rows, none larger than so many values or one row, with their labels."""
        step = max(1, most_values // (self.rows.shape[1] + self.labels.shape[1]))
        for start in range(0, len(self.labels), step):
            some = self.part(start, min(start + step, len(self.labels)))
            rows = some.rows.dense() if isinstance(some.rows, SparseRows) else some.rows
            yield rows, some.labels
