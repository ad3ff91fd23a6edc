"""Blocks of records of one length, as they lie in a file, and where they begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.formats.arrays import Bytes


class Place(NamedTuple):
    """Where a record begins.

    Attributes
    ----------
    source : int
        Which of the sources it is in, from 0; as many as there are at the end of all.
    byte : int
        Of the file.
    record : int
        Of the source.
    row : int
        Rows before it, in all sources: records that were passed over do not count.
    """

    source: int
    byte: int
    record: int
    row: int


class RecordBlock(NamedTuple):
    """Some records of one length, as they lie in a file.

    Attributes
    ----------
    words : ndarray of shape (n,), uint32
    stride : int
        Bytes of a record.
    place : Place
        Of the first.
    release : callable
        To be called when `words` have been used.
    """

    words: npt.NDArray[np.uint32]
    stride: int
    place: Place
    release: Callable[[], None]

    def place_of(self, record: int) -> Place:
        """Return where one of the records begins, or the one behind the last."""
        source, byte, n_records, n_rows = self.place
        byte += record * self.stride
        return Place(source, byte, n_records + record, n_rows + record)


class Memories(NamedTuple):
    """What blocks are read into.

    Attributes
    ----------
    new : callable
        ``(n_bytes) -> ndarray of uint8``.
    n : int
        How many there may be: more than whoever takes blocks uses at once.
    n_bytes : int
        Of each, at most.
    n_threads : int
        That read.
    """

    new: Callable[[int], Bytes]
    n: int
    n_bytes: int
    n_threads: int
