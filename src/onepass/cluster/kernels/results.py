"""What kernels take and return."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows

_DOUBT = 2.0**-19
"""Below this share of the squares it is the difference of, a squared distance in float32 is in
doubt: it keeps five of 24 bits."""


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
        is left of these, and as precise as float32 holds them. 0 where the center was chosen by
        differences, which leave no doubt.
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


class Clustering(NamedTuple):
    """Centers, and how well they fit the rows they were made for.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    inertia : float
        Weighted sum of squared distances of the rows to their closest center.
    """

    centers: Rows
    inertia: float


class Holdings(NamedTuple):
    """The centers of a summary and what they hold; changed in place.

    Attributes
    ----------
    centers : ndarray of shape (n_centers, n_features), float32
        The mean of the rows each holds.
    sums : ndarray of shape (n_centers, n_features), float64
    weights : ndarray of shape (n_centers,), float64
    scatter : ndarray of shape (n_centers,), float64
        Sum of weighted squared distances of the rows each holds to their mean.
    """

    centers: Rows
    sums: Doubles
    weights: Doubles
    scatter: Doubles


class Bounds(NamedTuple):
    """What Lloyd's iterations keep of each row; changed in place.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
    upper : ndarray of shape (n_samples,), float32
        The distance of a row to its center is not larger.
    lower : ndarray of shape (n_samples,), float32
        The distance of a row to any other center is not smaller.
    """

    labels: Labels
    upper: Floats
    lower: Floats


class Shifts(NamedTuple):
    """How centers have moved, and where they are.

    Attributes
    ----------
    own : ndarray of shape (n_clusters,), float32
        How far each has moved.
    others : ndarray of shape (n_clusters,), float32
        How far any other that is near has moved at most.
    far : ndarray of shape (n_clusters,), float32
        The distance to the closest of all that are not near; infinite where all are.
    halfway : ndarray of shape (n_clusters,), float32
        Half of the distance to the closest other, or less.
    share : float
        The part of a bound that can be trusted.
    """

    own: Floats
    others: Floats
    far: Floats
    halfway: Floats
    share: float


class Crossed(NamedTuple):
    """Rows whose bounds do not tell whether another center is closer.

    Attributes
    ----------
    rows : ndarray of shape (n,), int64
        Their indices, in order.
    sq_distances : ndarray of shape (n,), float32
        To the centers they have.
    """

    rows: npt.NDArray[np.int64]
    sq_distances: Floats


def doubt_of(n_features: int) -> float:
    """Products of many terms lose more digits, as the square root of their number."""
    return _DOUBT * max(1.0, math.sqrt(n_features) / 16)
