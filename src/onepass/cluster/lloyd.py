"""Lloyd's iterations over weighted rows, without the searches that cannot change anything.

A row keeps an upper bound of the distance to its center and a lower bound of the distance to all
others. When centers have moved, the bounds move by as much; only rows for which they have crossed
are searched again, and only rows that change clusters move sums. The result is that of searching
every row in every iteration.

Sources: Lloyd, "Least squares quantization in PCM", 1982; Hamerly, "Making k-means even faster",
2010.
"""

from __future__ import annotations

import math

import numpy as np

from onepass.cluster.anchors import SLACK, Anchors, at_rest, half_distances_to_closest
from onepass.cluster.arrays import (
    Doubles,
    Floats,
    Indices,
    Labels,
    Rows,
    WeightedAny,
    WeightedRows,
)
from onepass.cluster.batches import as_dense
from onepass.cluster.deadline import NEVER, Deadline
from onepass.cluster.kernels import refining
from onepass.cluster.kernels.cpu import accumulate, sq_distances_to, two_nearest_centers
from onepass.cluster.kernels.results import Bounds, Clustering, Crossed, Shifts
from onepass.cluster.workers import spread, worth_threads

_CHUNK_ROWS = 8192
"""Searched at once by one worker: the same for any number of them, and so is the result."""

_FEW_ROWS = 8192
"""Searched in every iteration: to keep bounds would take longer."""

_BOUNDED_ROWS = 65_536
"""Whose bounds are moved at once by one worker."""

PATIENCE = 10
"""Iterations as good as the last that may be needed to reach a goal; later ones gain less."""

_NEARBY, _MOST_PAIRED = 4, 1000
"""Centers within so many distances to the closest are near; where all pairs are looked at."""

_EXACT = 1e-9
"""Squared distances above this share of the squares are right, from products in float64."""

_LIGHT = 1e-6
"""A cluster that weighs less than this share of what it once did is summed anew."""

_FADED = 1e-3
"""Below this share of what was once measured, a quantity known from changes is measured anew."""


def lloyd(
    data: WeightedAny,
    centers: Rows,
    *,
    max_iter: int,
    tol: float,
    n_workers: int = 1,
    goal: float = math.inf,
    anchors: Anchors | None = None,
    deadline: Deadline = NEVER,
) -> Clustering:
    """Move centers to the means of their rows until that gains little.

    Parameters
    ----------
    data : WeightedRows
        At least as many rows as centers.
    centers : ndarray of shape (n_clusters, n_features), float32
        Where to start; not changed.
    max_iter : int
        Iterations at most.
    tol : float
        Stop when an iteration lowers the inertia by no more than this share of it.
    n_workers : int
        Threads; the result does not depend on it.
    goal : float
        An inertia to get below: stop where, as fast as the last iteration went, that would take
        ten more. Not looked at for a few thousand rows.
    anchors : Anchors, optional
        Points near the rows, which spare most of the first search. Not looked at for a few thousand
        rows.
    deadline : Deadline
        Stop when it has passed. Not looked at for a few thousand rows.

    Returns
    -------
    Clustering
        The inertia is that of the centers returned.

    Notes
    -----
    A center that no row is closest to is moved to the row that contributes most to the inertia:
    never fewer clusters than asked for while there are as many different rows.
    The first iteration costs 2 * n_clusters * n_rows * n_features operations; later ones as much
    for the rows whose bounds have crossed, often one in ten. Memory: 12 bytes a row.
    """
    if isinstance(data.rows, np.ndarray) and len(data.rows) <= _FEW_ROWS:
        return refining.lloyd(WeightedRows(data.rows, data.weights), centers, max_iter, tol)
    run = LloydRun(data, centers, n_workers=n_workers, anchors=anchors)
    run.go_on(max_iter, tol, goal, deadline)
    return run.clustering()


class LloydRun:
    """Lloyd's iterations under way: rows with their bounds, and the sums of their clusters.

    Parameters
    ----------
    data, centers, n_workers, anchors
        As `lloyd` takes them.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    """

    def __init__(
        self,
        data: WeightedAny,
        centers: Rows,
        *,
        n_workers: int = 1,
        anchors: Anchors | None = None,
    ) -> None:
        n = len(data.rows)
        self.centers = centers
        self._data = data
        n_operations = 2 * _CHUNK_ROWS * centers.size
        self._n_workers = worth_threads(n_workers, n_operations)
        self._chunk, self._bounded = _CHUNK_ROWS, _BOUNDED_ROWS
        self._origin: Rows | None = None
        if isinstance(data.rows, np.ndarray):
            self._origin = data.rows.mean(axis=0)
        else:  # centers are turned once for all rows, and threads would wait for one another
            self._chunk = self._bounded = max(1, n)
        self._labels: Labels
        self._upper: Floats
        self._lower: Floats
        if anchors:
            of_points = two_nearest_centers(anchors.points, centers)
            self._labels, self._upper, self._lower = anchors.bounds(of_points)
            self._search(self._loosen(at_rest(centers)).rows)
        else:
            self._labels = np.empty(n, np.int32)
            self._upper, self._lower = np.empty((2, n), np.float32)
            self._search(slice(0, n))
        self._sums, self._weights = accumulate(data.rows, self._labels, len(centers), data.weights)
        self._heaviest = self._weights
        self._inertia = self._exact_inertia()

    def go_on(
        self, max_iter: int, tol: float, goal: float = math.inf, deadline: Deadline = NEVER
    ) -> float:
        """Make iterations; returns the inertia, known from what has moved."""
        known = self._inertia
        for _ in range(max_iter):
            before = self._inertia
            self._inertia -= self._move()
            if self._inertia < _FADED * known:  # what is left is what was rounded off
                self._inertia = known = self._exact_inertia()
            gain = before - self._inertia
            if gain <= tol * before or self._inertia - goal > PATIENCE * gain:
                break
            if deadline.is_past:
                break
        return self._inertia

    def clustering(self) -> Clustering:
        """Return the centers and their exact inertia."""
        self._inertia = self._exact_inertia()
        return Clustering(self.centers, self._inertia)

    def _exact_inertia(self) -> float:
        chunks = range(0, len(self._data.rows), self._chunk)
        return math.fsum(spread(self._n_workers, self._inertia_of, chunks))

    def _move(self) -> float:
        """Move centers to the means of their rows, and find the rows' closest ones anew.

        Returns
        -------
        float
            By how much the inertia is lower, taken from what has moved.
        """
        before = self.centers.astype(np.float64)
        filled = self._weights > 0
        if not filled.all():
            return self._fill(np.flatnonzero(~filled))
        means = self._sums / self._weights[:, None]
        self.centers = means.astype(np.float32)
        means -= before
        gain = float(self._weights @ np.einsum("ij,ij->i", means, means))
        return gain + self._follow(before)

    def _fill(self, empty: Indices) -> float:
        """Move empty centers to the rows that contribute most to the inertia."""
        inertia = self._exact_inertia()
        loss = sq_distances_to(self._data.rows, self.centers, self._labels) * self._data.weights
        farthest = np.argsort(-loss, kind="stable")[: len(empty)]
        before = self.centers.astype(np.float64)
        means = self._sums / np.maximum(self._weights, np.finfo(float).tiny)[:, None]
        means[empty] = as_dense(self._data.rows[farthest])
        self.centers = means.astype(np.float32)
        self._follow(before)
        return inertia - self._exact_inertia()

    def _follow(self, before: Doubles) -> float:
        """Let the rows follow centers that have moved; returns the inertia they gain by it."""
        gap = self.centers - before
        moved = np.sqrt(np.einsum("ij,ij->i", gap, gap))
        halfway = half_distances_to_closest(self.centers)
        others, far = _shifts_nearby(self.centers, moved, 2 * halfway)
        return self._reassign(Shifts(moved.astype(np.float32), others, far, halfway, 1 - SLACK))

    def _reassign(self, shifts: Shifts) -> float:
        """Search again where the bounds do not exclude another center; returns what it gains."""
        crossed, own = self._loosen(shifts)
        before = self._labels[crossed]
        self._search(crossed)
        changed = np.flatnonzero(self._labels[crossed] != before)
        moved = crossed[changed]
        if not len(moved):
            return 0.0
        self._transfer(moved, before[changed])
        return float((own[changed] - self._upper[moved] ** 2) @ self._data.weights[moved])

    def _loosen(self, shifts: Shifts) -> Crossed:
        """Move the bounds, and find the rows for which they have crossed."""

        def loosen(start: int) -> Crossed:
            part = slice(start, start + self._bounded)
            bounds = Bounds(self._labels[part], self._upper[part], self._lower[part])
            found = refining.loosen(self._data.rows[part], self.centers, bounds, shifts)
            return Crossed(found.rows + start, found.sq_distances)

        found = spread(self._n_workers, loosen, range(0, len(self._labels), self._bounded))
        return Crossed(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _transfer(self, moved: Indices, former: Labels) -> None:
        """Move rows from the sums of their former clusters to those of their new ones."""
        refining.transfer(self._data, moved, former, self._labels, self._sums)
        self._weights = self._count()
        self._heaviest = np.maximum(self._heaviest, self._weights)
        if (self._weights < _LIGHT * self._heaviest).any():
            sums = accumulate(self._data.rows, self._labels, len(self.centers), self._data.weights)
            self._sums, self._heaviest = sums.sums, self._weights

    def _count(self) -> Doubles:
        counts = np.bincount(self._labels, self._data.weights, len(self.centers))
        return counts.astype(np.float64, copy=False)

    def _search(self, rows: slice | Indices) -> None:
        """Find the closest centers of some rows, and set their bounds."""
        n = len(self._labels[rows])

        def search(start: int) -> None:
            stop = min(start + self._chunk, n)
            part = slice(start, stop) if isinstance(rows, slice) else rows[start:stop]
            found = two_nearest_centers(self._data.rows[part], self.centers, self._origin)
            self._labels[part], self._upper[part], self._lower[part] = found

        spread(self._n_workers, search, range(0, n, self._chunk))

    def _inertia_of(self, start: int) -> float:
        part = slice(start, start + self._chunk)
        sq_distances = sq_distances_to(self._data.rows[part], self.centers, self._labels[part])
        return float(sq_distances @ self._data.weights[part])


def _shifts_nearby(centers: Rows, moved: Doubles, to_closest: Floats) -> tuple[Floats, Floats]:
    """Return how far others near each center have moved at most, and how far the far ones are.

    One center that goes a long way, as among outliers, would else widen the bounds of all rows.
    Source: Rysavy and Hamerly, "Geometric methods to accelerate k-means algorithms", 2016.
    """
    n = len(centers)
    if n > _MOST_PAIRED:
        farthest = int(moved.argmax())
        others = np.full(n, moved[farthest], np.float32)
        others[farthest] = np.delete(moved, farthest).max(initial=0)
        return others, np.full(n, np.inf, np.float32)
    exact = centers - centers.mean(axis=0, dtype=np.float64)
    norms = np.einsum("ij,ij->i", exact, exact)
    both = norms + norms[:, None]
    apart = both - 2 * (exact @ exact.T)
    far = apart > (_NEARBY * to_closest[:, None].astype(np.float64)) ** 2
    far &= apart > _EXACT * both  # else the products may have lost it
    nearby = np.where(far, 0, moved)
    np.fill_diagonal(nearby, 0)
    np.copyto(apart, np.inf, where=~far)
    return nearby.max(axis=1).astype(np.float32), np.sqrt(apart.min(axis=1)).astype(np.float32)
