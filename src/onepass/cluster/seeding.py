"""Where clusters start: random rows, or rows far from one another (k-means++)."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from onepass.cluster.arrays import Floats, Rows, WeightedRows
from onepass.cluster.draws import draw
from onepass.cluster.kernels import refining
from onepass.cluster.kernels.cpu import nearest_centers

Seeding: TypeAlias = Literal["random", "k-means++"]


def choose_centers(
    data: WeightedRows,
    n_clusters: int,
    method: Seeding,
    rng: np.random.Generator,
    *,
    in_rounds: bool = False,
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
    in_rounds : bool
        Draw many rows at once, each round half as many as are chosen already: for starts of
        hundreds of clusters, which one by one take long.
    apart : ndarray, float32, optional
        Squared distances between the rows, by `onepass.cluster.kernels.refining.between`: k-means++
        one by one is faster with them.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        A copy. Fewer with k-means++ in rounds where there are fewer different rows.

    Notes
    -----
    k-means++ tries ``2 + ln(n_clusters)`` rows for each center and takes the best: 2 * n_clusters *
    n_rows * n_features operations for each; in rounds, one row for each center.
    Source: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007; the
    greedy form is from section 7. Bahmani et al., "Scalable k-means++", 2012, draw in rounds.
    """
    if method == "random":
        share = data.weights / data.weights.sum()
        return data.rows[rng.choice(len(data.rows), n_clusters, replace=False, p=share)]
    if in_rounds:
        return _kmeans_in_rounds(data, n_clusters, rng)
    return _kmeans_plusplus(data, n_clusters, rng, apart)


def _kmeans_plusplus(
    data: WeightedRows, n_clusters: int, rng: np.random.Generator, apart: Floats | None
) -> Rows:
    n_candidates = 2 + int(math.log(n_clusters))
    uniforms = rng.random(1 + (n_clusters - 1) * n_candidates)
    chosen = refining.plus_plus(data, n_clusters, n_candidates, uniforms, apart)
    n_missing = n_clusters - len(chosen)
    if n_missing:  # every row lies on a chosen one: the rest is as good as any
        others = np.setdiff1d(np.arange(len(data.rows)), chosen)
        chosen = np.concatenate([chosen, rng.choice(others, n_missing, replace=False)])
    return data.rows[chosen]


def _kmeans_in_rounds(data: WeightedRows, n_clusters: int, rng: np.random.Generator) -> Rows:
    rows, weights = data
    chosen = draw(weights, rng.random(1))
    sq_distances = nearest_centers(rows, rows[chosen]).sq_distances
    while len(chosen) < n_clusters:
        potential = weights * sq_distances
        open_to_choice = np.flatnonzero(potential)
        n_wanted = min(max(1, len(chosen) // 2), n_clusters - len(chosen), len(open_to_choice))
        if not n_wanted:
            break
        # The smallest keys are a draw without replacement in proportion to the potential.
        keys = rng.standard_exponential(len(open_to_choice)) / potential[open_to_choice]
        fresh = open_to_choice[np.argpartition(keys, n_wanted - 1)[:n_wanted]]
        labels, closer = nearest_centers(rows, rows[fresh])
        np.minimum(closer, sq_distances, out=sq_distances)
        alone = labels[fresh] == np.arange(len(fresh))  # not equal to another of this round
        chosen = np.concatenate([chosen, fresh[alone]])
    return rows[chosen]
