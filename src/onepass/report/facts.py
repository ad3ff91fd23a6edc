"""What a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Labels, Rows, Weighted, WeightedRows
from onepass.cluster.batches import Samples, as_dense
from onepass.cluster.elbow import Elbow
from onepass.cluster.finish import thinned
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.cluster.kmeans import KMeans

_SHOWN_ROWS = 1500
_MOST_VALUES, _MOST_SHOWN_VALUES, _VALUES_AT_ONCE = 2**24, 2**22, 2**18


class Drift(NamedTuple):
    """What has changed since the model that was gone on from.

    Attributes
    ----------
    n_new, n_far : int
        Rows that came; those of them that were far from all that was known.
    moved : ndarray of shape (n_clusters,), float64
        From each center to the closest one before.
    """

    n_new: int
    n_far: int
    moved: Doubles


class Facts(NamedTuple):
    """What is known of a model, for people.

    Attributes
    ----------
    name : str
        Of the job; empty where it has none.
    n_rows, n_bytes : int
        That were read.
    centers : ndarray of shape (n_clusters, n_features), float32
    sizes : ndarray of shape (n_clusters,), float64
    msd, msd_error : float
    kept : Weighted
        Rows that stand for all.
    names : sequence of str or None
        Of the features.
    seconds : mapping of str to float
        By stages.
    scores : mapping of str to float
        Of test data.
    data, settings : mapping of str to str
        What was read, and how it was asked for: names and values.
    elbow : Elbow or None
    drift : Drift or None
    """

    name: str
    n_rows: int
    n_bytes: int
    centers: Rows
    sizes: Doubles
    msd: float
    msd_error: float
    kept: Weighted[Samples]
    names: Sequence[str] | None
    seconds: Mapping[str, float]
    scores: Mapping[str, float]
    data: Mapping[str, str]
    settings: Mapping[str, str]
    elbow: Elbow | None = None
    drift: Drift | None = None

    def feature(self, number: int) -> str:
        """Return what a feature is called."""
        return self.names[number] if self.names is not None else f"feature {number}"


def facts_of(kmeans: KMeans, names: Sequence[str] | None = None) -> Facts:
    """Return what a fitted `KMeans` knows of itself; names of features go before its own."""
    learnt = getattr(kmeans, "feature_names_in_", None)
    return Facts(
        name="",
        n_rows=kmeans.n_samples_seen_,
        n_bytes=0,
        centers=kmeans.cluster_centers_,
        sizes=kmeans.cluster_sizes(),
        msd=kmeans.msd_,
        msd_error=kmeans.msd_error_,
        kept=kmeans.rows_kept(),
        names=names or (None if learnt is None else [str(name) for name in learnt]),
        seconds={},
        scores={},
        data={},
        settings={},
    )


class Shown(NamedTuple):
    """A few of the rows, and what is known of all features from more of them.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32
        Drawn so that each stands for as many.
    labels : ndarray of shape (n,), int32
        Their clusters.
    mean, deviation : ndarray of shape (n_features,), float64
        Standard deviation, that is; 0 where a feature never differs.
    """

    rows: Rows
    labels: Labels
    mean: Doubles
    deviation: Doubles


def some_rows(facts: Facts, seed: int = 0) -> Shown:
    """Draw rows to be shown: 1,500, or fewer of many features.

    Notes
    -----
    Memory: 64 MiB for the rows that means are taken of, 16 MiB for those that are shown, and 8 MiB.
    """
    rng, d = np.random.default_rng(seed), facts.centers.shape[1]
    data = _drawn(facts.kept, max(2, _MOST_VALUES // d), rng)
    mean, deviation = _moments(data)
    n_shown = max(2, min(_SHOWN_ROWS, _MOST_SHOWN_VALUES // d))
    shown = _drawn(data, n_shown, rng).rows
    return Shown(shown, nearest_centers(shown, facts.centers).labels, mean, deviation)


def _moments(data: WeightedRows) -> tuple[Doubles, Doubles]:
    """Return means and standard deviations; in float64, a few rows at a time take little room."""
    rows, weights = data
    d, total = rows.shape[1], weights.sum()
    step = max(1, _VALUES_AT_ONCE // d)
    parts = [slice(start, start + step) for start in range(0, len(rows), step)]
    mean, squares = np.zeros((2, d))
    for part in parts:
        mean += weights[part] @ rows[part].astype(np.float64)
    mean /= total
    for part in parts:
        squares += weights[part] @ (rows[part] - mean) ** 2
    return mean, np.sqrt(squares / total)


def _drawn(data: Weighted[Samples], n_most: int, rng: np.random.Generator) -> WeightedRows:
    """Draw some rows in proportion to their weights, or return all if they are no more."""
    rows, weights = data
    if len(rows) > n_most:
        drawn, weights = thinned(weights, n_most, rng)
        rows = rows[np.sort(drawn)]
    return WeightedRows(as_dense(rows), weights)
