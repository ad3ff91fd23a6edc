"""A `Summary` whose centers are on a GPU while a stream is taken.

The rule is that of `onepass.cluster.summary`; batches are larger, and everything is relative to an
origin near the rows. Centers are united on the host, which has to be done a few dozen times in a
stream of any length.
"""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import Labels, Rows
from onepass.cluster.kernels.gpu import (
    Array,
    Coins,
    DeviceBatch,
    DeviceHoldings,
    Found,
    Gpu,
    Ordered,
    Terms,
)
from onepass.cluster.summary import Summary, n_openings

_ALIGNED = 32
_TF32_FEATURES = 64
_CHECKED_ROWS, _MOST_LOST = 256, 1e-3


class DeviceSummary:
    """Centers on a device, and what they hold.

    Parameters
    ----------
    gpu : Gpu
    summary : Summary
        Of at least one center; taken over, not changed.
    origin : ndarray of shape (n_features,), float32
        What rows and centers are relative to.
    most_rows : int
        Of a batch.

    Attributes
    ----------
    n_centers : int
    tf32 : bool
        Whether products are made in TF32: of many features, as long as that finds the closest
        centers.

    Notes
    -----
    Memory of the device, with K centers, d features and n rows of a batch: ``K (20 d + 60) +
    4 n K`` bytes, and ``16 n d / 128`` for sums.
    """

    def __init__(self, gpu: Gpu, summary: Summary, origin: Rows, most_rows: int) -> None:
        d = len(origin)
        self._gpu, self._origin = gpu, origin
        self._capacity = summary.capacity
        self._n_openings = n_openings(summary.capacity)
        self._room = _aligned(max(len(summary), summary.capacity) + self._n_openings)
        self._held = DeviceHoldings(
            gpu.empty((self._room, d), np.float32),
            gpu.empty((self._room, d), np.float64),
            gpu.empty(self._room, np.float64),
            gpu.empty(self._room, np.float64),
        )
        self._service = gpu.put(np.array([summary.service_cost]))
        self._factors = gpu.empty((self._room, d), np.float32)
        self._squares = gpu.empty(self._room, np.float32)
        self._products = gpu.empty(most_rows * self._room, np.float32)
        self.n_centers = 0
        self.tf32 = d >= _TF32_FEATURES
        self._is_checked = not self.tf32
        self._fill(summary)

    @property
    def service(self) -> Array:
        """The service cost, on the device: an array of one."""
        return self._service

    def overfull(self) -> bool:
        """Whether there are more centers than are to be kept."""
        return self.n_centers > self._capacity

    def absorb(
        self, batch: DeviceBatch, coins: Coins, share: float, report: Array
    ) -> tuple[Found, np.void]:
        """Take one batch: open centers for far rows, absorb the others.

        Parameters
        ----------
        batch : DeviceBatch
        coins : Coins
        share : float
            What is left of the weight of all that was absorbed before.
        report : array

        Returns
        -------
        found : Found
            Which center has absorbed each row, and how far that was before it moved.
        told : numpy.void
            The report, read when centers were opened: what it says of sampling and of costs is of
            the batch before.
        """
        found = self._nearest(batch.rows)
        if not self._is_checked:
            found = self._checked(batch.rows, found)
        room = self._n_openings
        first = told = self._open_far(batch, found, coins, room, report)
        while told["flooded"] and (room := room - int(told["n_opened"])):
            told = self._open_far(batch, found, coins, room, report)
        self._move(self._gpu.add(batch, found, self.n_centers), share, report)
        return found, first

    def consolidate(self) -> Labels:
        """Merge centers until there is room again; returns what each has become part of."""
        summary = self.summary()
        mapping = summary.consolidate()
        self._fill(summary)
        self._is_checked = not self.tf32  # now and then
        return mapping

    def summary(self) -> Summary:
        """Return a copy of all that is held, on the host."""
        n = self.n_centers
        centers, sums, weights, scatter = (self._gpu.get(array[:n]) for array in self._held)
        sums += weights[:, None] * self._origin
        summary = Summary.of(self._capacity, centers, weights, scatter)
        means = np.divide(sums, weights[:, None], out=centers + 0.0, where=weights[:, None] > 0)
        summary.centers, summary.sums = means.astype(np.float32), sums
        summary.service_cost = float(self._gpu.get(self._service)[0])
        return summary

    def _fill(self, summary: Summary) -> None:
        """Hold what a summary holds."""
        n = self.n_centers = len(summary)
        sums = summary.sums - summary.weights[:, None] * self._origin
        centers = (summary.centers.astype(np.float64) - self._origin).astype(np.float32)
        self._gpu.copy(centers, self._held.centers[:n])
        self._gpu.copy(sums, self._held.sums[:n])
        self._gpu.copy(summary.weights, self._held.weights[:n])
        self._gpu.copy(summary.scatter, self._held.scatter[:n])
        self._gpu.copy(np.array([summary.service_cost]), self._service)

    def _nearest(self, rows: Array) -> Found:
        gpu = self._gpu
        gpu.lay_out(self._held.centers, self.n_centers, self._factors, self._squares)
        products = self._products[: len(rows) * self._room].reshape(len(rows), self._room)
        gpu.multiply(rows, self._factors, products, tf32=self.tf32)
        return gpu.settle(products, self._squares, rows, self._held.centers, norms=True)

    def _checked(self, rows: Array, found: Found) -> Found:
        """See whether TF32 finds the closest centers of a few rows; else do without it."""
        self._is_checked = True
        few = self._gpu.get(rows[:_CHECKED_ROWS]).astype(np.float64)
        centers = self._gpu.get(self._held.centers[: self.n_centers]).astype(np.float64)
        scores = np.einsum("ij,ij->i", centers, centers) - 2 * few @ centers.T
        closest = few - centers[scores.argmin(axis=1)]
        least = float(np.einsum("ij,ij->", closest, closest))
        there = float(self._gpu.get(found.sq_distances[:_CHECKED_ROWS]).sum(dtype=np.float64))
        if there <= (1 + _MOST_LOST) * least:
            return found
        self.tf32 = False
        return self._nearest(rows)

    def _open_far(
        self, batch: DeviceBatch, found: Found, coins: Coins, room: int, report: Array
    ) -> np.void:
        """Open centers, as far as there is room; returns what the report says then."""
        terms = Terms(self._service, self._capacity, room)
        opened = self._gpu.open_far(batch, found, coins, terms, report)
        told = self._gpu.read(report)
        if told["n_opened"]:
            self._open(batch.rows, opened[: int(told["n_opened"])], found)
        return told

    def _open(self, rows: Array, opened: Array, found: Found) -> None:
        """Make centers of the rows chosen, which may serve other rows of the batch at once."""
        gpu, first, n = self._gpu, self.n_centers, len(opened)
        new = slice(first, first + n)
        gpu.settle_down(rows, opened, self._held.centers, first, found)
        for array in self._held[1:]:
            gpu.clear(array[new])
        fresh, room = self._held.centers[new], _aligned(n)
        factors, squares = self._factors[:room], self._squares[:room]
        gpu.lay_out(fresh, n, factors, squares)
        products = self._products[: len(rows) * room].reshape(len(rows), room)
        gpu.multiply(rows, factors, products, tf32=self.tf32)
        gpu.adopt(products, squares, rows, fresh, first, found)
        self.n_centers += n

    def _move(self, added: Ordered, share: float, report: Array) -> None:
        held = DeviceHoldings(*(array[: self.n_centers] for array in self._held))
        self._gpu.move(added, held, share, self._service, report)


def _aligned(n: int) -> int:
    """Return n or a little more: products of matrices like widths that are even."""
    return -(-n // _ALIGNED) * _ALIGNED
