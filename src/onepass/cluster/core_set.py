"""A sample that stands for all rows, and what it tells of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from onepass.cluster.anchors import Anchors, at_rest
from onepass.cluster.arrays import (
    Doubles,
    Flags,
    Floats,
    Labels,
    Rows,
    Weighted,
    WeightedAny,
    WeightedRows,
)
from onepass.cluster.kernels import refining, sparse
from onepass.cluster.kernels.cpu import accumulate, nearest_centers, two_nearest_centers
from onepass.cluster.offers import Sample
from onepass.cluster.parts import AnySummary, R
from onepass.sparse import SparseRows

_ROWS_AT_ONCE = 8192


class Msd(NamedTuple):
    """A mean squared distance.

    Attributes
    ----------
    value : float
    error : float
        Its standard error; 0 when it is exact.
    """

    value: float
    error: float


class CoreSet(NamedTuple):
    """Rows that stand for all, and by which center of the summary each was absorbed.

    Attributes
    ----------
    data : Weighted
    strata : ndarray of shape (n,), int32
    """

    data: WeightedAny
    strata: Labels


def calibrate(
    summary: WeightedRows, sample: Sample[Rows] | Sample[SparseRows], fitted: Flags
) -> CoreSet:
    """Correct a sample by what the summary knows exactly: each center's weight and mean.

    Within each stratum the weights are scaled to the weight of its center and the rows shifted so
    that their mean is the center. Centers without a row in the sample stand for themselves.

    Parameters
    ----------
    summary : WeightedRows
    sample : Sample
    fitted : ndarray of shape (n,), bool
        The rows of the sample to be used.

    Returns
    -------
    CoreSet
        A copy.
    """
    chosen = np.flatnonzero(fitted)
    strata = sample.strata[chosen]
    weights = scaled_weights(summary.weights, sample, fitted)
    if isinstance(sample.rows, SparseRows):
        few = Weighted(sample.rows[chosen], weights[chosen])
        return _calibrate_sparse(summary, few, strata)
    sums, received = accumulate(sample.rows, sample.strata, len(summary.rows), weights)
    seen = received > 0
    shift = np.zeros_like(summary.rows)
    shift[seen] = summary.rows[seen] - sums[seen] / received[seen, None]
    n = len(chosen)
    rows = np.empty((n + int((~seen).sum()), sample.rows.shape[1]), np.float32)
    np.take(sample.rows, chosen, axis=0, out=rows[:n], mode="clip")  # else by way of a copy
    for start in range(0, n, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, n))
        rows[part] += shift[strata[part]]
    alone = np.flatnonzero(~seen)
    rows[n:] = summary.rows[alone]
    data = WeightedRows(rows, np.concatenate([weights[chosen], summary.weights[alone]]))
    return CoreSet(data, np.concatenate([strata, alone.astype(np.int32)]))


def _calibrate_sparse(summary: WeightedRows, data: Weighted[SparseRows], strata: Labels) -> CoreSet:
    """Calibrate without making rows dense: they share the shift of their stratum."""
    n = len(summary.rows)
    sums = sparse.sums_of(data.rows, strata, n, data.weights)
    received = np.bincount(strata, data.weights, n)
    shift = summary.rows.copy()
    owners = np.repeat(np.arange(n), np.diff(sums.indptr))
    shift[owners, sums.indices] -= sums.data / received[owners]
    # A center that stands for itself is a row of zeros, shifted by all that it is.
    alone = np.flatnonzero(received == 0).astype(np.int32)
    nothing = SparseRows.of_dense(np.zeros((len(alone), 1), np.float32))
    rows = SparseRows.concatenate([data.rows, replace(nothing, n_features=data.rows.n_features)])
    strata = np.concatenate([strata, alone])
    weights = np.concatenate([data.weights, summary.weights[alone]])
    return CoreSet(Weighted(sparse.move_by(rows, shift, strata), weights), strata)


def measure_rows(data: WeightedAny, centers: Rows) -> Msd:
    """Measure the rows themselves."""
    sq_distances = nearest_centers(data.rows, centers).sq_distances.astype(np.float64)
    return Msd(float(data.weights @ sq_distances / data.weights.sum()), 0.0)


def thinned(
    summary: WeightedRows, sample: Sample[Rows] | Sample[SparseRows], n_most: int
) -> WeightedAny:
    """Return about so many rows of a sample that stand for all, corrected as by `calibrate`."""
    n = len(sample.weights)
    return calibrate(summary, sample, np.arange(n) % max(1, n // n_most) == 0).data


def weigh_clusters(data: WeightedAny, centers: Rows) -> Doubles:
    """Return what the rows closest to each of `centers` weigh."""
    labels = nearest_centers(data.rows, centers).labels
    return np.bincount(labels, data.weights, len(centers)).astype(np.float64, copy=False)


def estimate_msd(summary: AnySummary[R], sample: Sample[R], fitted: Flags, centers: Rows) -> Msd:
    """Estimate the mean squared distance of all rows to their closest center.

    If every row went to the center that is closest to its stratum's mean, the sum would be known
    exactly: the scatter of each stratum and the distance of its mean. Only what rows gain by going
    to a closer center than their stratum's is estimated, from rows that the centers have not been
    fitted to: those that they have been fitted to would flatter them.

    Parameters
    ----------
    summary : Summary
    sample : Sample
    fitted : ndarray of shape (n,), bool
        The rows of the sample that the centers were fitted to.
    centers : ndarray of shape (n_clusters, n_features), float32

    Returns
    -------
    Msd
    """
    points = summary.centers
    of_strata = two_nearest_centers(points, centers)
    gain, shifts = np.zeros(len(sample.rows)), at_rest(centers)
    for start in range(0, len(gain), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        rows = sample.rows[part]
        anchors = Anchors.of(rows, points, sample.strata[part])
        doubtful, own = refining.loosen(rows, centers, anchors.bounds(of_strata), shifts)
        if len(doubtful):
            gain[start + doubtful] = own - nearest_centers(rows[doubtful], centers).sq_distances
    weighed = Weighed(sample.weights, sample.strata)
    return estimate_from(summary, weighed, fitted, of_strata.distances, gain)


class Weighed(NamedTuple):
    """A sample without its rows.

    Attributes
    ----------
    weights : ndarray of shape (n,), float64
    strata : ndarray of shape (n,), int32
    """

    weights: Doubles
    strata: Labels


def estimate_from(
    summary: AnySummary[Any], sample: Weighed, fitted: Flags, distances: Floats, gain: Doubles
) -> Msd:
    """Estimate the mean squared distance as `estimate_msd`, from what has been measured.

    Parameters
    ----------
    summary : Summary
    sample : Weighed
    fitted : ndarray of shape (n,), bool
    distances : ndarray of shape (n_strata,), float32
        Of the summary's centers from the closest of the final ones.
    gain : ndarray of shape (n,), float64
        By how much each row's squared distance is less to its own closest center than to that of
        its stratum; changed.
    """
    known = float(summary.scatter.sum() + distances.astype(np.float64) ** 2 @ summary.weights)
    # Where a stratum has no other rows, those fitted must do.
    lacking = np.bincount(sample.strata, ~fitted, len(summary)) == 0
    used = ~fitted | lacking[sample.strata]
    # Where nearly nothing is left, a gain estimated may be more than all there is.
    value = max(0.0, known - float(gain @ scaled_weights(summary.weights, sample, used)))
    # Few rows gain much: how gains differ is learnt from all rows, fitted or not.
    n_used, n_there = (np.bincount(sample.strata[w], minlength=len(summary)) for w in (used, ...))
    gain *= scaled_weights(summary.weights, sample, np.ones_like(used))
    gain *= np.sqrt(n_there / np.maximum(n_used, 1))[sample.strata]
    total = float(summary.weights.sum())
    # What none of n rows shows may still happen to one in n.
    unseen = value / max(int(used.sum()), 1)
    return Msd(value / total, math.hypot(float(np.linalg.norm(gain)), unseen) / total)


def scaled_weights(of_strata: Doubles, sample: Sample[Any] | Weighed, used: Flags) -> Doubles:
    """Scale the weights of the rows used so that each stratum's add up to what it weighs."""
    weights = np.where(used, sample.weights, 0.0)
    # Of nothing, counts are integers.
    received = np.bincount(sample.strata, weights, len(of_strata)).astype(np.float64, copy=False)
    scale = np.divide(of_strata, received, out=np.zeros_like(received), where=received > 0)
    weights *= scale[sample.strata]
    return weights
