"""Lloyd's iterations with bounds beside plain ones in float64."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels.cpu import two_nearest_centers
from onepass.cluster.lloyd import LloydRun, lloyd


def inertia(data, centers):
    gap = data.rows[:, None].astype(np.float64) - centers.astype(np.float64)
    return float(data.weights @ (gap**2).sum(axis=2).min(axis=1))


def plain_step(data, centers):
    gap = data.rows[:, None].astype(np.float64) - centers.astype(np.float64)
    labels = (gap**2).sum(axis=2).argmin(axis=1)
    moved = centers.astype(np.float64)
    for j in np.unique(labels):
        own = labels == j
        moved[j] = np.average(data.rows[own].astype(np.float64), axis=0, weights=data.weights[own])
    return moved, len(np.unique(labels)) == len(centers)


def problem(seed, spread):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 60)), int(rng.integers(1, 5))
    k = int(rng.choice([1, n, rng.integers(1, n + 1)]))
    rows = rng.normal(size=(n, d))
    if spread == "few":
        rows = np.round(rows)
    if spread == "far":
        rows += 10.0 ** rng.integers(1, 4)
    if spread == "apart":  # most centers are far from most rows, and some go a long way
        rows[:, 0] += 10.0 * rng.integers(0, 5, n)
    rows = rows.astype(np.float32)
    start = rows[rng.choice(n, k, replace=False)]
    if rng.random() < 0.5:
        start = start + rng.normal(0, 3, start.shape).astype(np.float32)
    return WeightedRows(rows, 10.0 ** rng.uniform(-2, 2, n)), start


@given(seed=st.integers(0, 2**32), spread=st.sampled_from(["even", "few", "far", "apart"]))
@example(seed=439379799, spread="apart")
@settings(deadline=None, max_examples=200)
def test_no_iteration_raises_the_inertia_or_leaves_a_row_with_a_farther_center(seed, spread):
    data, start = problem(seed, spread)
    run = LloydRun(data, start)
    size = float(np.abs(data.rows).max()) + 1
    before = inertia(data, start)
    slack = 1e-6 * (size**2 * data.weights.sum() + before)
    for _ in range(8):
        known = run.go_on(1, 0)
        now = inertia(data, run.centers)
        assert now <= before + 1e-3 * slack
        assert known == pytest.approx(now, rel=1e-3, abs=slack)
        gap = data.rows[:, None].astype(np.float64) - run.centers.astype(np.float64)
        sq_distances = (gap**2).sum(axis=2)
        own = sq_distances[np.arange(len(data.rows)), run._labels]
        # Of two centers as far away, a product of float32 may tell the wrong one.
        assert (own <= sq_distances.min(axis=1) * (1 + 1e-4) + 2**-24 * size**2).all()
        before = now


@given(seed=st.integers(0, 2**32), spread=st.sampled_from(["even", "far", "apart"]))
@settings(deadline=None, max_examples=100)
def test_a_step_is_that_of_searching_every_row(seed, spread):
    data, start = problem(seed, spread)
    run = LloydRun(data, start)
    for _ in range(4):
        expected, all_filled = plain_step(data, run.centers)
        run.go_on(1, 0)
        if not all_filled:
            break
        np.testing.assert_allclose(run.centers, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("halts", [(1, 2, 4, 300), (300,), (0, 150, 150)])
def test_a_run_that_was_halted_ends_where_one_that_was_not_does(halts):
    rng = np.random.default_rng(0)
    data = WeightedRows(rng.normal(size=(3000, 3)).astype(np.float32), rng.uniform(1, 2, 3000))
    run = LloydRun(data, data.rows[:12])
    for n in halts:
        run.go_on(n, 0)
    whole = lloyd(data, data.rows[:12], max_iter=300, tol=0)
    assert run.clustering().inertia == pytest.approx(whole.inertia, rel=1e-6)


@pytest.mark.parametrize("n_workers", [2, 3])
def test_threads_change_no_bit(n_workers):
    rng = np.random.default_rng(0)
    data = WeightedRows(rng.normal(size=(40_000, 4)).astype(np.float32), rng.uniform(1, 2, 40_000))
    one = lloyd(data, data.rows[:30], max_iter=20, tol=0)
    more = lloyd(data, data.rows[:30], max_iter=20, tol=0, n_workers=n_workers)
    assert np.array_equal(one.centers, more.centers)
    assert one.inertia == more.inertia


def test_no_iteration_is_none():
    data = WeightedRows(np.float32([[0], [4]]), np.ones(2))
    centers, loss = lloyd(data, np.float32([[1]]), max_iter=0, tol=0)
    assert (centers.tolist(), loss) == ([[1]], 10)


def test_the_inertia_is_known_after_it_has_fallen_by_ten_orders():
    """Rows a million away leave their first center: what is left is less than they rounded off."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(2000, 4))
        rows[:5] += 1e6 * rng.normal(size=(5, 4))
        data = WeightedRows(rows.astype(np.float32), np.ones(2000))
        run = LloydRun(data, data.rows[rng.choice(2000, 8, replace=False)])
        assert run.go_on(300, 1e-4) == pytest.approx(run.clustering().inertia, rel=1e-3)


def test_a_heavy_row_that_leaves_a_cluster_takes_all_its_weight_along():
    """Sums in float64 keep 16 digits: beside a weight of 1e16, rows of weight 1 would be lost."""
    for seed in range(1412, 1500):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(6, 1)).astype(np.float32)
        data = WeightedRows(rows, np.array([1e16, 1e16, 1, 1, 1, 1]))
        start = rng.normal(size=(3, 1)).astype(np.float32) * 2
        run = LloydRun(data, start)
        run.go_on(50, 0)
        for j in np.unique(run._labels):
            own = run._labels == j
            mean = np.average(rows[own], axis=0, weights=data.weights[own])
            assert run._sums[j] / run._weights[j] == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("d", [1, 3, 30, 300])
def test_no_other_center_is_closer_than_said(d):
    rng = np.random.default_rng(d)
    for offset in (0, 1e4):
        rows = (rng.normal(size=(300, d)) + offset).astype(np.float32)
        centers = (rng.normal(size=(40, d)) + offset).astype(np.float32)
        centers[1] = centers[0]
        labels, distances, others = two_nearest_centers(rows, centers)
        gap = rows[:, None].astype(np.float64) - centers.astype(np.float64)
        exact = np.sqrt((gap**2).sum(axis=2))
        here = np.arange(300)
        np.testing.assert_allclose(exact[here, labels], exact.min(axis=1), rtol=1e-5)
        np.testing.assert_allclose(distances, exact[here, labels], rtol=1e-5)
        exact[here, labels] = np.inf
        assert (others <= exact.min(axis=1) * (1 + 1e-6)).all()


def test_beside_the_only_center_there_is_no_other():
    found = two_nearest_centers(np.float32([[3], [4]]), np.float32([[0]]))
    assert found.distances.tolist() == [3, 4]
    assert found.others.tolist() == [np.inf, np.inf]
    empty = two_nearest_centers(np.empty((0, 2), np.float32), np.zeros((3, 2), np.float32))
    assert [len(part) for part in empty] == [0, 0, 0]


def test_bounds_tell_centers_apart_at_any_scale():
    """At 1/10,000 of the usual scale as many rows need no second search as at the usual one."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4)).astype(np.float32)
    usual = two_nearest_centers(rows, rows[:20]).others
    tiny = np.float32(2**-13)
    found = two_nearest_centers(rows * tiny, rows[:20] * tiny).others
    np.testing.assert_allclose(found / tiny, usual, rtol=1e-3, atol=1e-3)


def test_rows_between_far_centers_are_not_lost_to_them():
    """A far center comes near, step by step: the bound of the far ones must tell in time."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 0.1, (400, 1)), rng.uniform(0, 60, (400, 1))])
    data = WeightedRows(rows.astype(np.float32), np.ones(800))
    start = np.float32([[-0.05], [0.0], [0.05], [60]])
    run = LloydRun(data, start)
    for _ in range(30):
        expected, _ = plain_step(data, run.centers)
        run.go_on(1, 0)
        # A row in the middle of two centers may go to either, in float32.
        np.testing.assert_allclose(run.centers, expected, atol=5e-3)


def test_a_run_that_cannot_reach_its_goal_is_given_up():
    rng = np.random.default_rng(0)
    data = WeightedRows(rng.normal(size=(9000, 3)).astype(np.float32), np.ones(9000))
    start = data.rows[:12]
    whole = lloyd(data, start, max_iter=300, tol=0)
    reached = lloyd(data, start, max_iter=300, tol=0, goal=1.2 * whole.inertia)
    given_up = lloyd(data, start, max_iter=300, tol=0, goal=0.5 * whole.inertia)
    assert lloyd(data, start, max_iter=0, tol=0).inertia > 1.2 * whole.inertia
    assert reached.inertia == whole.inertia
    assert given_up.inertia > 1.001 * whole.inertia
