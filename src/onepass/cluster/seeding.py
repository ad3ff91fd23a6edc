"""Where clusters start: random rows, or rows far from one another (k-means++)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import (
    Doubles,
    Floats,
    Indices,
    Labels,
    Rows,
    Weighted,
    WeightedRows,
)
from onepass.cluster.draws import draw
from onepass.cluster.kernels import refining, sparse
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.sparse import SparseRows

Seeding: TypeAlias = Literal["random", "k-means++"]


def choose_centers(
    data: WeightedRows,
    n_clusters: int,
    method: Seeding,
    rng: np.random.Generator,
    apart: Floats | None = None,
) -> Rows:
    """Choose rows to start clusters from.

    Parameters
    ----------
    data : WeightedRows
        At least `n_clusters` rows, of positive weight.
    n_clusters : int
    method : {"random", "k-means++"}
        Random rows without replacement, likely by weight; or k-means++.
    rng : numpy.random.Generator
    apart : ndarray, float32, optional
        Squared distances between the rows, by `onepass.cluster.kernels.refining.between`: k-means++
        is faster with them.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        A copy.

    Notes
    -----
    k-means++ tries ``2 + ln(n_clusters)`` rows for each center and takes the best: 2 * n_clusters *
    n_rows * n_features operations for each.
    Source: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007; the
    greedy form is from section 7.
    """
    if method == "random":
        return data.rows[random_rows(data.weights, n_clusters, rng)]
    return _kmeans_plusplus(data, n_clusters, rng, apart)


def choose_rows(
    data: Weighted[Rows] | Weighted[SparseRows],
    n_clusters: int,
    method: Seeding,
    rng: np.random.Generator,
) -> Indices:
    """Choose rows to start hundreds of clusters from, many at once: one by one takes long.

    Parameters
    ----------
    data : Weighted
        At least `n_clusters` rows, of positive weight.
    n_clusters, method, rng
        As `choose_centers` takes them.

    Returns
    -------
    ndarray of shape (n_clusters,), intp
        Fewer with k-means++ where there are fewer different rows.

    Notes
    -----
    Each round draws half as many as are chosen already: 2 * n_clusters * n_rows * n_features
    operations, of sparse rows fewer.
    Source: Bahmani et al., "Scalable k-means++", 2012.
    """
    if method == "random":
        return random_rows(data.weights, n_clusters, rng)
    rows = data.rows

    def nearest(chosen: Indices) -> tuple[Labels, npt.NDArray[np.floating]]:
        if isinstance(rows, SparseRows):
            found = sparse.nearest_rows(rows, rows[chosen])
            return found.labels, found.sq_distances
        labels, sq_distances = nearest_centers(rows, rows[chosen])
        return labels, sq_distances

    return in_rounds(nearest, data.weights, n_clusters, rng)


def random_rows(weights: Doubles, n_clusters: int, rng: np.random.Generator) -> Indices:
    """Choose different rows in proportion to their weights."""
    share = weights / weights.sum()
    return rng.choice(len(weights), n_clusters, replace=False, p=share)


def _kmeans_plusplus(
    data: WeightedRows, n_clusters: int, rng: np.random.Generator, apart: Floats | None
) -> Rows:
    n_candidates = 2 + int(math.log(n_clusters))
    uniforms = rng.random(1 + (n_clusters - 1) * n_candidates)
    chosen = refining.plus_plus(data, n_clusters, n_candidates, uniforms, apart)
    return data.rows[filled_up(chosen, n_clusters, len(data.rows), rng)]


def filled_up(chosen: Indices, n: int, n_rows: int, rng: np.random.Generator) -> Indices:
    """Add others to the rows chosen where these are fewer than `n`: as all rows lie on them."""
    if len(chosen) == n:
        return chosen
    others = np.setdiff1d(np.arange(n_rows), chosen)
    return np.concatenate([chosen, rng.choice(others, n - len(chosen), replace=False)])


def in_rounds(
    nearest: Callable[[Indices], tuple[Labels, npt.NDArray[np.floating]]],
    weights: Doubles,
    n_clusters: int,
    rng: np.random.Generator,
) -> Indices:
    """Choose rows; `nearest` tells of each row which of some rows is closest, and how far it is."""
    chosen = draw(weights, rng.random(1))
    _, sq_distances = nearest(chosen)
    while len(chosen) < n_clusters:
        potential = weights * sq_distances
        open_to_choice = np.flatnonzero(potential)
        n_wanted = min(max(1, len(chosen) // 2), n_clusters - len(chosen), len(open_to_choice))
        if not n_wanted:
            break
        # The smallest keys are a draw without replacement in proportion to the potential.
        keys = rng.standard_exponential(len(open_to_choice)) / potential[open_to_choice]
        fresh = open_to_choice[np.argpartition(keys, n_wanted - 1)[:n_wanted]]
        labels, closer = nearest(fresh)
        np.minimum(closer, sq_distances, out=sq_distances)
        alone = labels[fresh] == np.arange(len(fresh))  # not equal to another of this round
        chosen = np.concatenate([chosen, fresh[alone]])
    return chosen
