"""Lloyd's iterations, and starts for them, on rows that are on a GPU.

Every row is searched in every iteration: that takes less time there than to find out which need not
be. Rules are those of `onepass.cluster.lloyd`.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Indices, Labels, Rows, WeightedRows
from onepass.cluster.deadline import NEVER, Deadline
from onepass.cluster.device_rows import Assigned, DeviceRows
from onepass.cluster.kernels.cpu import Nearest
from onepass.cluster.kernels.results import Clustering, Sums
from onepass.cluster.lloyd import PATIENCE
from onepass.cluster.seeding import Seeding, filled_up, in_rounds, random_rows
from onepass.cluster.summary import Absorbed, Summary, n_starting


def lloyd(
    rows: DeviceRows,
    centers: Rows,
    *,
    max_iter: int,
    tol: float,
    goal: float = math.inf,
    deadline: Deadline = NEVER,
) -> Clustering:
    """Move centers to the means of their rows until that gains little.

    Parameters
    ----------
    rows : DeviceRows
        At least as many rows as centers.
    centers, max_iter, tol, goal, deadline
        See `onepass.cluster.lloyd.lloyd`.

    Notes
    -----
    Each iteration costs ``2 * n_clusters * n_rows * n_features`` operations, and reads back the
    sums of all clusters.
    """
    assigned = rows.assign(centers)
    sums, inertia = assigned.sums(rows.origin)
    for _ in range(max_iter):
        moved = _moved(rows, assigned, sums, centers)
        assigned = rows.assign(moved)
        sums, now = assigned.sums(rows.origin)
        gain = inertia - now
        if gain >= 0:
            centers, inertia = moved, now
        if gain <= tol * inertia or inertia - goal > PATIENCE * gain:
            break
        if deadline.is_past:
            break
    return Clustering(centers, inertia)


class SearchedRows(Protocol):
    """Rows that are searched on a device."""

    def nearest_rows(self, which: Indices) -> tuple[Labels, Floats]:
        """Find which of some of the rows each row is closest to, and how far that is, squared."""


def choose_rows(
    rows: SearchedRows,
    weights: Doubles,
    n_clusters: int,
    seeding: Seeding,
    rng: np.random.Generator,
) -> Indices:
    """Choose rows, many at once: see `onepass.cluster.seeding.choose_rows`."""
    if seeding == "random":
        return random_rows(weights, n_clusters, rng)
    return in_rounds(rows.nearest_rows, weights, n_clusters, rng)


def choose_centers(
    rows: DeviceRows,
    weights: Doubles,
    n_clusters: int,
    seeding: Seeding,
    rng: np.random.Generator,
) -> Rows:
    """Choose as many different rows to start from as there are clusters."""
    chosen = choose_rows(rows, weights, n_clusters, seeding, rng)
    return rows.rows(filled_up(chosen, n_clusters, len(weights), rng))


def start_summary(
    rows: SearchedRows,
    summary: Summary,
    data: WeightedRows,
    seeding: Seeding,
    rng: np.random.Generator,
) -> Absorbed:
    """Choose the first centers of a summary, and absorb the rows; see `Summary.start`."""
    chosen = choose_rows(rows, data.weights, n_starting(summary.capacity), seeding, rng)
    nearest = Nearest(*rows.nearest_rows(chosen))
    return summary.start_from(data, data.rows[chosen], nearest)


def _moved(rows: DeviceRows, assigned: Assigned, sums: Sums, centers: Rows) -> Rows:
    """Return the means of the rows of each center; of one without any, a row that costs most."""
    filled = sums.weights > 0
    moved = centers.copy()
    moved[filled] = sums.sums[filled] / sums.weights[filled, None]
    empty = np.flatnonzero(~filled)
    if len(empty):
        farthest = np.argsort(-assigned.losses(), kind="stable")[: len(empty)]
        moved[empty] = rows.rows(farthest)
    return moved
