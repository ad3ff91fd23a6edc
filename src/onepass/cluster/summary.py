"""A stream of any length as a few hundred weighted centers.

Each batch is searched against the centers held. A row far from all of them opens a center of its
own, with a probability in proportion to its squared distance: the facility-location rule, with the
mean service cost so far as the price of opening. All other rows are absorbed by the closest center,
which moves to the mean of all it has absorbed. When there are more centers than room, the pairs
whose union costs least are merged. No weight is ever lost and no order of the rows is assumed.

Sources: Meyerson, "Online facility location", 2001; Guha et al., "Clustering data streams: theory
and practice", 2003; Liberty, Sriharsha and Sviridenko, "An algorithm for online k-means
clustering", 2016; Ward, "Hierarchical grouping to optimize an objective function", 1963.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows, WeightedRows
from onepass.cluster.kernels.cpu import Nearest, accumulate, nearest_centers
from onepass.cluster.seeding import Seeding, choose_centers

_STARTING_SHARE = 0.7
_CONSOLIDATED_SHARE = 0.85
_OPENINGS_SHARE = 1 / 8
_NOISE = 1e-9
"""Squared distances below this share of a row's own squared norm are rounding, not distance."""


class Absorbed(NamedTuple):
    """What became of the rows of one batch.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        The center each row was absorbed by.
    sq_distances : ndarray of shape (n_samples,), float32
        From the row to that center, as it was before it moved.
    """

    labels: Labels
    sq_distances: Floats


class Summary:
    """Weighted centers that stand for all rows seen.

    Parameters
    ----------
    capacity : int
        How many centers are kept.
    n_features : int

    Attributes
    ----------
    centers : ndarray of shape (n_centers, n_features), float32
        The mean of the rows each has absorbed.
    weights : ndarray of shape (n_centers,), float64
    service_cost : float
        Sum of weighted squared distances between rows and the centers that absorbed them.

    Notes
    -----
    Memory: about ``1.25 * capacity * (12 * n_features + 8)`` bytes, and 4 bytes for each pair of a
    block of 1,024 centers with all others while centers are merged.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self.capacity = capacity
        self.service_cost = 0.0
        self._max_openings = max(16, int(capacity * _OPENINGS_SHARE))
        self.centers: Rows = np.empty((0, n_features), np.float32)
        self.weights: Doubles = np.empty(0)
        self._sums: Doubles = np.empty((0, n_features))

    def __len__(self) -> int:
        return len(self.weights)

    def as_rows(self) -> WeightedRows:
        """Return the centers as weighted rows."""
        return WeightedRows(self.centers, self.weights)

    def start(self, data: WeightedRows, seeding: Seeding, rng: np.random.Generator) -> Absorbed:
        """Choose the first centers among the first rows, and absorb those.

        Some room is left for openings. Rows that all fit become centers, each its own.
        """
        rows = data.rows
        n_starting = max(1, int(self.capacity * _STARTING_SHARE))
        if len(rows) <= n_starting:
            centers, nearest = rows, _own_centers(len(rows))
        else:
            centers = choose_centers(data, n_starting, seeding, rng, n_candidates=1)
            nearest = nearest_centers(rows, centers)
        self._append(centers, np.zeros(len(centers)), np.zeros(centers.shape))
        self._move(data, nearest)
        return self._drop_empty(Absorbed(*nearest))

    def absorb(self, data: WeightedRows, rng: np.random.Generator) -> Absorbed:
        """Take one batch: open centers for far rows, absorb the others.

        Parameters
        ----------
        data : WeightedRows
            Weights are positive.
        rng : numpy.random.Generator
            One number is drawn for each row.
        """
        nearest = nearest_centers(data.rows, self.centers)
        opened = self._choose_openings(data, nearest, rng)
        if len(opened):
            nearest = self._open(data.rows, nearest, opened)
        self._move(data, nearest)
        return Absorbed(*nearest)

    def decay(self, factor: float) -> None:
        """Let everything absorbed so far weigh less."""
        self.weights *= factor
        self._sums *= factor
        self.service_cost *= factor

    def overfull(self) -> bool:
        """Whether there are more centers than are to be kept."""
        return len(self) > self.capacity

    def append(self, other: Summary, shift: Rows) -> None:
        """Take over the centers of another summary.

        Parameters
        ----------
        other : Summary
            Not changed.
        shift : ndarray of shape (n_features,), float32
            Added to its centers.
        """
        self._append(
            other.centers + shift, other.weights, other._sums + other.weights[:, None] * shift
        )
        self.service_cost += other.service_cost

    def consolidate(self) -> Labels:
        """Merge the pairs of centers whose union costs least, until there is room again.

        Returns
        -------
        ndarray of shape (n_centers_before,), int32
            The center that each former center is part of now.

        Notes
        -----
        Uniting centers of weights a and b at squared distance s adds ``a b / (a + b) s`` to the
        cost (Ward). Only the cheapest third of the centers is merged before distances are taken
        anew: going on would unite far centers whose neighbours are taken already.
        """
        mapping = np.arange(len(self), dtype=np.int32)
        target = max(1, int(self.capacity * _CONSOLIDATED_SHARE))
        while len(self) > target:
            merged_into = self._cheapest_unions(len(self) - target)
            kept = np.flatnonzero(merged_into == np.arange(len(self)))
            place = np.empty(len(self), np.int32)
            place[kept] = np.arange(len(kept))
            step = place[merged_into]
            grown = np.unique(merged_into[merged_into != np.arange(len(self))])
            gone = np.flatnonzero(merged_into != np.arange(len(self)))
            np.add.at(self._sums, merged_into[gone], self._sums[gone])
            np.add.at(self.weights, merged_into[gone], self.weights[gone])
            self.centers[grown] = self._sums[grown] / self.weights[grown, None]
            self._keep(kept)
            mapping = step[mapping]
        return mapping

    def _choose_openings(
        self, data: WeightedRows, nearest: Nearest, rng: np.random.Generator
    ) -> npt.NDArray[np.intp]:
        """Flip the coin of every row, as if the rows came one by one.

        A row opened nearby makes the rows behind it less likely to open; distances only shrink,
        so only rows whose coin shows "open" against the centers held need to be looked at again.
        """
        rows, weights = data
        cost = nearest.sq_distances * weights
        coins = 1.0 - rng.random(len(rows))
        price = self.service_cost / self.capacity
        candidates = np.flatnonzero(cost > coins * price)
        norms = np.einsum("ij,ij->i", rows[candidates], rows[candidates])
        candidates = candidates[nearest.sq_distances[candidates] > _NOISE * norms]
        if len(candidates) > self._max_openings:
            # A jump of scale or a new region: raise the price until few enough can open.
            worth = cost[candidates] / coins[candidates]
            price = float(np.partition(worth, -self._max_openings)[-self._max_openings])
            candidates = candidates[worth >= price][: self._max_openings]
        if not len(candidates):
            return np.empty(0, np.intp)
        far = rows[candidates]
        left = nearest.sq_distances[candidates].astype(np.float64)
        opened: list[int] = []
        for i, candidate in enumerate(candidates):
            if left[i] * weights[candidate] > coins[candidate] * price:
                opened.append(int(candidate))
                gap = far - far[i]
                np.minimum(left, np.einsum("ij,ij->i", gap, gap), out=left)
        return np.array(opened, np.intp)

    def _open(self, rows: Rows, nearest: Nearest, opened: npt.NDArray[np.intp]) -> Nearest:
        """Make centers of the rows chosen, which may serve other rows of the batch at once."""
        first = len(self)
        fresh = rows[opened]
        self._append(fresh, np.zeros(len(fresh)), np.zeros(fresh.shape))
        among_fresh = nearest_centers(rows, fresh)
        closer = among_fresh.sq_distances < nearest.sq_distances
        return Nearest(
            np.where(closer, among_fresh.labels + np.int32(first), nearest.labels),
            np.where(closer, among_fresh.sq_distances, nearest.sq_distances),
        )

    def _move(self, data: WeightedRows, nearest: Nearest) -> None:
        """Add rows to their centers, which move to the mean of all they hold."""
        sums, weights = accumulate(data.rows, nearest.labels, len(self), data.weights)
        touched = np.flatnonzero(weights)
        self._sums[touched] += sums[touched]
        self.weights[touched] += weights[touched]
        self.centers[touched] = self._sums[touched] / self.weights[touched, None]
        self.service_cost += float(nearest.sq_distances @ data.weights)

    def _cheapest_unions(self, n_surplus: int) -> npt.NDArray[np.intp]:
        """Return for each center the one it is merged into, or itself."""
        partner, price = self._closest_by_ward()
        merged_into = np.arange(len(self))
        taken = np.zeros(len(self), bool)
        left = n_surplus
        for i in np.argsort(price, kind="stable")[: max(2, len(self) // 3)]:
            j = partner[i]
            if taken[i] or taken[j]:
                continue
            taken[i] = taken[j] = True
            light, heavy = (i, j) if self.weights[i] < self.weights[j] else (j, i)
            merged_into[light] = heavy
            left -= 1
            if not left:
                break
        return merged_into

    def _closest_by_ward(self) -> tuple[npt.NDArray[np.intp], Doubles]:
        n = len(self)
        partner = np.empty(n, np.intp)
        price = np.empty(n)
        norms = np.einsum("ij,ij->i", self.centers, self.centers)
        for start in range(0, n, 1024):
            part = slice(start, start + 1024)
            table = self.centers[part] @ self.centers.T
            table *= -2
            table += norms
            table += norms[part, None]
            np.maximum(table, 0, out=table)
            heavy = self.weights[part, None]
            table *= (heavy * (self.weights / (heavy + self.weights))).astype(np.float32)
            here = np.arange(len(table))
            table[here, start + here] = np.inf
            partner[part] = table.argmin(axis=1)
            price[part] = table[here, partner[part]]
        return partner, price

    def _append(self, centers: Rows, weights: Doubles, sums: Doubles) -> None:
        self.centers = np.concatenate([self.centers, centers])
        self.weights = np.concatenate([self.weights, weights])
        self._sums = np.concatenate([self._sums, sums])

    def _keep(self, kept: npt.NDArray[np.intp]) -> None:
        self.centers = self.centers[kept]
        self.weights = self.weights[kept]
        self._sums = self._sums[kept]

    def _drop_empty(self, absorbed: Absorbed) -> Absorbed:
        """Forget starting centers that no row is closest to: duplicates of others."""
        kept = np.flatnonzero(self.weights > 0)
        place = np.zeros(len(self), np.int32)
        place[kept] = np.arange(len(kept))
        self._keep(kept)
        return absorbed._replace(labels=place[absorbed.labels])


def _own_centers(n: int) -> Nearest:
    return Nearest(np.arange(n, dtype=np.int32), np.zeros(n, np.float32))
