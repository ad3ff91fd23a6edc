"""From a summary and a sample to the centers asked for.

The summary's centers are few, so k-means is run on them from several starts at almost no cost; the
best few results are refined on the sample. While every row fits the sample this is k-means on the
data itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Rows, WeightedRows
from onepass.cluster.kernels.cpu import accumulate, nearest_centers
from onepass.cluster.lloyd import Clustering, lloyd
from onepass.cluster.reservoir import Sample
from onepass.cluster.seeding import Seeding, choose_centers

_REFINED = 3
_FINER = 0.1


class FinishSettings(NamedTuple):
    """How the last step is done; see `onepass.KMeans` for what each means."""

    n_clusters: int
    seeding: Seeding
    n_trials: int
    max_iter: int
    tol: float


class Finished(NamedTuple):
    """The final centers and what is known about them.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    trial_msds : tuple of float
        What each trial on the summary's centers reached, their own spread not counted.
    """

    centers: Rows
    trial_msds: tuple[float, ...]


def finish(
    summary: WeightedRows, data: WeightedRows, settings: FinishSettings, rng: np.random.Generator
) -> Finished:
    """Make the final centers.

    Parameters
    ----------
    summary : WeightedRows
        The centers of a `Summary`.
    data : WeightedRows
        The rows themselves, or a sample that stands for them.
    settings : FinishSettings
    rng : numpy.random.Generator

    Notes
    -----
    Costs n_trials runs of Lloyd's iterations on the summary and 3 on the sample.
    """
    coarse = summary if len(summary.rows) >= 2 * settings.n_clusters else data
    trials = [_trial(coarse, settings, rng) for _ in range(settings.n_trials)]
    total = float(coarse.weights.sum())
    best_first = sorted(trials, key=lambda trial: trial.inertia)
    refined = [
        lloyd(data, trial.centers, max_iter=settings.max_iter, tol=settings.tol * _FINER)
        for trial in best_first[:_REFINED]
    ]
    best = min(refined, key=lambda clustering: clustering.inertia)
    return Finished(best.centers, tuple(trial.inertia / total for trial in trials))


def calibrate(summary: WeightedRows, sample: Sample) -> WeightedRows:
    """Correct a sample by what the summary knows exactly: each center's weight and mean.

    Within each stratum the weights are scaled to the weight of its center and the rows shifted so
    that their mean is the center. Centers without a row in the sample stand for themselves.

    Returns
    -------
    WeightedRows
    """
    sums, weights = accumulate(sample.rows, sample.strata, len(summary.rows), sample.weights)
    seen = weights > 0
    shift = np.zeros_like(summary.rows)
    shift[seen] = summary.rows[seen] - sums[seen] / weights[seen, None]
    scale = np.divide(summary.weights, weights, out=np.zeros_like(weights), where=seen)
    return WeightedRows(
        np.concatenate([sample.rows + shift[sample.strata], summary.rows[~seen]]),
        np.concatenate([sample.weights * scale[sample.strata], summary.weights[~seen]]),
    )


def measure_msd(data: WeightedRows, centers: Rows) -> tuple[float, float]:
    """Return the mean squared distance to the closest center, and its standard error.

    The mean is weighted. The error is that of a ratio estimator if the rows are a sample; it has
    no meaning if they are all there is.
    """
    sq_distances = nearest_centers(data.rows, centers).sq_distances.astype(np.float64)
    total = data.weights.sum()
    msd = float(data.weights @ sq_distances / total)
    error = float(np.linalg.norm(data.weights * (sq_distances - msd)) / total)
    return msd, error


def _trial(data: WeightedRows, settings: FinishSettings, rng: np.random.Generator) -> Clustering:
    start = choose_centers(data, settings.n_clusters, settings.seeding, rng)
    return lloyd(data, start, max_iter=settings.max_iter, tol=settings.tol)
