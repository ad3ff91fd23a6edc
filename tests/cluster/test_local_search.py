"""Swaps on data where the best clustering is plain."""

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels.reference_swaps import _State, _two_closest
from onepass.cluster.local_search import MAX_TABLE_VALUES, swap_centers


def weighted(rows):
    rows = np.array(rows, np.float32).reshape(len(rows), -1)
    return WeightedRows(rows, np.ones(len(rows)))


def inertia(data, centers):
    gaps = data.rows[:, None].astype(float) - centers[None]
    return data.weights @ (gaps**2).sum(axis=2).min(axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_center_moves_from_where_two_share_a_cluster_to_where_two_clusters_share_one(seed):
    """Lloyd's iterations stand still here: 0 and 2 split one pair, 50 lies between two others."""
    data = weighted([0, 2, 40, 42, 58, 60])
    stuck = np.float32([[0], [2], [50]])
    centers = swap_centers(data, stuck, 20, np.random.default_rng(seed))
    near = np.abs(centers - np.float32([1, 41, 59])).min(axis=0)
    assert (near <= 1).all()
    assert stuck.tolist() == [[0], [2], [50]]


def test_the_inertia_never_rises():
    rng = np.random.default_rng(0)
    data = WeightedRows(rng.normal(size=(300, 3)).astype(np.float32), rng.random(300) + 0.1)
    centers = data.rows[:12].copy()
    inertias = [
        inertia(data, swap_centers(data, centers, n, np.random.default_rng(1)))
        for n in (0, 1, 5, 20, 80)
    ]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] < 0.9 * inertias[0]


def test_the_two_closest_centers_are_right_after_many_swaps():
    """Updating only what a swap touches gives what searching all anew gives."""
    rng = np.random.default_rng(2)
    data = weighted(rng.normal(size=(200, 4)))
    state = _State.of(data, data.rows[:15])
    for _ in range(40):
        state.apply(state.best_swap(rng.integers(200, size=1)))
        closest, sq_distances = _two_closest(state.rows, state.centers)
        np.testing.assert_allclose(state.sq_distances, sq_distances, atol=1e-9)
        assert (state.closest == closest)[sq_distances[:, 0] < sq_distances[:, 1]].all()


def test_a_swap_costs_what_it_says():
    rng = np.random.default_rng(3)
    data = weighted(rng.normal(size=(100, 2)))
    state = _State.of(data, data.rows[:6])
    swap = state.best_swap(np.array([50]))
    others = []
    for center in range(6):
        swapped = data.rows[:6].copy()
        swapped[center] = data.rows[50]
        others.append(inertia(data, swapped))
    assert swap.center == int(np.argmin(others))
    assert swap.inertia == pytest.approx(min(others), rel=1e-6)


@pytest.mark.parametrize("rows", [[[1.0], [1.0], [1.0]], [[0.0], [5.0]]])
def test_where_nothing_can_be_gained_centers_stay(rows):
    data = weighted(rows)
    centers = data.rows[:2].copy()
    assert np.array_equal(swap_centers(data, centers, 10, np.random.default_rng(0)), centers)


def test_one_center_and_tables_too_large_are_left_alone():
    data = weighted([0, 1, 2])
    centers = np.float32([[1]])
    assert swap_centers(data, centers, 10, np.random.default_rng(0)) is centers
    many = WeightedRows(np.zeros((MAX_TABLE_VALUES // 2, 1), np.float32), np.ones(1))
    three = np.zeros((3, 1), np.float32)
    assert swap_centers(many, three, 10, np.random.default_rng(0)) is three
