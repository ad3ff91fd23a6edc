"""What travels from a reader to a writer: some rows with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from onepass.formats.arrays import Rows
from onepass.formats.csr import CsrRows

BLOCK_VALUES = 2**20
"""Of a matrix at most, unless one row has more: 4 MiB."""


class Block(NamedTuple):
    """Rows behind one another.

    Attributes
    ----------
    rows : ndarray of shape (n_samples, n_features), float32, or CsrRows
        Valid until the next block is read.
    labels : ndarray of shape (n_samples, n_labels), float32
    """

    rows: Rows | CsrRows
    labels: Rows

    def part(self, start: int, stop: int) -> Block:
        """Return the rows from one to before another."""
        rows = self.rows
        some = rows.part(start, stop) if isinstance(rows, CsrRows) else rows[start:stop]
        return Block(some, self.labels[start:stop])

    def sparse(self) -> CsrRows:
        """Return the rows without zeros."""
        return self.rows if isinstance(self.rows, CsrRows) else CsrRows.from_dense(self.rows)

    def matrices(self, most_values: int = BLOCK_VALUES) -> Iterator[tuple[Rows, Rows]]:
        """Yield matrices of rows, none larger than so many values or one row, with their labels."""
        n_features = self.rows.n_features if isinstance(self.rows, CsrRows) else self.rows.shape[1]
        step = max(1, most_values // (n_features + self.labels.shape[1]))
        for start in range(0, len(self.labels), step):
            some = self.part(start, min(start + step, len(self.labels)))
            rows = some.rows.to_dense() if isinstance(some.rows, CsrRows) else some.rows
            yield rows, some.labels
