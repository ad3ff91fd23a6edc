"""A search that passes centers over finds what a search among all finds."""

from __future__ import annotations

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels import compiled, cpu, native, reference, refining
from onepass.cluster.pivots import Pivots

LANES = compiled.all_lanes() if compiled.is_compiled() else []
compiled = pytest.mark.skipif(not LANES, reason="the kernels were not compiled")


def clustered(n, n_centers, d, n_clusters, spread, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 10, (n_clusters, d))

    def drawn(m):
        return (means[rng.integers(n_clusters, size=m)] + rng.normal(0, spread, (m, d))).astype(
            np.float32
        )

    return drawn(n), drawn(n_centers)


def check(rows, centers, pivots, lanes=None):
    found, n_looked = native.search_by_pivots(rows, centers, rows.mean(0), pivots, lanes)
    exact = cpu.nearest_centers_in_double(rows, centers).sq_distances
    scale = 1e-5 * float(np.abs(rows - rows.mean(0)).max() ** 2 * rows.shape[1] + 1e-30)
    assert found.sq_distances == pytest.approx(exact, rel=1e-5, abs=scale)
    chosen = reference.sq_distances_to(rows, centers, found.labels)
    assert found.sq_distances == pytest.approx(chosen, rel=1e-5, abs=1e-12)
    return n_looked


@compiled
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("spread", [0.01, 1, 10])
@pytest.mark.parametrize(
    ("n", "n_centers", "d", "n_pivots"),
    [(1, 1, 1, 1), (7, 3, 2, 3), (100, 40, 3, 1), (999, 100, 13, 16), (500, 333, 40, 80)],
)
def test_the_closest_centers_are_found(n, n_centers, d, n_pivots, spread, lanes):
    rows, centers = clustered(n, n_centers, d, 12, spread)
    pivots = np.random.default_rng(1).choice(n_centers, n_pivots, replace=False)
    check(rows, centers, pivots, lanes)


@compiled
def test_far_rows_are_searched_among_all_centers():
    """Twice as far from their pivot as they are lie all centers: none can be passed over."""
    rows, centers = clustered(600, 100, 5, 10, 1)
    rows[::3] *= 1000
    n_looked = check(rows, centers, np.arange(20))
    assert n_looked > 200 * 100


@compiled
def test_centers_far_from_pivots_are_passed_over():
    rows, centers = clustered(5000, 400, 20, 25, 1)
    pivots = refining.plus_plus(
        WeightedRows(centers, np.ones(400)), 40, 1, np.random.default_rng(0).random(40)
    )
    assert check(rows, centers, pivots) < 0.3 * 5000 * 400


@compiled
def test_rows_that_lie_on_centers_and_centers_that_lie_on_one_another():
    rng = np.random.default_rng(3)
    centers = rng.integers(0, 3, (200, 4)).astype(np.float32)
    rows = rng.integers(0, 3, (700, 4)).astype(np.float32)
    check(rows, centers, np.arange(0, 200, 10))
    check(rows[:1].repeat(50, axis=0), centers[:1].repeat(30, axis=0), np.arange(5))


@compiled
def test_no_rows_need_no_pivots():
    found, n_looked = native.search_by_pivots(
        np.empty((0, 3), np.float32), np.ones((5, 3), np.float32), np.zeros(3, np.float32), [0]
    )
    assert (len(found.labels), n_looked) == (0, 0)


@compiled
def test_pivots_that_are_no_centers_are_refused():
    rows, centers = clustered(10, 5, 3, 2, 1)
    for pivots in ([], [-1], [5]):
        with pytest.raises(ValueError, match="pivots"):
            native.search_by_pivots(rows, centers, rows[0], np.array(pivots, np.int64))


def searched(pivots, d, n_clusters, rounds=6):
    """Let pivots learn from data drawn around so many points."""
    for seed in range(rounds):
        rows, centers = clustered(5000, 400, d, n_clusters, 1, seed)
        pivots.choose(centers, np.ones(len(centers)))
        found = pivots.nearest(rows, centers)
        exact = cpu.nearest_centers(rows, centers)
        # Of centers that float32 does not tell apart, either may be named.
        assert found.sq_distances == pytest.approx(exact.sq_distances, rel=1e-6)
        assert (found.labels != exact.labels).mean() < 1e-3


@compiled
def test_where_clusters_are_more_than_pivots_more_are_tried():
    pivots = Pivots(400, 20)
    searched(pivots, 20, 10)
    few = pivots.n_chosen
    pivots = Pivots(400, 20)
    searched(pivots, 20, 90)
    assert 0 < few < pivots.n_chosen <= 100


def test_where_there_are_no_clusters_pivots_are_given_up():
    pivots = Pivots(400, 100)
    rng = np.random.default_rng(0)
    rows, centers = (rng.normal(size=(n, 100)).astype(np.float32) for n in (5000, 400))
    used = []
    for _ in range(40):
        pivots.choose(centers, np.ones(400))
        used.append(pivots.n_chosen > 0)
        pivots.nearest(rows, centers)
    assert any(used[:2])
    assert 1 < sum(used) < 8, "tried again, and more and more rarely"


def test_rows_of_few_features_are_searched_among_all_centers():
    pivots = Pivots(400, 3)
    searched(pivots, 3, 10, rounds=2)
    assert not pivots.n_chosen


@compiled
def test_pivots_change_no_result(monkeypatch):
    rows, _ = clustered(60_000, 1, 16, 30, 1)
    with_pivots = KMeans(10).fit(rows)
    monkeypatch.setattr("onepass.cluster.pivots._LEAST_FEATURES", 1000)
    without = KMeans(10).fit(rows)
    assert with_pivots._stream._stream.summary._search.n_chosen > 0
    assert not without._stream._stream.summary._search.n_chosen
    centers = with_pivots.cluster_centers_, without.cluster_centers_
    np.testing.assert_allclose(*centers, rtol=1e-5)  # a row as close to two may go to either
