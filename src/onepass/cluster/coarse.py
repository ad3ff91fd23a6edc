"""Trials on a few rows for several numbers of clusters, each of which helps its neighbours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from onepass.cluster.arrays import Rows, WeightedAny, WeightedRows
from onepass.cluster.batches import as_dense
from onepass.cluster.embedding import coordinates_of, is_worth_embedding, restored
from onepass.cluster.kernels.cpu import nearest_centers, two_nearest_centers
from onepass.cluster.trials import TrialRows, Trials, TrialSettings, fittest, settled


class Coarse(NamedTuple):
    """The few rows that trials are made on, and as points of no more features than that."""

    data: WeightedAny
    points: TrialRows

    @classmethod
    def of(cls, data: WeightedAny) -> Self:
        """Return some rows with their points."""
        rows = data.rows
        if isinstance(rows, np.ndarray) and not is_worth_embedding(rows):
            return cls(data, TrialRows(rows, data.weights))
        return cls(data, TrialRows(coordinates_of(rows), data.weights))

    def in_full(self, centers: Rows) -> Rows:
        """Return centers of points as those of rows."""
        points = self.points.rows
        return centers if points is self.data.rows else restored(self.data, points, centers)


class Found(NamedTuple):
    """What trials have reached for one number of clusters."""

    settings: TrialSettings
    coarse: Coarse
    trials: Trials
    rng: np.random.Generator
    seconds: float


def from_neighbours(found: Sequence[Found]) -> list[Found]:
    """Make two more trials for each number that few are made for.

    One goes on from the best of fewer clusters, one from the best of more: where one number has
    been lucky, its neighbours are. What is best for k + 1 clusters is often best for k, but for two
    that are one.
    """
    better = list(found)
    up, down = range(1, len(found)), range(len(found) - 2, -1, -1)
    for places, step, start_from in ((up, -1, extended), (down, 1, reduced)):
        for i in places:
            one, other = better[i], better[i + step]
            if not one.settings.is_quick or one.coarse is not other.coarse:
                continue
            began = time.perf_counter()
            data, best, inertias = one.coarse.points, *one.trials
            start = start_from(other.trials.best[0].centers, data, one.settings.n_clusters)
            more = settled(data, one.settings, start, one.rng)
            trials = Trials(fittest([*best, more]), [*inertias, more.inertia])
            seconds = one.seconds + time.perf_counter() - began
            better[i] = one._replace(trials=trials, seconds=seconds)
    return better


def extended(centers: Rows, data: WeightedAny, n_clusters: int) -> Rows:
    """Return more centers: those there are, and one after the other the row that costs most.

    Parameters
    ----------
    centers : ndarray of shape (n, n_features), float32
    data : WeightedAny
        At least as many rows as clusters.
    n_clusters : int
        How many there are to be; n at least.
    """
    while len(centers) < n_clusters:
        sq_distances = nearest_centers(data.rows, centers).sq_distances
        farthest = int(np.argmax(sq_distances * data.weights))
        centers = np.concatenate([centers, as_dense(data.rows[farthest : farthest + 1])])
    return centers


def reduced(centers: Rows, data: WeightedRows, n_clusters: int) -> Rows:
    """Return fewer centers: without the one that is missed least, one after the other.

    Parameters
    ----------
    centers : ndarray of shape (n, n_features), float32
    data : WeightedRows
    n_clusters : int
        How many are to be left; n at most.
    """
    while len(centers) > n_clusters:
        labels, own, second = two_nearest_centers(data.rows, centers)
        loss = (second.astype(np.float64) ** 2 - own.astype(np.float64) ** 2) * data.weights
        missed = np.bincount(labels, loss, len(centers))
        centers = np.delete(centers, missed.argmin(), axis=0)
    return centers
