"""How the summary corrects the sample, and what is known of the result."""

import threading

import numpy as np
import pytest

from onepass.cluster import finish as finish_module
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.core_set import CoreSet, calibrate, estimate_msd, measure_rows
from onepass.cluster.finish import _thin, finish, finish_each
from onepass.cluster.kernels import compiled
from onepass.cluster.offers import Sample
from onepass.cluster.summary import Summary
from onepass.cluster.trials import TrialSettings


def sample_of(rows, weights, strata):
    rows = np.array(rows, np.float32)[:, None]
    return Sample(rows, np.array(weights, float), np.array(strata, np.int32))


def test_weights_and_means_of_the_strata_are_those_of_the_summary():
    summary = WeightedRows(np.float32([[10], [20], [70]]), np.array([6.0, 3.0, 4.0]))
    sample = sample_of([8, 9, 21], [1, 1, 1], [0, 0, 1])
    (rows, weights), strata = calibrate(summary, sample, np.ones(len(sample.rows), bool))
    assert rows[:, 0].tolist() == [9.5, 10.5, 20, 70]
    assert weights.tolist() == [3, 3, 3, 4]
    assert strata.tolist() == [0, 0, 1, 2]


def test_the_sample_itself_is_not_changed():
    summary = WeightedRows(np.float32([[10]]), np.array([6.0]))
    sample = sample_of([8, 9], [1, 1], [0, 0])
    calibrate(summary, sample, np.ones(len(sample.rows), bool))
    assert sample.rows[:, 0].tolist() == [8, 9]


def test_the_estimate_is_exact_where_no_stratum_is_cut():
    """Rows 0, 2 and 10, 14 in two strata, one center each: 1 + 1 + 4 + 4 over four rows."""
    summary = Summary(4, 1)
    rows = np.float32([[1], [12]])
    summary._append(rows, np.array([2.0, 2.0]), rows * 2.0, np.array([2.0, 8.0]))
    sample = sample_of([0, 10], [2, 2], [0, 1])
    fitted = np.zeros(2, bool)
    value, error = estimate_msd(summary, sample, fitted, np.float32([[1], [12]]))
    assert value == 2.5
    assert error == 2.5 / 2, "no row of two gains anything; one in two still may"


def test_what_rows_gain_by_a_closer_center_is_estimated_from_the_sample():
    """One stratum of mean 0; centers at -1 and 4: row 3 gains (3 + 1)^2 - (4 - 3)^2 = 15."""
    summary = Summary(4, 1)
    rows = np.float32([[0]])
    summary._append(rows, np.array([4.0]), rows * 4.0, np.array([36.0]))
    sample = sample_of([-3, 3], [1, 1], [0, 0])
    fitted = np.zeros(2, bool)
    value, error = estimate_msd(summary, sample, fitted, np.float32([[-1], [4]]))
    assert value == (36 + 4 * 1 - 2 * 15) / 4
    assert error == pytest.approx(np.hypot(2 * 15, (36 + 4 - 30) / 2) / 4)


@pytest.mark.parametrize("seed", range(10))
def test_one_trial_leaves_no_center_where_two_share_a_cluster(seed):
    """Three pairs, one trial from random rows: Lloyd's iterations alone stand still in some."""
    data = WeightedRows(np.float32([[0], [2], [40], [42], [80], [82]]), np.ones(6))
    settings = TrialSettings(3, "random", n_trials=1, max_iter=50, tol=0, n_workers=1)
    core_set = CoreSet(data, np.arange(6, dtype=np.int32))
    finished = finish(data, core_set, settings, np.random.SeedSequence(seed))
    assert sorted(finished.centers[:, 0].tolist()) == [1, 41, 81]


def test_more_clusters_cost_no_more_on_the_core_set(monkeypatch):
    """Trials of three are misled to where no row is; the centers of two are gone on with."""
    rows = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    data = WeightedRows(rows, np.ones(200))
    core_set = CoreSet(data, np.arange(200, dtype=np.int32))
    two = TrialSettings(2, "random", n_trials=1, max_iter=0, tol=0, n_workers=1)
    made = finish_module.from_neighbours

    def misled(found):
        first, second = made(found)
        [*_, worst] = second.trials.best
        away = second.trials._replace(best=[worst._replace(centers=worst.centers + 1e3)])
        return [first, second._replace(trials=away)]

    monkeypatch.setattr(finish_module, "from_neighbours", misled)
    each = [two, two._replace(n_clusters=3)]
    fewer, more = finish_each(data, core_set, each, np.random.SeedSequence(0))
    costs = [measure_rows(data, one.centers).value for one in (fewer, more)]
    assert costs[1] < costs[0]


@pytest.mark.parametrize("longest", [1, 6])
def test_numbers_of_clusters_are_tried_side_by_side(monkeypatch, longest):
    """Those that take longest first; neither threads nor their order change what comes out."""
    rows = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    core_set = CoreSet(WeightedRows(rows, np.ones(200)), np.arange(200, dtype=np.int32))
    made = finish_module.make_trials
    seen = []

    def noted(data, settings, rngs):
        seen.append((settings.n_clusters, threading.current_thread().name))
        return made(data, settings, rngs)

    monkeypatch.setattr(finish_module, "make_trials", noted)

    def finished(n_workers):
        seen.clear()
        usual = TrialSettings(longest, "k-means++", n_trials=12, max_iter=9, tol=0, n_workers=1)
        usual = usual._replace(n_workers=n_workers)
        quick = [
            usual._replace(n_clusters=k, n_trials=3, is_quick=True)
            for k in range(1, 7)
            if k != longest
        ]
        each = sorted([usual, *quick], key=lambda settings: settings.n_clusters)
        return list(finish_each(core_set.data, core_set, each, np.random.SeedSequence(0)))

    alone = finished(1)
    assert {name for _, name in seen} == {threading.main_thread().name}
    together = finished(2)
    if compiled.is_compiled():  # threads of NumPy's short calls would wait for one another
        assert threading.main_thread().name not in {name for _, name in seen}
        assert {k for k, _ in seen[:2]} <= {longest, 6, 5}
    assert [len(one.centers) for one in together] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.centers, other.centers)
        assert one.trial_msds == other.trial_msds


def test_trials_are_made_on_a_few_rows_where_the_summary_has_too_few_centers():
    """Rows of a cluster that outweighs the other a thousand times are drawn as much oftener."""
    rows = np.float32([[0]] * 5000 + [[1]] * 5000)
    data = WeightedRows(rows, np.repeat([1000.0, 1.0], 5000))
    thin = _thin(data, 2000, np.random.default_rng(0))
    assert len(thin.rows) == 2000
    assert thin.weights.sum() == pytest.approx(data.weights.sum())
    assert 0 <= thin.rows.sum() < 20
    assert _thin(data, 10_000, np.random.default_rng(0)) is data


def test_rows_are_measured_by_weight():
    data = WeightedRows(np.float32([[0], [3]]), np.array([3.0, 1.0]))
    assert measure_rows(data, np.float32([[1]])) == ((3 * 1 + 4) / 4, 0)
