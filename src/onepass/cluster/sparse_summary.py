"""The summary of a stream of sparse rows: what a batch costs depends on its values alone.

What `onepass.cluster.summary.Summary` does, by the same rules and the same random numbers. A center
is kept as the sum of all it holds, which a sparse row changes in few places, and not as their mean,
which it changes everywhere; its squared norm is kept beside. What is done rarely, and needs the
distances between centers only, is done on their coordinates (`onepass.cluster.embedding`). It is
one class, as each of these rules changes most of what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Indices, Labels, Rows, Weighted, WeightedRows
from onepass.cluster.embedding import coordinates_by
from onepass.cluster.kernels import sparse
from onepass.cluster.kernels.cpu import Nearest
from onepass.cluster.openings import choose_openings
from onepass.cluster.seeding import Seeding, choose_rows
from onepass.cluster.state import State, refuse_unless
from onepass.cluster.summary import (
    LEAST_WEIGHT,
    Absorbed,
    Summary,
    centers_of,
    n_openings,
    n_starting,
    own_centers,
)
from onepass.sparse import SparseRows

_EMPTY = 1e-130
"""What a center weighs that has absorbed nothing yet, so that it is where it is."""

_FEATURES_AT_ONCE = 1024


class SparseSummary:
    """Weighted centers that stand for all rows seen; see `Summary`.

    Parameters
    ----------
    capacity : int
    n_features : int

    Attributes
    ----------
    weights, scatter : ndarray of shape (n_centers,), float64
    sums : ndarray of shape (n_features, room), float64
        Of these rows, weighted, feature by feature; columns behind `n_centers` are room for more.
    squares : ndarray of shape (n_centers,), float64
        Of the sums.
    service_cost : float

    Notes
    -----
    Memory: ``9 * capacity * n_features`` bytes, and as much for each summary that is appended.
    Time: 2 * n_centers operations for each value of a row. To unite centers, 2 * n_centers**2 *
    n_features operations.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self.capacity = capacity
        self.n_features = n_features
        self.service_cost = 0.0
        self.n_opened = 0
        self._max_openings = n_openings(capacity)
        self.weights: Doubles = np.empty(0)
        self.scatter: Doubles = np.empty(0)
        self.squares: Doubles = np.empty(0)
        self.sums: Doubles = np.zeros((n_features, 0))

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def centers(self) -> Rows:
        """The mean of the rows each center has absorbed, made anew."""
        centers = np.empty((len(self), self.n_features), np.float32)
        for part, sums in self._blocks():
            centers[:, part] = (sums / self.weights).T
        return centers

    def as_rows(self) -> WeightedRows:
        """Return the centers as weighted rows."""
        return WeightedRows(self.centers, self.weights)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is known of the centers: views."""
        return {
            "summary_sums": self.sums[:, : len(self)],
            "summary_squares": self.squares,
            "summary_weights": self.weights,
            "summary_scatter": self.scatter,
        }

    def restore(self, state: State) -> None:
        """Have the centers of another summary, of any capacity, instead of one's own.

        Where there are no sums, they are made of the centers, which are rounded.
        """
        if "summary_sums" in state.arrays:
            weights = state.array("summary_weights", np.float64, (None,))
            scatter = state.array("summary_scatter", np.float64, weights.shape)
            squares = state.array("summary_squares", np.float64, weights.shape)
            sums = state.array("summary_sums", np.float64, (self.n_features, len(weights)))
            least = min((a.min(initial=0) for a in (scatter, squares)), default=0)
            refuse_unless((weights > 0).all(), "its summary_weights are not all above 0")
            refuse_unless(least >= 0, "its summary_scatter or its summary_squares are below 0")
        else:
            centers, weights, scatter = centers_of(state, self.n_features)
            sums = (centers * weights[:, None]).T
            squares = np.einsum("ij,ij->j", sums, sums)
        self.weights, self.scatter, self.squares = np.empty((3, 0))
        places = self._more(weights, scatter, squares)
        self.sums[:, places] = sums
        self.service_cost = state.number("service_cost")
        self.n_opened = state.count("n_opened")

    def start(
        self, data: Weighted[SparseRows], seeding: Seeding, rng: np.random.Generator
    ) -> Absorbed:
        """Choose the first centers among the first rows, and absorb those."""
        rows = data.rows
        n = n_starting(self.capacity)
        if len(rows) <= n:
            chosen, nearest = np.arange(len(rows)), own_centers(len(rows))
        else:
            chosen = choose_rows(data, n, seeding, rng)
            nearest = _nearest_rows(rows, rows[chosen])
        self._append_empty(rows[chosen])
        self._move(data, nearest)
        return self._drop_empty(Absorbed(*nearest))

    def absorb(self, data: Weighted[SparseRows], rng: np.random.Generator) -> Absorbed:
        """Take one batch: open centers for far rows, absorb the others."""
        nearest = self._nearest(data.rows)
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
        """Let everything absorbed so far weigh less; costs an operation for each feature."""
        faded = np.maximum(self.weights * factor, LEAST_WEIGHT)
        shares = faded / self.weights
        for _, sums in self._blocks():
            np.multiply(sums, shares, out=sums)
        self.squares = self.squares * shares**2
        self.weights = faded
        self.scatter = self.scatter * factor
        self.service_cost *= factor

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        for _, sums in self._blocks():
            np.ldexp(sums, -exponent, out=sums)
        self.squares = np.ldexp(self.squares, -2 * exponent)
        self.scatter = np.ldexp(self.scatter, -2 * exponent)
        self.service_cost = math.ldexp(self.service_cost, -2 * exponent)

    def overfull(self) -> bool:
        """Whether there are more centers than are to be kept."""
        return len(self) > self.capacity

    def append(self, other: SparseSummary | Summary) -> None:
        """Take over the centers of another summary, which is not changed."""
        if isinstance(other, SparseSummary):
            sums, squares = other.sums[:, : len(other)], other.squares
        else:
            sums, squares = other.sums.T, np.einsum("ij,ij->i", other.sums, other.sums)
        places = self._more(other.weights, other.scatter, squares)
        self.sums[:, places] = sums
        self.service_cost += other.service_cost
        self.n_opened += other.n_opened

    def consolidate(self) -> Labels:
        """Merge the pairs of centers whose union costs least, until there is room again.

        Returns
        -------
        ndarray of shape (n_centers_before,), int32
            The center that each former center is part of now.
        """
        products = np.zeros((len(self), len(self)))
        for _, sums in self._blocks():
            means = sums / self.weights
            products += means.T @ means
        flat = Summary.of(self.capacity, coordinates_by(products), self.weights, self.scatter)
        mapping = flat.consolidate()
        _, kept = np.unique(mapping, return_index=True)
        given = np.setdiff1d(np.arange(len(self)), kept)
        squares = np.zeros(len(kept))
        for part, sums in self._blocks():
            for i in given:
                sums[:, kept[mapping[i]]] += sums[:, i]
            united = sums[:, kept]
            squares += np.einsum("ij,ij->j", united, united)
            self.sums[part, : len(kept)] = united
        self.weights, self.scatter, self.squares = flat.weights, flat.scatter, squares
        return mapping

    def _nearest(self, rows: SparseRows) -> Nearest:
        found = sparse.search(rows, self._turned())
        return Nearest(found.labels, found.sq_distances.astype(np.float32))

    def _turned(self) -> sparse.Turned:
        return sparse.Turned(self.sums, self.weights, self.squares / self.weights**2)

    def _open(self, rows: SparseRows, nearest: Nearest, opened: Indices) -> Nearest:
        """Make centers of the rows chosen, which may serve other rows of the batch at once."""
        first = len(self)
        labels, sq_distances = nearest
        fresh = rows[opened]
        # As in `Summary`: a fresh center is closer only where it is less than twice as far away.
        to_fresh = sparse.products(fresh, self.sums)[:, :first] * (-2 / self.weights)
        reach = (to_fresh + sparse.squares_of(fresh)[:, None]).min(axis=0)
        reach += self.squares / self.weights**2
        far = np.flatnonzero(4.001 * sq_distances >= reach[labels])
        self._append_empty(fresh)
        among_fresh = _nearest_rows(rows[far], fresh)
        closer = among_fresh.sq_distances < sq_distances[far]
        labels[far[closer]] = among_fresh.labels[closer] + np.int32(first)
        sq_distances[far[closer]] = among_fresh.sq_distances[closer]
        labels[opened] = np.arange(first, len(self), dtype=np.int32)
        return Nearest(labels, sq_distances)

    def _move(self, data: Weighted[SparseRows], nearest: Nearest) -> None:
        """Add rows to their centers, which move to the mean of all they hold."""
        labels, sq_distances = nearest
        n = len(self)
        self._own()
        added = sparse.sums_of(data.rows, labels, n, data.weights)
        owners = np.repeat(np.arange(n), np.diff(added.indptr))
        before = self.sums[added.indices, owners]
        self.sums[added.indices, owners] = before + added.data
        # The products of what each center held with what it gets, and the squares of the latter.
        both = np.bincount(owners, before * added.data, n)
        squares = self.squares + 2 * both + np.bincount(owners, added.data**2, n)
        weights = self.weights + np.bincount(labels, data.weights, n)
        got = weights > self.weights
        gap = squares / weights**2 + self.squares / self.weights**2
        gap -= 2 * (self.squares + both) / (weights * self.weights)
        cost = np.bincount(labels, sq_distances * data.weights, n)
        self.scatter = np.maximum(self.scatter + cost - np.where(got, weights * gap, 0), 0)
        self.weights, self.squares = weights, squares
        self.service_cost += float(sq_distances @ data.weights)

    def _append_empty(self, rows: SparseRows) -> None:
        """Append centers that weigh as good as nothing."""
        n = len(rows)
        squares = sparse.squares_of(rows) * _EMPTY**2
        places = self._more(np.full(n, _EMPTY), np.zeros(n), squares)
        self.sums[:, places] = 0
        values = rows.values.astype(np.float64) * _EMPTY
        self.sums[rows.columns, places.start + rows.owners()] = values

    def _more(self, weights: Doubles, scatter: Doubles, squares: Doubles) -> slice:
        """Make places for more centers, whose sums are not set."""
        n = len(self) + len(weights)
        if n > self.sums.shape[1]:
            room = max(n, self.capacity + self._max_openings)
            larger = np.zeros((self.n_features, room))
            larger[:, : len(self)] = self.sums[:, : len(self)]
            self.sums = larger
        places = slice(len(self), n)
        self._own()
        self.weights = np.concatenate([self.weights, weights])
        self.scatter = np.concatenate([self.scatter, scatter])
        self.squares = np.concatenate([self.squares, squares])
        return places

    def _drop_empty(self, absorbed: Absorbed) -> Absorbed:
        """Forget starting centers that no row is closest to: duplicates of others."""
        kept = np.flatnonzero(self.weights > 2 * _EMPTY)
        place = np.zeros(len(self), np.int32)
        place[kept] = np.arange(len(kept))
        if len(kept) < len(self):
            self.sums[:, : len(kept)] = self.sums[:, kept]
        self.weights, self.scatter = self.weights[kept], self.scatter[kept]
        self.squares = self.squares[kept]
        return absorbed._replace(labels=place[absorbed.labels])

    def _blocks(self) -> Iterator[tuple[slice, Doubles]]:
        """Yield the sums feature by feature, a thousand at a time, to be read or changed."""
        self._own()
        for start in range(0, self.n_features, _FEATURES_AT_ONCE):
            part = slice(start, start + _FEATURES_AT_ONCE)
            yield part, self.sums[part, : len(self)]

    def _own(self) -> None:
        if not self.sums.flags.writeable:  # as unpickled from memory that only can be read
            self.sums = self.sums.copy()


def _nearest_rows(rows: SparseRows, others: SparseRows) -> Nearest:
    found = sparse.nearest_rows(rows, others)
    return Nearest(found.labels, found.sq_distances.astype(np.float32))
