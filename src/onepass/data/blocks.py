"""Rows that are made block by block, given out as they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from onepass.errors import DecodeError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Array, Rows
from onepass.formats.record_decoder import Decoded

NOT_FINITE = "a value that is NaN or infinite as float32"


class BlockFile(ABC):
    """A `RowFile` of a format that is read in blocks.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        self._n_rows = 0  # given out or refused
        self._block: Array = np.empty((0, n_features), np.float32)
        self._at = 0  # of the block's rows

    def follow(self, before: object) -> None:
        """Take nothing over; see `RowFile`."""
        del before

    def decode(self, out: Rows) -> Decoded:
        """Write the next rows to the head of `out`; see `RowFile`."""
        while self._at == len(self._block):
            block = self._next_block()
            if block is None:
                return Decoded(0, 0)
            self._block, self._at = block, 0
        n = min(len(out), len(self._block) - self._at)
        with np.errstate(over="ignore", invalid="ignore"):
            out[:n] = self._block[self._at : self._at + n]
        bad = first_non_finite(out[:n])
        if bad and not bad[0]:
            refusal = self._refusal(self._at, bad[1])
            self._pass(1)
            raise refusal
        n = bad[0] if bad else n
        self._pass(n)
        return Decoded(0, n)

    def _pass(self, n_rows: int) -> None:
        self._at += n_rows
        self._n_rows += n_rows

    @abstractmethod
    def _next_block(self) -> Array | None:
        """Return the next rows, of shape (n, n_features) and any type; None at the end."""

    @abstractmethod
    def _refusal(self, row: int, feature: int) -> DecodeError:
        """Say which value of the block, that is not finite, is refused."""
