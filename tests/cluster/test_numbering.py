"""Which number a cluster has, where it had one before."""

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.numbering import numbered_like

BEFORE = np.float32([[0, 0], [10, 0], [0, 10], [10, 10]])


@pytest.mark.parametrize(
    ("centers", "expected"),
    [
        ([[9, 0], [0, 9], [1, 0], [9, 9]], [2, 0, 1, 3]),
        ([[50, 50], [1, 0]], [1, 0]),  # number 3 is given up: it takes a free one
        ([[9, 0], [1, 0], [2, 0]], [1, 0, 2]),  # the closer one of two
        ([[2, 0], [1, 0], [0, 9], [9, 9], [9, 0], [8, 0]], [1, 4, 2, 3, 0, 5]),
        ([[0, 0], [0, 0], [0, 0]], [0, 1, 2]),
    ],
)
def test_a_cluster_keeps_the_number_of_the_closest_before(centers, expected):
    assert numbered_like(np.float32(centers), BEFORE).tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_each_has_a_number(seed):
    rng = np.random.default_rng(seed)
    n, n_before = rng.integers(1, 40, 2)
    centers = rng.normal(size=(n, 3)).astype(np.float32)
    before = rng.normal(size=(n_before, 3)).astype(np.float32)
    assert sorted(numbered_like(centers, before)) == list(range(n))


def test_the_centers_are_the_same_in_another_order():
    rows = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    kmeans = KMeans(6).partial_fit(rows).finalize()
    former = kmeans.cluster_centers_[[3, 1, 5, 0, 2, 4]]
    np.testing.assert_array_equal(kmeans.finalize(like=former).cluster_centers_, former)
