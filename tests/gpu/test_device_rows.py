"""The last step, and the first, on a GPU: what is made of rows that are there."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.cluster import device_finish, device_lloyd
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.core_set import CoreSet
from onepass.cluster.device_finish import DeviceWorkshop
from onepass.cluster.device_rows import DeviceRows
from onepass.cluster.finish import HostWorkshop
from onepass.cluster.lloyd import lloyd
from onepass.cluster.trials import TrialSettings


def data_of(n, d, k, seed=0, spread=0.7):
    rng = np.random.default_rng([n, d, k, seed])
    means = rng.normal(50, 4, (k, d))
    rows = (means[rng.integers(k, size=n)] + spread * rng.normal(size=(n, d))).astype(np.float32)
    return WeightedRows(rows, rng.random(n) + 0.25)


def inertia_of(data, centers):
    apart = ((data.rows[:, None].astype(float) - centers) ** 2).sum(axis=2)
    return apart.min(axis=1) @ data.weights


def settings(k, **named):
    return TrialSettings(k, "k-means++", 3, 50, 1e-4, 1)._replace(**named)


@pytest.mark.parametrize(("n", "d", "k"), [(300, 3, 4), (500, 20, 9), (200, 70, 3), (40, 2, 40)])
def test_iterations_reach_what_the_processor_reaches(device, n, d, k):
    data = data_of(n, d, k)
    start = data.rows[:k]
    ours = device_lloyd.lloyd(DeviceRows.of(device, data), start, max_iter=60, tol=1e-6)
    theirs = lloyd(data, start, max_iter=60, tol=1e-6)
    assert ours.inertia == pytest.approx(theirs.inertia, rel=1e-3, abs=1e-3)
    assert ours.inertia == pytest.approx(inertia_of(data, ours.centers), rel=1e-4, abs=1e-3)
    assert ours.centers.dtype == np.float32


def test_it_stops_when_little_is_gained_or_the_goal_is_out_of_reach(device):
    data = data_of(400, 4, 6, spread=3)
    rows, start = DeviceRows.of(device, data), data.rows[:6]
    reached = [device_lloyd.lloyd(rows, start, max_iter=n, tol=0).inertia for n in (0, 1, 2, 5, 60)]
    assert reached == sorted(reached, reverse=True)
    assert len(set(reached)) == 5
    assert reached[0] == pytest.approx(inertia_of(data, start), rel=1e-4)
    for early in ({"tol": 0.9}, {"tol": 0, "goal": 0.0}):
        found = device_lloyd.lloyd(rows, start, max_iter=60, **early)
        assert found.inertia > reached[-1]


def test_centers_without_rows_go_to_the_rows_that_cost_most(device):
    data = data_of(200, 3, 2)
    data.rows[7] = 400
    start = np.concatenate([data.rows[:2], np.full((2, 3), -1e4, np.float32)])
    found = device_lloyd.lloyd(DeviceRows.of(device, data), start, max_iter=50, tol=0)
    assert (found.centers == 400).all(axis=1).any()
    assert (found.centers > -100).all()


@pytest.mark.parametrize("seeding", ["random", "k-means++"])
def test_starts_are_different_rows(device, seeding):
    data = data_of(300, 3, 5)
    rows = DeviceRows.of(device, data)
    rng = np.random.default_rng(3)
    found = device_lloyd.choose_centers(rows, data.weights, 20, seeding, rng)
    known = {row.tobytes() for row in np.round(data.rows, 3)}
    assert {row.tobytes() for row in np.round(found, 3)} <= known
    assert len(np.unique(found, axis=0)) == 20


def test_starts_are_as_many_as_asked_for_where_rows_are_the_same(device):
    rows = np.repeat(np.float32([[1, 2], [3, 4]]), 10, axis=0)
    there = DeviceRows.of(device, WeightedRows(rows, np.ones(20)))
    rng = np.random.default_rng(3)
    found = device_lloyd.choose_centers(there, np.ones(20), 5, "k-means++", rng)
    assert found.shape == (5, 2)
    assert len(np.unique(found, axis=0)) == 2


def test_every_third_row(device):
    data = data_of(50, 3, 2)
    some = DeviceRows.of(device, data).every(3)
    assert len(some) == 17
    few = WeightedRows(data.rows[::3], data.weights[::3])
    found = device_lloyd.lloyd(some, data.rows[:2], max_iter=0, tol=0)
    assert found.inertia == pytest.approx(inertia_of(few, data.rows[:2]), rel=1e-4)


class TestWorkshop:
    """Where there is enough to do, the device does it."""

    def test_trials(self, device, monkeypatch):
        data, wanted = data_of(200, 3, 4), settings(4)
        rngs = [np.random.default_rng(i) for i in range(6)]
        on_host = DeviceWorkshop(device).trials(data, wanted, rngs)
        assert (
            on_host.inertias
            == HostWorkshop()
            .trials(data, wanted, [np.random.default_rng(i) for i in range(6)])
            .inertias
        )
        monkeypatch.setattr(device_finish, "_WORTH_TRIALS", 0)
        there = DeviceWorkshop(device).trials(data, wanted, rngs)
        assert len(there.inertias) == 4
        assert there.best[0].inertia == min(there.inertias)
        assert there.best[0].inertia == pytest.approx(on_host.best[0].inertia, rel=0.02)

    def test_refinement(self, device, monkeypatch):
        data = data_of(400, 3, 4)
        core_set = CoreSet(data, np.zeros(400, np.int32))
        start, points = data.rows[:4], data.rows[:1]
        on_host = HostWorkshop().refinement(core_set, points, settings(4))
        assert type(DeviceWorkshop(device).refinement(core_set, points, settings(4))) is type(
            on_host
        )
        monkeypatch.setattr(device_finish, "_WORTH_REFINING", 0)
        there = DeviceWorkshop(device).refinement(core_set, points, settings(4))
        assert type(there) is not type(on_host)
        reached = [where.run(start, np.inf).inertia for where in (there, on_host)]
        assert reached[0] == pytest.approx(reached[1], rel=1e-3)
        assert there.try_out(start, 1).inertia > reached[0]
