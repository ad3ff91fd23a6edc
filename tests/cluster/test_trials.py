"""Trials of the last step: drawn, crossed, and ended where they are of no use."""

import itertools

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.trials import TrialSettings, crossed, make_trials


def settings(k, n_trials, n_workers=1):
    return TrialSettings(k, "k-means++", n_trials, max_iter=300, tol=1e-4, n_workers=n_workers)


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


def scattered(n=500, d=4, seed=0):
    """Rows with no clusters at all: there are as many local optima as one likes."""
    rng = np.random.default_rng(seed)
    return WeightedRows(rng.random((n, d)).astype(np.float32), rng.uniform(0.5, 2, n))


def inertia_of(data, centers):
    gap = data.rows.astype(np.float64)[:, None] - centers.astype(np.float64)
    return float((gap**2).sum(axis=2).min(axis=1) @ data.weights)


def test_a_center_of_a_crossing_is_of_either_and_none_of_the_second_twice():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 40, 3)).astype(np.float32)
    n_of_second = 0
    for seed in range(20):
        centers = crossed(first, second, np.random.default_rng(seed))
        of_second = (centers != first).any(axis=1)
        found = {tuple(row) for row in centers[of_second].tolist()}
        assert found <= {tuple(row) for row in second.tolist()}
        assert len(found) == of_second.sum()
        n_of_second += len(found)
    assert 100 < n_of_second < 400, "no more than half of 20 x 40, as some are closest to two"


def test_what_both_agree_on_stays():
    first = np.float32([[0], [10], [20]])
    assert np.array_equal(crossed(first, first[::-1].copy(), np.random.default_rng(0)), first)


@pytest.mark.parametrize("seed", range(3))
def test_crossing_finds_more_than_as_many_starts_do(seed):
    data = scattered(seed=seed)
    many = make_trials(data, settings(60, 60), rngs(60, seed))
    starts = [make_trials(data, settings(60, 10), rngs(10, 100 + i)).best[0] for i in range(6)]
    assert len(many.inertias) > 30
    assert many.best[0].inertia < min(start.inertia for start in starts)
    assert many.best[0].inertia == pytest.approx(inertia_of(data, many.best[0].centers), rel=1e-5)


def test_the_best_are_in_order_and_differ():
    data = scattered()
    trials = make_trials(data, settings(30, 40), rngs(40))
    inertias = [clustering.inertia for clustering in trials.best]
    assert inertias == sorted(inertias)
    assert inertias[0] == min(trials.inertias)
    assert all(b > a * (1 + 1e-5) for a, b in itertools.pairwise(inertias))
    assert 2 <= len(inertias) <= 10


def test_trials_end_when_three_agree():
    rng = np.random.default_rng(0)
    means = np.repeat(rng.normal(0, 50, (30, 3)), 10, axis=0)
    rows = (means + rng.normal(size=means.shape)).astype(np.float32)
    trials = make_trials(WeightedRows(rows, np.ones(300)), settings(30, 60), rngs(60))
    assert len(trials.inertias) == 10


def test_trials_end_when_two_rounds_of_ten_better_nothing(monkeypatch):
    monkeypatch.setattr("onepass.cluster.trials.crossed", lambda first, *_: first)
    monkeypatch.setattr("onepass.cluster.trials._AGREEING", 1000)
    monkeypatch.setattr("onepass.cluster.trials._SWAPS_CROSSED", 0)
    assert len(make_trials(scattered(), settings(60, 60), rngs(60)).inertias) == 30


@pytest.mark.parametrize(("k", "n_drawn"), [(20, 20), (21, 10)])
def test_so_many_trials_and_no_more_start_from_rows_drawn(monkeypatch, k, n_drawn):
    def refuse(*_):
        raise AssertionError("crossed")

    monkeypatch.setattr("onepass.cluster.trials.crossed", refuse)
    monkeypatch.setattr("onepass.cluster.trials._AGREEING", 1000)
    assert len(make_trials(scattered(), settings(k, n_drawn), rngs(n_drawn)).inertias) == n_drawn
    with pytest.raises(AssertionError, match="crossed"):
        make_trials(scattered(), settings(k, n_drawn + 1), rngs(n_drawn + 1))


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr("onepass.cluster.workers._LONG_CALL", 0)
    alone, together = (
        make_trials(scattered(), settings(30, 40, n_workers), rngs(40)) for n_workers in (1, 3)
    )
    assert alone.inertias == together.inertias
    assert np.array_equal(alone.best[0].centers, together.best[0].centers)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_few_rows_of_which_all_or_one_is_a_center(k):
    data = WeightedRows(np.arange(6, dtype=np.float32)[:, None], np.ones(6))
    trials = make_trials(data, settings(k, 60), rngs(60))
    assert trials.best[0].inertia == {1: 17.5, 2: 4, 6: 0}[k]


def test_equal_rows():
    data = WeightedRows(np.full((50, 2), 3, np.float32), np.ones(50))
    trials = make_trials(data, settings(25, 60), rngs(60))
    assert trials.best[0].inertia == 0
    assert np.array_equal(trials.best[0].centers, np.full((25, 2), 3, np.float32))
