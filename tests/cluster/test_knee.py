"""The knee is where clusters are, and nowhere where there are none."""

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.knee import find_knee

KS = list(range(1, 13))


def curve_of(rows):
    kmeans = KMeans(max(KS), random_state=1).partial_fit(rows.astype(np.float32))
    elbow = kmeans.sweep(KS)
    return [point.msd for point in elbow]


def clustered(n_clusters, d, spread, seed):
    rng = np.random.default_rng(seed)
    places = rng.normal(0, spread, (n_clusters, d))
    return places[rng.integers(0, n_clusters, 3000)] + rng.normal(size=(3000, d))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_clusters", "d", "spread"), [(3, 4, 6), (5, 20, 3), (8, 10, 6)])
def test_it_is_where_the_clusters_are(n_clusters, d, spread, seed):
    knee = find_knee(KS, curve_of(clustered(n_clusters, d, spread, seed)))
    assert knee.n_clusters == n_clusters
    assert knee.confidence > 0.8
    assert f"up to k={n_clusters}" in knee.reason


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).random((3000, 2)),
        np.random.default_rng(1).random((3000, 10)),
        *(np.random.default_rng(seed).random((3000, 3)) for seed in (102, 5, 6, 7)),
        np.random.default_rng(2).normal(size=(3000, 1)),
        np.random.default_rng(3).normal(size=(3000, 30)),
        np.random.default_rng(4).exponential(size=(3000, 3)),
    ],
    ids=["square", "cube of 10", *"abcd", "normal", "normal of 30", "exponential"],
)
def test_rows_that_are_not_clustered_have_none(rows):
    knee = find_knee(KS, curve_of(rows))
    assert knee.n_clusters is None
    assert knee.confidence == 0
    assert knee.reason


@pytest.mark.parametrize(
    ("ks", "msds", "n_clusters"),
    [
        ([1, 2, 3], [9.0, 1.0, 0.9], None),
        ([1, 2, 3, 4], [9.0, 1.0, 0.95, 0.9], 2),
        ([1, 2, 4, 8, 16], [64.0, 32.0, 1.0, 0.9, 0.8], 4),
        ([1, 2, 3, 4, 5], [9.0, 4.0, 0.0, 0.0, 0.0], 3),
        ([1, 2, 3, 4, 5], [0.0, 0.0, 0.0, 0.0, 0.0], None),
        ([1, 2, 3, 4, 5], [5.0, 5.0, 5.0, 5.0, 5.0], None),
        ([1, 2, 3, 4, 5], [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5], None),
    ],
)
def test_curves_by_hand(ks, msds, n_clusters):
    assert find_knee(ks, msds).n_clusters == n_clusters


def test_iris_has_three_kinds():
    datasets = pytest.importorskip("sklearn.datasets")
    assert find_knee(KS, curve_of(datasets.load_iris().data)).n_clusters == 3
