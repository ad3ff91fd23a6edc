"""Final centers where somebody waits: as good as they get until then."""

import time
from functools import partial

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.deadline import Deadline
from onepass.cluster.lloyd import lloyd


class Looks(Deadline):
    """Passes when it has been looked at so many times."""

    def __init__(self, n):
        super().__init__()
        self.n_left = n

    def _look(self):
        self.n_left -= 1
        return self.n_left < 0

    is_half_past = is_past = property(_look)


@pytest.fixture(scope="module")
def rows():
    """60,000 rows of 6 features, of which no summary of 300 centers tells which are alike."""
    return np.random.default_rng(1).normal(size=(60_000, 6)).astype(np.float32)


@pytest.fixture
def taken(rows):
    return KMeans(100, center_factor=3, random_state=5).partial_fit(rows)


def msd(kmeans, rows):
    return -kmeans.score(rows) / len(rows)


def test_half_of_the_time_passes_before_all_of_it():
    deadline = Deadline()
    assert not deadline.is_half_past
    deadline.set(0)
    assert deadline.is_half_past
    assert deadline.is_past
    deadline.set(0.2)
    time.sleep(0.11)
    assert deadline.is_half_past
    deadline.set(1000)
    assert not deadline.is_half_past


def test_one_that_has_passed_leaves_one_trial_and_centers_of_use(taken, rows):
    hurried = msd(taken.finalize(Deadline(0)), rows)
    assert len(taken.trial_msds_) == 1
    assert np.isfinite(taken.cluster_centers_).all()
    at_leisure = msd(taken.finalize(), rows)
    assert len(taken.trial_msds_) > 1
    assert at_leisure <= hurried < 1.05 * at_leisure
    assert taken.msd_ == pytest.approx(at_leisure, rel=0.01)


def test_one_that_is_far_changes_nothing(taken):
    centers = taken.finalize().cluster_centers_.copy()
    np.testing.assert_array_equal(taken.finalize(Deadline(3600)).cluster_centers_, centers)


@pytest.mark.parametrize("n_trials", [1, 3, 10, 12])
def test_what_has_been_tried_by_then_counts(taken, monkeypatch, n_trials):
    monkeypatch.setattr("onepass.cluster.kmeans.available_cpus", lambda: 1)
    taken.finalize(Looks(n_trials))
    assert len(taken.trial_msds_) == n_trials
    assert len(np.unique(taken.cluster_centers_, axis=0)) == 100


def test_iterations_end_with_it(rows):
    data = WeightedRows(rows, np.ones(len(rows)))
    run = partial(lloyd, data, rows[:50], tol=0)
    for n in range(3):
        hurried = run(max_iter=100, deadline=Looks(n))
        expected = run(max_iter=n + 1)
        np.testing.assert_array_equal(hurried.centers, expected.centers)
        assert hurried.inertia == expected.inertia
