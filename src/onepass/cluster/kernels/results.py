"""What kernels return."""

from __future__ import annotations

from typing import NamedTuple

from onepass.cluster.arrays import Doubles, Floats, Labels


class Found(NamedTuple):
    """What a search finds for each row.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        The center with the least score, the lowest index among equal ones.
    sq_distances : ndarray of shape (n_samples,), float32
        Squared distance to it, computed from the differences.
    squares : ndarray of shape (n_samples,), float32
        Squared distances of the row and of that center to the origin, added up: the score is what
        is left of these, and as precise as float32 holds them.
    ahead : ndarray, float32
        By how much the least score of the other centers is larger; of no length unless asked for,
        and infinite where there are no others.
    """

    labels: Labels
    sq_distances: Floats
    squares: Floats
    ahead: Floats


class Sums(NamedTuple):
    """What each cluster received.

    Attributes
    ----------
    sums : ndarray of shape (n_clusters, n_features), float64
        Weighted sum of its rows.
    weights : ndarray of shape (n_clusters,), float64
    """

    sums: Doubles
    weights: Doubles
