"""Starts and iterations on data small enough to work out by hand."""

from itertools import pairwise

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.lloyd import lloyd
from onepass.cluster.seeding import choose_centers


def weighted(rows, weights=None):
    rows = np.array(rows, np.float32).reshape(len(rows), -1)
    return WeightedRows(rows, np.ones(len(rows)) if weights is None else np.array(weights, float))


@pytest.mark.parametrize("seed", range(20))
def test_kmeans_plusplus_never_takes_two_rows_from_one_of_two_points(seed):
    data = weighted([0, 0, 0, 0, 100])
    centers = choose_centers(data, 2, "k-means++", np.random.default_rng(seed))
    assert sorted(centers[:, 0].tolist()) == [0, 100]


def test_kmeans_plusplus_gives_rows_where_all_are_equal():
    data = weighted([5, 5, 5, 5])
    centers = choose_centers(data, 3, "k-means++", np.random.default_rng(0))
    assert centers[:, 0].tolist() == [5, 5, 5]


def test_kmeans_plusplus_starts_in_proportion_to_weight():
    data = weighted([0, 1], [1, 3])
    starts = [
        choose_centers(data, 1, "k-means++", np.random.default_rng(seed))[0, 0]
        for seed in range(2000)
    ]
    assert np.mean(starts) == pytest.approx(0.75, abs=0.03)


def test_random_takes_different_rows():
    data = weighted(range(10))
    centers = choose_centers(data, 10, "random", np.random.default_rng(0))
    assert sorted(centers[:, 0].tolist()) == list(range(10))


def test_lloyd_moves_centers_to_the_means_of_their_rows():
    data = weighted([[0, 0], [0, 2], [10, 0], [10, 2]])
    start = np.array([[1, 0], [9, 0]], np.float32)
    centers, inertia = lloyd(data, start, max_iter=10, tol=0)
    assert centers.tolist() == [[0, 1], [10, 1]]
    assert inertia == 4.0


def test_lloyd_counts_weights():
    data = weighted([0, 4], [3, 1])
    centers, inertia = lloyd(data, np.array([[2]], np.float32), max_iter=5, tol=0)
    assert centers[0, 0] == 1.0
    assert inertia == 3 * 1 + 1 * 9


def test_lloyd_gives_a_cluster_without_rows_the_row_that_costs_most():
    data = weighted([0, 1, 2, 50])
    start = np.array([[1], [-1000]], np.float32)
    centers, inertia = lloyd(data, start, max_iter=20, tol=0)
    assert sorted(centers[:, 0].tolist()) == [1, 50]
    assert inertia == 2.0


def test_lloyd_never_raises_the_inertia():
    rng = np.random.default_rng(3)
    data = WeightedRows(rng.normal(size=(500, 5)).astype(np.float32), rng.random(500) + 0.1)
    start = choose_centers(data, 20, "random", rng)
    inertias = [lloyd(data, start, max_iter=n, tol=0).inertia for n in range(12)]
    assert all(later <= earlier for earlier, later in pairwise(inertias))


def test_lloyd_does_not_change_its_start():
    start = np.array([[0.5]], np.float32)
    lloyd(weighted([0, 10]), start, max_iter=3, tol=0)
    assert start[0, 0] == 0.5
