"""A `Reservoir` whose rows are on a GPU while a stream is taken."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Floats, Labels, Rows
from onepass.cluster.core_set import Weighed
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Array, Chance, Coins, DeviceBatch, Drawn, Found
from onepass.cluster.offers import Kept, stand_for

_SLACK = 4


class Age(NamedTuple):
    """How old a stream is.

    Attributes
    ----------
    total_weight : float
        Of all rows, as far as it has not faded.
    log2_age : float
        The half-lives it has lasted, 0 without one.
    """

    total_weight: float
    log2_age: float


class DeviceSample:
    """Rows on a device, with their keys.

    Parameters
    ----------
    gpu : Gpu
    capacity : int
        Rows kept.
    kept : Kept
        What is held so far: taken over.
    origin : ndarray of shape (n_features,), float32
        What rows are relative to.
    most_rows : int
        Of a batch, all of which may be drawn.

    Notes
    -----
    Memory of the device: ``(1.25 * capacity + most_rows) * (4 * n_features + 28)`` bytes.
    """

    def __init__(
        self, gpu: Gpu, capacity: int, kept: Kept[Rows], origin: Floats, most_rows: int
    ) -> None:
        self._gpu, self._capacity, self._origin = gpu, capacity, origin
        self._limit = capacity + max(1, capacity // _SLACK)
        room = self._limit + most_rows
        self._rows = gpu.empty((room, len(origin)), np.float32)
        self._columns = tuple(gpu.empty(room, np.float64) for _ in range(3))
        self._strata = gpu.empty(room, np.int32)
        self._size = len(kept.keys)
        self._log2_threshold = kept.log2_threshold
        held = slice(0, self._size)
        gpu.copy((kept.rows.astype(np.float64) - origin).astype(np.float32), self._rows[held])
        for column, values in zip(self._columns, kept[1:4], strict=True):
            gpu.copy(values, column[held])
        gpu.copy(kept.strata, self._strata[held])

    def count(self, n_drawn: int) -> None:
        """Count the rows that the last batch has given, before the next one does."""
        self._size += n_drawn
        if self._size > self._limit:
            self._compact()

    def offer(
        self,
        batch: DeviceBatch,
        found: Found,
        coins: Coins,
        age: Age,
        service: Array,
        report: Array,
    ) -> None:
        """Take a share of the rows.

        Parameters
        ----------
        batch : DeviceBatch
        found : Found
        coins : Coins
        age : Age
        service : array of shape (1,), float64
        report : array
            Is told how many are taken, which `count` must be told then.
        """
        n, free = len(batch.rows), slice(self._size, self._size + len(batch.rows))
        which = self._gpu.empty(n, np.int32)
        drawn = Drawn(which, *(column[free] for column in self._columns))
        chance = Chance(service, *age, self._log2_threshold)
        self._gpu.draw(batch, found, coins, chance, drawn, report)
        into = self._rows[free], self._strata[free]
        self._gpu.take(batch.rows, found.labels, which, report, into)

    def relabel(self, mapping: Labels) -> None:
        """Rename strata after centers were merged: stratum s becomes ``mapping[s]``."""
        self._gpu.relabel(self._strata, self._size, mapping)

    @property
    def complete(self) -> bool:
        """Whether no row has been dropped."""
        return bool(np.isinf(self._log2_threshold)) and self._size <= self._capacity

    @property
    def rows(self) -> Array:
        """The rows kept, relative to the origin."""
        return self._rows[: self._size]

    def weighed(self, log2_age: float) -> Weighed:
        """Return what the rows stand for; see `onepass.cluster.reservoir.Reservoir.sample`."""
        if self._size > self._capacity:
            self._compact()
        held = slice(0, self._size)
        _, log2_weights, log2_chances = (self._gpu.get(column[held]) for column in self._columns)
        weights = stand_for(log2_weights, log2_chances, self._log2_threshold, log2_age)
        return Weighed(weights, self._gpu.get(self._strata[held]))

    def leave(self) -> Kept[Rows]:
        """Return all that is held, on the host: nothing is left here."""
        held, self._size = slice(0, self._size), 0
        self._gpu.subtract(self._rows[held], self._gpu.put(-self._origin))
        rows = self._gpu.get(self._rows[held])
        keys, log2_weights, log2_chances = (self._gpu.get(c[held]) for c in self._columns)
        strata = self._gpu.get(self._strata[held])
        return Kept(rows, keys, log2_weights, log2_chances, strata, self._log2_threshold)

    def _compact(self) -> None:
        """Drop all but the smallest keys; the smallest one dropped is the new threshold."""
        held = slice(0, self._size)
        keys, *others = (self._gpu.get(column[held]) for column in self._columns)
        strata = self._gpu.get(self._strata[held])
        self._log2_threshold = float(np.partition(keys, self._capacity)[self._capacity])
        kept = keys < self._log2_threshold
        size = int(kept.sum())
        holes = np.flatnonzero(~kept[:size]).astype(np.int32)
        movers = (size + np.flatnonzero(kept[size:])).astype(np.int32)
        self._gpu.fill_holes(self._rows, self._gpu.put(holes), self._gpu.put(movers))
        arrays = (*self._columns, self._strata)
        for array, values in zip(arrays, (keys, *others, strata), strict=True):
            values[holes] = values[movers]
            self._gpu.copy(values[:size], array[:size])
        self._size = size
