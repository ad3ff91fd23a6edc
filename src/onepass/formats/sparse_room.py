"""Where decoders put rows that stay sparse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onepass.formats.arrays import Bytes
from onepass.formats.compiled import DecodedSparse, Room, decode_sparse, is_compiled
from onepass.sparse import SparseRows

_MOST_COLUMNS = 2**31


class SparseRoom:
    """Room for sparse rows, filled one behind the other.

    Parameters
    ----------
    n_rows, n_values : int
        There is room for.
    n_features : int
    n_labels : int, optional
        That each row must have; by default labels are left out, however many there are.

    Attributes
    ----------
    size : int
        Rows that are there.
    labels : ndarray of shape (n_rows, n_labels), float32, or None
        Of the rows that are there, in its first lines.
    full : bool
        A row was refused for want of room.

    Notes
    -----
    Memory: 8 bytes for each row and for each value. A row that is longer than all the room left is
    taken where the room is empty, which then grows.
    """

    def __init__(
        self, n_rows: int, n_values: int, n_features: int, n_labels: int | None = None
    ) -> None:
        self.size = 0
        self.full = False
        self.labels = None if n_labels is None else np.empty((n_rows, n_labels), np.float32)
        self._n_features = n_features
        self._ends = np.zeros(n_rows + 1, np.int64)
        self._columns = np.empty(n_values, np.int32)
        self._values = np.empty(n_values, np.float32)

    @property
    def n_left(self) -> int:
        """Rows there is room for yet, if their values are few."""
        return len(self._ends) - 1 - self.size

    def take_plain(self, data: Bytes) -> DecodedSparse:
        """Take plain records from the head of `data` in C, as many as there is room for.

        None where there is no compiler; the first record that is left may be anything.
        """
        if not is_compiled() or self._n_features >= _MOST_COLUMNS:
            return DecodedSparse(0, 0)
        first = int(self._ends[self.size])
        done = decode_sparse(
            data,
            self._n_features,
            Room(
                self._ends[self.size + 1 :],
                self._columns[first:],
                self._values[first:],
                None if self.labels is None else self.labels[self.size :],
            ),
        )
        self._ends[self.size + 1 : self.size + 1 + done.n_rows] += first
        self.size += done.n_rows
        return done

    def put(self, columns: npt.NDArray[np.int32], values: npt.NDArray[np.float32]) -> bool:
        """Take one row; False where there is no room for it."""
        first = int(self._ends[self.size])
        stop = first + len(columns)
        self.full = not self.n_left or bool(self.size and stop > len(self._columns))
        if self.full:
            return False
        if stop > len(self._columns):
            self._columns, self._values = np.empty(stop, np.int32), np.empty(stop, np.float32)
        self._columns[first:stop], self._values[first:stop] = columns, values
        self.size += 1
        self._ends[self.size] = stop
        return True

    def take(self) -> SparseRows:
        """Return the rows, which are valid until others are put in their place."""
        starts = self._ends[: self.size + 1].copy()
        held = slice(0, int(starts[-1]))
        self.size, self.full = 0, False
        return SparseRows(starts, self._columns[held], self._values[held], self._n_features)
