"""Batches that are filled in turn, each with where it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from onepass.data.batch import Batch
from onepass.data.position import Position
from onepass.formats.arrays import Rows
from onepass.sparse import SparseRows


class FilledBatch(NamedTuple):
    """A batch, what has been read up to its end, and where in it bad records were."""

    batch: Rows | SparseRows
    position: Position
    gaps: Mapping[int, int]


class BatchRing:
    """The batch that is being filled, of some that are used in turn, and the place behind it."""

    def __init__(self, ring: Sequence[Batch], place: Position) -> None:
        self._ring = cycle(ring)
        self.batch = next(self._ring)
        self.place = place
        self.gaps: Counter[int] = Counter()

    def take(self) -> FilledBatch:
        """Take what is there; the next batch is filled then."""
        batch, self.batch = self.batch, next(self._ring)
        gaps, self.gaps = self.gaps, Counter()
        return FilledBatch(batch.take(), self.place, gaps)
