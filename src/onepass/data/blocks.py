"""Rows that are made block by block, given out as they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from onepass.formats.arrays import Rows
from onepass.formats.records import Decoded


class BlockFile(ABC):
    """A `RowFile` of a format that is read in blocks.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        self._block: Rows = np.empty((0, n_features), np.float32)

    def decode(self, out: Rows) -> Decoded:
        """Write the next rows to the head of `out`; see `RowFile`."""
        while not len(self._block):
            block = self._next_block()
            if block is None:
                return Decoded(0, 0)
            self._block = block
        n = min(len(out), len(self._block))
        out[:n] = self._block[:n]
        self._block = self._block[n:]
        return Decoded(0, n)

    @abstractmethod
    def _next_block(self) -> Rows | None:
        """Return the next rows, checked, of shape (n, n_features), float32; None at the end."""
