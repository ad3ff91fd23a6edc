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
_MOST_VALUES = 2**24


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
    """Draw rows to be shown: 1,500, or fewer of many features."""
    rng = np.random.default_rng(seed)
    n_most = max(2, _MOST_VALUES // facts.centers.shape[1])
    rows, weights = _drawn(facts.kept, n_most, rng)
    mean: Doubles = np.average(rows, axis=0, weights=weights).astype(np.float64)
    deviation: Doubles = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    shown = _drawn(Weighted(rows, weights), min(n_most, _SHOWN_ROWS), rng).rows
    return Shown(shown, nearest_centers(shown, facts.centers).labels, mean, deviation)


def _drawn(data: Weighted[Samples], n_most: int, rng: np.random.Generator) -> WeightedRows:
    """Draw some rows in proportion to their weights, or return all if they are no more."""
    rows, weights = data
    if len(rows) > n_most:
        drawn, weights = thinned(weights, n_most, rng)
        rows = rows[np.sort(drawn)]
    return WeightedRows(as_dense(rows), weights)
