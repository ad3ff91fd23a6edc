"""A `Summary` whose centers are on a GPU while a stream is taken.

The rule is that of `onepass.cluster.summary`; batches are larger, and everything is relative to an
origin near the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onepass.cluster.arrays import Indices, Labels, Rows
from onepass.cluster.device_batch import check_report
from onepass.cluster.device_plan import most_centers
from onepass.cluster.device_search import DeviceSearch, gpu_indices
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import (
    Array,
    Coins,
    DeviceBatch,
    DeviceHoldings,
    Found,
    Ordered,
    Terms,
)
from onepass.cluster.summary import Summary, n_consolidated, n_openings
from onepass.cluster.ward import (
    Groups,
    Partners,
    consolidate,
    is_doubtful,
    partners_in_double,
    prices,
    shares_of,
)


class DeviceSummary:
    """Centers on a device, and what they hold.

    Parameters
    ----------
    gpu : Gpu
    summary : Summary
        Of at least one center; taken over, not changed.
    origin : ndarray of shape (n_features,), float32
        What rows and centers are relative to.
    n_products : int
        See `DeviceSearch`.
    fits : callable
        See `check_report`.

    Attributes
    ----------
    n_centers : int
    weights : ndarray of shape (n_centers,), float64
        What they weighed when they were united last.

    Notes
    -----
    Memory of the device, with K centers, d features and n rows of a batch: ``K (28 d + 80) + 20 n``
    bytes, ``16 n d / 128`` for sums, and products.
    """

    def __init__(
        self,
        gpu: Gpu,
        summary: Summary,
        origin: Rows,
        n_products: int,
        fits: Callable[[float], bool],
    ) -> None:
        d = len(origin)
        self._gpu, self._origin, self._fits = gpu, origin, fits
        self._capacity = summary.capacity
        self._n_openings = n_openings(summary.capacity)
        self.n_opened = summary.n_opened
        room = most_centers(summary.capacity, len(summary))
        self._held = new_holdings(gpu, room, d)
        self.weights = summary.weights
        self._service = gpu.put(np.array([summary.service_cost]))
        self._search = DeviceSearch(gpu, room, d, n_products)
        self.n_centers = 0
        self._is_checked = not self._search.tf32
        self._fill(summary)

    @property
    def tf32(self) -> bool:
        """Whether products are made in TF32: as long as that finds the closest centers."""
        return self._search.tf32

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
            In which irregular rows have been told.

        Returns
        -------
        found : Found
            Which center has absorbed each row, and how far that was before it moved.
        told : numpy.void
            The report, read when centers were opened: what it says of sampling and of costs is of
            the batch before.

        Raises
        ------
        IrregularRowError
            When not all rows are rows.
        """
        room, terms = self._n_openings, Terms(self._service, self._capacity, self._n_openings)
        found = self._nearest(batch.rows)
        opened = self._gpu.open_far(batch, found, coins, terms, report)
        first = told = self._gpu.read(report)
        self.check(told, len(batch.rows))
        if not self._is_checked:
            self._is_checked = True
            if not self._search.agrees(batch.rows, self.n_centers, found):
                self._search.tf32 = False
                return self.absorb(batch, coins, share, report)[0], first
        while n_opened := int(told["n_opened"]):
            self._open(batch.rows, opened[:n_opened], found)
            room -= n_opened
            self.n_opened += n_opened
            if not (told["flooded"] and room):
                break
            terms = terms._replace(room=room)
            opened = self._gpu.open_far(batch, found, coins, terms, report)
            told = self._gpu.read(report)
        self._move(self._gpu.add(batch, found, self.n_centers), share, report)
        return found, first

    def check(self, told: np.void, n_rows: int) -> None:
        """Refuse a batch not all of whose rows are rows; see `check_report`."""
        check_report(told, n_rows, self._fits)

    def consolidate(self) -> Labels:
        """Merge centers until there is room again; returns what each has become part of.

        Notes
        -----
        Who is united with whom is told on the host, by a few numbers of each center.
        """
        self.weights = self._gpu.get(self._held.weights[: self.n_centers])
        self._search.among(self._held.centers, self.n_centers)
        mapping = consolidate(self, n_consolidated(self._capacity))
        self._is_checked = not self._search.tf32  # now and then
        return mapping.astype(np.int32)

    def partners_of(self, some: Indices) -> Partners:
        """Find for some centers the one that it costs least to unite each with."""
        n, shares = self.n_centers, shares_of(self.weights)
        partner, apart = self._search.partners(some, shares.astype(np.float32))
        squares = self._search.squares(n).astype(np.float64)
        doubt = np.flatnonzero(is_doubtful(apart, squares[some] + squares[partner]))
        if len(doubt):
            exact = self._gpu.get(self._held.centers[:n]).astype(np.float64)
            partner[doubt], apart[doubt] = partners_in_double(exact, shares, some[doubt])
        return Partners(partner, prices(self.weights, some, partner, apart))

    def unite(self, groups: Groups) -> None:
        """Unite the centers of each group, in the place of the one that is kept."""
        gpu, n = self._gpu, len(groups.kept)
        sizes = np.bincount(groups.group, minlength=n)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        members = np.argsort(groups.group, kind="stable")
        united = new_holdings(gpu, len(self._held.weights), len(self._origin))
        gpu.unite(self._held, gpu_indices(gpu, starts), gpu_indices(gpu, members), united)
        self._held, self.n_centers = united, n
        self.weights = np.bincount(groups.group, self.weights, n).astype(np.float64, copy=False)
        self._search.among(united.centers, n)

    def summary(self) -> Summary:
        """Return a copy of all that is held, on the host."""
        n = self.n_centers
        centers, sums, weights, scatter = (self._gpu.get(array[:n]) for array in self._held)
        sums += weights[:, None] * self._origin
        summary = Summary.of(self._capacity, centers, weights, scatter)
        means = np.divide(sums, weights[:, None], out=centers + 0.0, where=weights[:, None] > 0)
        summary.centers, summary.sums = means.astype(np.float32), sums
        summary.service_cost = float(self._gpu.get(self._service)[0])
        summary.n_opened = self.n_opened
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
        found = self._gpu.new_found(len(rows), norms=True)
        self._search.among(self._held.centers, self.n_centers)
        self._search.nearest(rows, found)
        return found

    def _open(self, rows: Array, opened: Array, found: Found) -> None:
        """Make centers of the rows chosen, which may serve other rows of the batch at once."""
        first, n = self.n_centers, len(opened)
        new = slice(first, first + n)
        self._gpu.settle_down(rows, opened, self._held.centers, first, found)
        for array in self._held[1:]:
            self._gpu.clear(array[new])
        self._search.among(self._held.centers[new], n)
        self._search.adopt(rows, first, found)
        self.n_centers += n

    def _move(self, added: Ordered, share: float, report: Array) -> None:
        held = DeviceHoldings(*(array[: self.n_centers] for array in self._held))
        self._gpu.move(added, held, share, self._service, report)


def new_holdings(gpu: Gpu, n: int, n_features: int) -> DeviceHoldings:
    """Return room for n centers and what they hold."""
    return DeviceHoldings(
        gpu.empty((n, n_features), np.float32),
        gpu.empty((n, n_features), np.float64),
        gpu.empty(n, np.float64),
        gpu.empty(n, np.float64),
    )
