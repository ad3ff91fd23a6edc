"""A further epoch: one exact step of Lloyd's algorithm over all rows, shard by shard."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Rows
from onepass.cluster.batches import WeightedSamples
from onepass.cluster.kernels.cpu import accumulate
from onepass.cluster.model import KMeansModel
from onepass.errors import UserError


class LloydStep(NamedTuple):
    """What one shard adds to a step.

    Attributes
    ----------
    sums : ndarray of shape (n_clusters, n_features), float64
        Weighted sum of the rows closest to each center.
    weights : ndarray of shape (n_clusters,), float64
    inertia : float
        Of the rows, to the centers as they are.
    """

    sums: Doubles
    weights: Doubles
    inertia: float


def united_steps(one: LloydStep, other: LloydStep) -> LloydStep:
    """Add two parts of a step, neither of which is changed."""
    sums, weights = one.sums + other.sums, one.weights + other.weights
    return LloydStep(sums, weights, one.inertia + other.inertia)


class Refined(NamedTuple):
    """Centers after one more pass over all rows.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    msd_before : float
        The exact mean squared distance of the rows to the centers as they were.
    n_moved : int
        Centers that are not where they were.
    """

    centers: Rows
    msd_before: float
    n_moved: int


def sum_shard(model: KMeansModel, batches: Iterable[WeightedSamples]) -> LloydStep:
    """Sum the rows closest to each center.

    Parameters
    ----------
    model : KMeansModel
    batches : iterable of Weighted
        The rows of one shard.

    Notes
    -----
    Costs 2 * n_clusters * n_features operations a row.
    """
    sums, weights = np.zeros(model.centers.shape), np.zeros(model.n_clusters)
    inertia = 0.0
    for data in batches:
        rows, row_weights = data
        for part, nearest in model.search(rows):
            share = accumulate(rows[part], nearest.labels, model.n_clusters, row_weights[part])
            sums += share.sums
            weights += share.weights
            inertia += float(nearest.sq_distances @ row_weights[part])
    return LloydStep(sums, weights, inertia)


def take_step(centers: Rows, steps: Sequence[LloydStep]) -> Refined:
    """Move centers to the exact means of their rows; those without rows stay.

    Raises
    ------
    UserError
        When there are no rows.
    """
    weights = np.sum([step.weights for step in steps], axis=0)
    total = float(weights.sum())
    if not total:
        raise UserError("there are no rows of positive weight to refine the centers with")
    sums = np.sum([step.sums for step in steps], axis=0)
    moved = centers.copy()
    filled = weights > 0
    moved[filled] = sums[filled] / weights[filled, None]
    n_moved = int((moved != centers).any(axis=1).sum())
    return Refined(moved, math.fsum(step.inertia for step in steps) / total, n_moved)
