"""Nearest-center search and accumulation against what NumPy computes directly in float64."""

import numpy as np
import pytest

from onepass.cluster.kernels.cpu import accumulate, nearest_centers


def brute_force(rows, centers):
    gaps = rows[:, None].astype(np.float64) - centers[None].astype(np.float64)
    return (gaps**2).sum(axis=2)


@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (7, 3, 2), (5000, 300, 26), (70, 1000, 400)])
def test_each_row_gets_its_closest_center(n, k, d):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    centers = rng.normal(size=(k, d)).astype(np.float32)
    expected = brute_force(rows, centers)
    labels, sq_distances = nearest_centers(rows, centers)
    chosen = expected[np.arange(n), labels]
    np.testing.assert_allclose(chosen, expected.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(sq_distances, chosen, rtol=1e-5)
    assert labels.dtype == np.int32


def test_equally_close_centers_give_the_lowest_index():
    rows = np.zeros((3, 2), np.float32)
    centers = np.array([[0, 2], [1, 0], [-1, 0], [0, 1]], np.float32)
    assert nearest_centers(rows, centers).labels.tolist() == [1, 1, 1]


def test_a_row_on_a_center_is_at_distance_zero_exactly():
    centers = np.random.default_rng(1).normal(100, 1, (50, 30)).astype(np.float32)
    labels, sq_distances = nearest_centers(centers, centers)
    assert labels.tolist() == list(range(50))
    assert not sq_distances.any()


def test_sums_and_weights_of_each_cluster():
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    sums, weights = accumulate(rows, np.array([1, 1, 2], np.int32), 4)
    assert sums.tolist() == [[0, 0], [4, 6], [5, 6], [0, 0]]
    assert weights.tolist() == [0, 2, 1, 0]


def test_weights_count_rows_more_than_once():
    rows = np.array([[1], [10]], np.float32)
    sums, weights = accumulate(rows, np.zeros(2, np.int32), 1, np.array([2.0, 0.5]))
    assert (sums.tolist(), weights.tolist()) == ([[7.0]], [2.5])


def test_sums_do_not_stop_at_two_to_the_24():
    """A float32 counter stands still at 16,777,216: adding 1 changes it no more."""
    n = 2**24 + 1000
    sums, weights = accumulate(np.ones((n, 1), np.float32), np.zeros(n, np.int32), 1)
    assert (sums[0, 0], weights[0]) == (n, n)
