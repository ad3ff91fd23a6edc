"""Where clusters start: random rows, or rows far from one another (k-means++)."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Rows, WeightedRows

Seeding: TypeAlias = Literal["random", "k-means++"]


def choose_centers(
    data: WeightedRows,
    n_clusters: int,
    method: Seeding,
    rng: np.random.Generator,
    *,
    n_candidates: int | None = None,
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
    n_candidates : int, optional
        Rows tried for each center of k-means++, of which the best is taken; ``2 + ln(n_clusters)``
        by default, 1 is the textbook's form.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        A copy.

    Notes
    -----
    k-means++ costs 2 * n_clusters * n_candidates * n_rows * n_features operations.
    Source: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007; the
    greedy form is from section 7.
    """
    if method == "random":
        share = data.weights / data.weights.sum()
        return data.rows[rng.choice(len(data.rows), n_clusters, replace=False, p=share)]
    return _kmeans_plusplus(data, n_clusters, rng, n_candidates or 2 + int(math.log(n_clusters)))


def _kmeans_plusplus(
    data: WeightedRows, n_clusters: int, rng: np.random.Generator, n_candidates: int
) -> Rows:
    weights = data.weights
    rows = data.rows - data.rows.mean(axis=0)  # products lose digits far from the origin
    norms = np.einsum("ij,ij->i", rows, rows)
    chosen = np.empty(n_clusters, np.intp)
    chosen[0] = _draw(weights, 1, rng)[0]
    sq_distances = _sq_distances(rows, norms, chosen[:1])[0]
    for i in range(1, n_clusters):
        potential = weights * sq_distances
        candidates = _draw(potential, n_candidates, rng)
        if not len(candidates):  # every row lies on a chosen one: the rest is as good as any
            others = np.setdiff1d(np.arange(len(rows)), chosen[:i])
            chosen[i:] = rng.choice(others, n_clusters - i, replace=False)
            break
        closer = np.minimum(_sq_distances(rows, norms, candidates), sq_distances)
        chosen[i] = candidates[int((closer @ weights).argmin())]
        gap = rows - rows[chosen[i]]  # exactly: beside far rows, products do not tell close ones
        sq_distances = np.minimum(np.einsum("ij,ij->i", gap, gap), sq_distances)
    return data.rows[chosen]


def _sq_distances(rows: Rows, norms: Floats, chosen: np.typing.NDArray[np.intp]) -> Floats:
    """Return squared distances from the chosen rows to all rows, shape (n_chosen, n_rows)."""
    table: Floats = rows[chosen] @ rows.T
    table *= -2
    table += norms
    table += norms[chosen, None]
    np.maximum(table, 0, out=table)
    return table


def _draw(shares: Doubles, n: int, rng: np.random.Generator) -> np.typing.NDArray[np.intp]:
    """Draw indices with probability in proportion to their shares; none if all shares are 0."""
    cumulative = np.cumsum(shares)
    if not cumulative[-1] > 0:
        return np.empty(0, np.intp)
    drawn = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    last = np.intp(len(shares) - 1)
    return np.where(drawn > last, last, drawn)
