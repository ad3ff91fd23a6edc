"""How many clusters there are: the knee of the curve of the msd, and how sure it is.

Rows that are not clustered have a msd that falls as a power of the number of clusters: on two
logarithmic axes, a line. Clusters bend it: the msd falls faster until each has a center of its own,
and slower from there on. The knee is the point that lies farthest below the line from end to end.

Sources: Satopaa, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a haystack: detecting knee
points in system behavior", 2011, for the distance from the line; Zador, "Asymptotic quantization
error of continuous signals and the quantization dimension", 1982, for the power.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles

_FEWEST = 4
_LEAST_BEND, _LEAST_CONFIDENCE = 0.035, 0.5
_NOTHING = 1e-12


class Knee(NamedTuple):
    """A knee, or why there is none.

    Attributes
    ----------
    n_clusters : int or None
    confidence : float
        The share of the ranges around it in which it is the knee as well; 0 where there is none.
    reason : str
        In words.
    """

    n_clusters: int | None
    confidence: float
    reason: str


class _Bend(NamedTuple):
    """The point that lies farthest below the line between two ends, and how far, of 0 to 1."""

    place: int
    depth: float


def find_knee(n_clusters: Sequence[int], msds: Sequence[float]) -> Knee:
    """Find the knee of a curve.

    Some point always lies farthest from the line. A knee stays where it is when the curve is cut at
    other ends; so it is looked for in all ranges around it.

    Parameters
    ----------
    n_clusters : sequence of int
        Rising; 1 should be the first, as the msd of all rows together says where the curve begins.
    msds : sequence of float
        Of so many clusters; falling, but for errors.
    """
    if len(n_clusters) < _FEWEST:
        return Knee(None, 0.0, f"a knee is told from {_FEWEST} numbers of clusters at least")
    if not msds[0]:
        return Knee(None, 0.0, "all rows are alike")
    x = np.log(np.asarray(n_clusters, np.float64))
    y = np.log(np.maximum(np.asarray(msds, np.float64), _NOTHING * msds[0]))
    knee = _bend(x, y)
    if knee.depth < _LEAST_BEND:
        return Knee(None, 0.0, "the msd falls as evenly as that of rows that are not clustered")
    agreed = []
    for first in range(knee.place):
        for end in range(knee.place + 2, len(x) + 1):
            if end - first >= _FEWEST:
                place, depth = _bend(x[first:end], y[first:end])
                agreed.append(first + place == knee.place and depth > 0)
    confidence = float(np.mean(agreed))
    k = n_clusters[knee.place]
    where = f"the msd falls fast up to k={k} and slowly from there on, in {confidence:.0%} of"
    if confidence < _LEAST_CONFIDENCE:
        return Knee(None, 0.0, f"{where} the ranges around it only: too few for a knee")
    return Knee(k, confidence, f"{where} the ranges around it")


def _bend(x: Doubles, y: Doubles) -> _Bend:
    """Return the bend of a curve that falls from its first point to its last."""
    fall = y[0] - y[-1]
    if fall <= 0:
        return _Bend(1, 0.0)
    depth = (y[0] - y) / fall - (x - x[0]) / (x[-1] - x[0])
    place = int(depth[1:-1].argmax()) + 1
    return _Bend(place, float(depth[place]))
