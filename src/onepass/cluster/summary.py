"""A stream of any length as a few hundred weighted centers.

Each batch is searched against the centers held. A row far from all of them opens a center of its
own, with a probability in proportion to its squared distance: the facility-location rule, with the
mean service cost so far as the price of opening. All other rows are absorbed by the closest center,
which moves to the mean of all it has absorbed. When there are more centers than room, the pairs
whose union costs least are merged. No weight is ever lost and no order of the rows is assumed.
What makes this module long is that all that may happen to weighted centers stands in one class.

Sources: Meyerson, "Online facility location", 2001; Guha et al., "Clustering data streams: theory
and practice", 2003; Liberty, Sriharsha and Sviridenko, "An algorithm for online k-means
clustering", 2016.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.kernels import cpu
from onepass.cluster.kernels.cpu import Nearest, nearest_centers
from onepass.cluster.kernels.results import Holdings
from onepass.cluster.openings import choose_openings
from onepass.cluster.pivots import Pivots
from onepass.cluster.seeding import Seeding, choose_rows
from onepass.cluster.state import State, refuse_unless
from onepass.cluster.ward import Groups, Partners, cheapest_partners, consolidate

_STARTING_SHARE = 0.7
_CONSOLIDATED_SHARE = 0.85
_OPENINGS_SHARE = 1 / 8
LEAST_WEIGHT = 1e-150
"""Of a center, however much has faded."""


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


class Searcher(Protocol):
    """Searches among the centers of a summary, and for it."""

    def choose(self, centers: Rows, weights: Doubles) -> None:
        """Be told of centers that may be others than before."""

    def nearest(self, rows: Rows, centers: Rows) -> Nearest:
        """Find the closest center of each row: of those of `choose`, moved, and with more."""

    def among(self, rows: Rows, others: Rows) -> Nearest:
        """Find the closest of others for each row."""

    def partners(self, centers: Rows, shares: Floats, some: Indices) -> Indices:
        """Find for some centers which one it costs least to unite each with, in float32."""


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
    sums : ndarray of shape (n_centers, n_features), float64
        Of these rows, weighted.
    weights : ndarray of shape (n_centers,), float64
    scatter : ndarray of shape (n_centers,), float64
        Sum of weighted squared distances of the rows each has absorbed to their mean.
    service_cost : float
        Sum of weighted squared distances between rows and the centers that absorbed them.
    n_opened : int
        Rows that have become centers of their own: far ones, and those that were the first.

    Notes
    -----
    Memory: about ``1.25 * capacity * (12 * n_features + 16)`` bytes, and while centers are merged
    what `onepass.cluster.ward` takes.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self.capacity = capacity
        self.service_cost = 0.0
        self.n_opened = 0
        self._max_openings = n_openings(capacity)
        self.centers: Rows = np.empty((0, n_features), np.float32)
        self.weights: Doubles = np.empty(0)
        self.scatter: Doubles = np.empty(0)
        self.sums: Doubles = np.empty((0, n_features))
        self._search: Searcher = Pivots(capacity, n_features)

    @classmethod
    def of(cls, capacity: int, centers: Rows, weights: Doubles, scatter: Doubles) -> Summary:
        """Return a summary that has these centers."""
        summary = cls(capacity, centers.shape[1])
        summary._append(centers, weights, centers * weights[:, None], scatter)
        return summary

    def __len__(self) -> int:
        return len(self.weights)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is known of the centers: views."""
        return {
            "summary_centers": self.centers,
            "summary_sums": self.sums,
            "summary_weights": self.weights,
            "summary_scatter": self.scatter,
        }

    def restore(self, state: State) -> None:
        """Have the centers of another summary, of any capacity, instead of one's own.

        Where there are no sums, they are made of the centers, which are rounded.
        """
        centers, weights, scatter = centers_of(state, self.centers.shape[1])
        sums = centers * weights[:, None]
        if "summary_sums" in state.arrays:
            sums = state.array("summary_sums", np.float64, centers.shape)
        self._keep(np.empty(0, np.intp))
        self._append(centers, weights, sums, scatter)
        self.service_cost = state.number("service_cost")
        self.n_opened = state.count("n_opened")
        self._search.choose(self.centers, self.weights)

    def search_by(self, searcher: Searcher | None) -> None:
        """Have searches made by something; by the processor, without."""
        self._search = searcher or Pivots(self.capacity, self.centers.shape[1])
        self._search.choose(self.centers, self.weights)

    def as_rows(self) -> WeightedRows:
        """Return the centers as weighted rows."""
        return WeightedRows(self.centers, self.weights)

    def start(self, data: WeightedRows, seeding: Seeding, rng: np.random.Generator) -> Absorbed:
        """Choose the first centers among the first rows, and absorb those.

        Some room is left for openings. Rows that all fit become centers, each its own.
        """
        rows = data.rows
        n = n_starting(self.capacity)
        if len(rows) <= n:
            return self.start_from(data, rows, own_centers(len(rows)))
        centers = rows[choose_rows(data, n, seeding, rng)]
        return self.start_from(data, centers, nearest_centers(rows, centers))

    def start_from(self, data: WeightedRows, centers: Rows, nearest: Nearest) -> Absorbed:
        """Absorb the first rows in centers that have been chosen, and found for each of them."""
        self._append_empty(centers)
        self._move(data, nearest)
        absorbed = self._drop_empty(Absorbed(*nearest))
        self._search.choose(self.centers, self.weights)
        return absorbed

    def absorb(self, data: WeightedRows, rng: np.random.Generator) -> Absorbed:
        """Take one batch: open centers for far rows, absorb the others.

        Parameters
        ----------
        data : WeightedRows
            Weights are positive.
        rng : numpy.random.Generator
            One number is drawn for each row.
        """
        nearest = self._search.nearest(data.rows, self.centers)
        coins = 1.0 - rng.random(len(data.rows))
        price = self.service_cost / self.capacity
        room = self._max_openings
        while room:
            openings = choose_openings(data, nearest.sq_distances, coins, price, room)
            if len(openings.rows):
                nearest = self._open(data.rows, nearest, openings.rows)
                self.n_opened += len(openings.rows)
            room = room - len(openings.rows) if openings.flooded else 0
        self._move(data, nearest)
        return Absorbed(*nearest)

    def decay(self, factor: float) -> None:
        """Let everything absorbed so far weigh less."""
        faded = np.maximum(self.weights * factor, LEAST_WEIGHT)
        self.sums *= (faded / self.weights)[:, None]
        self.weights = faded
        self.scatter *= factor
        self.service_cost *= factor

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        self.centers = np.ldexp(self.centers, -exponent)
        self.sums = np.ldexp(self.sums, -exponent)
        self.scatter = np.ldexp(self.scatter, -2 * exponent)
        self.service_cost = math.ldexp(self.service_cost, -2 * exponent)

    def overfull(self) -> bool:
        """Whether there are more centers than are to be kept."""
        return len(self) > self.capacity

    def append(self, other: Summary) -> None:
        """Take over the centers of another summary, which is not changed."""
        self._append(other.centers, other.weights, other.sums, other.scatter)
        self.service_cost += other.service_cost
        self.n_opened += other.n_opened

    def consolidate(self) -> Labels:
        """Merge the pairs of centers whose union costs least, until there is room again.

        Returns
        -------
        ndarray of shape (n_centers_before,), int32
            The center that each former center is part of now.
        """
        mapping = consolidate(self, n_consolidated(self.capacity))
        self._search.choose(self.centers, self.weights)
        return mapping.astype(np.int32)

    def partners_of(self, some: Indices) -> Partners:
        """Find for some centers the one that it costs least to unite each with."""
        return cheapest_partners(self.centers, self.weights, some, self._search.partners)

    def unite(self, groups: Groups) -> None:
        """Unite the centers of each group, in the place of the one that is kept."""
        kept, group, changed = groups
        given = np.ones(len(self), bool)
        given[kept] = False
        sums, weights = self.sums[kept], self.weights[kept]
        np.add.at(sums, group[given], self.sums[given])
        np.add.at(weights, group[given], self.weights[given])
        united = np.flatnonzero(changed[group])
        into = group[united]
        gap = self.sums[united] / self.weights[united, None] - sums[into] / weights[into, None]
        self.scatter[united] += self.weights[united] * np.einsum("ij,ij->i", gap, gap)
        self.scatter = np.bincount(group, self.scatter, len(kept)).astype(np.float64, copy=False)
        self.sums, self.weights = sums, weights
        self.centers = self.centers[kept]
        self.centers[changed] = sums[changed] / weights[changed, None]

    def _open(self, rows: Rows, nearest: Nearest, opened: Indices) -> Nearest:
        """Make centers of the rows chosen, which may serve other rows of the batch at once."""
        first = len(self)
        labels, sq_distances = nearest
        # By the triangle inequality, a row is closer to a fresh center than to its own only if
        # those two centers are less than twice as far apart as the row is from its own.
        reach = self._search.among(self.centers, rows[opened]).sq_distances
        far = np.flatnonzero(4.001 * sq_distances >= reach[labels])
        self._append_empty(rows[opened])
        among_fresh = self._search.among(rows.take(far, axis=0), self.centers[first:])
        closer = among_fresh.sq_distances < sq_distances[far]
        labels[far[closer]] = among_fresh.labels[closer] + np.int32(first)
        sq_distances[far[closer]] = among_fresh.sq_distances[closer]
        labels[opened] = np.arange(first, len(self), dtype=np.int32)
        return Nearest(labels, sq_distances)

    def _move(self, data: WeightedRows, nearest: Nearest) -> None:
        """Add rows to their centers, which move to the mean of all they hold."""
        if not self.centers.flags.writeable:  # as unpickled from memory that only can be read
            self.centers, self.sums = self.centers.copy(), self.sums.copy()
            self.weights, self.scatter = self.weights.copy(), self.scatter.copy()
        holdings = Holdings(self.centers, self.sums, self.weights, self.scatter)
        cpu.move(data, nearest.labels, nearest.sq_distances, holdings)
        self.service_cost += float(nearest.sq_distances @ data.weights)

    def _append_empty(self, centers: Rows) -> None:
        nothing = np.zeros(len(centers))
        self._append(centers, nothing, np.zeros(centers.shape), nothing)

    def _append(self, centers: Rows, weights: Doubles, sums: Doubles, scatter: Doubles) -> None:
        self.centers = np.concatenate([self.centers, centers])
        self.weights = np.concatenate([self.weights, weights])
        self.sums = np.concatenate([self.sums, sums])
        self.scatter = np.concatenate([self.scatter, scatter])

    def _keep(self, kept: Indices) -> None:
        self.centers = self.centers[kept]
        self.weights = self.weights[kept]
        self.sums = self.sums[kept]
        self.scatter = self.scatter[kept]

    def _drop_empty(self, absorbed: Absorbed) -> Absorbed:
        """Forget starting centers that no row is closest to: duplicates of others."""
        kept = np.flatnonzero(self.weights > 0)
        place = np.zeros(len(self), np.int32)
        place[kept] = np.arange(len(kept))
        self._keep(kept)
        return absorbed._replace(labels=place[absorbed.labels])


def centers_of(state: State, n_features: int) -> tuple[Rows, Doubles, Doubles]:
    """Return the centers, the weights and the scatter of a summary that has been kept."""
    weights = state.array("summary_weights", np.float64, (None,))
    refuse_unless((weights > 0).all(), "its summary_weights are not all above 0")
    scatter = state.array("summary_scatter", np.float64, weights.shape)
    refuse_unless((scatter >= 0).all(), "its summary_scatter is below 0")
    centers = state.array("summary_centers", np.float32, (len(weights), n_features))
    return centers, weights, scatter


def n_starting(capacity: int) -> int:
    """Return how many centers a summary starts with: some room is left for openings."""
    return max(1, int(capacity * _STARTING_SHARE))


def n_consolidated(capacity: int) -> int:
    """Return how many centers are left when some have been united."""
    return max(1, int(capacity * _CONSOLIDATED_SHARE))


def n_openings(capacity: int) -> int:
    """Return how many centers one batch may open."""
    return max(16, int(capacity * _OPENINGS_SHARE))


def own_centers(n: int) -> Nearest:
    """Return what is found where each of `n` rows is a center of its own."""
    return Nearest(np.arange(n, dtype=np.int32), np.zeros(n, np.float32))
