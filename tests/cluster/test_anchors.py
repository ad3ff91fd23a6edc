"""What anchors tell of rows is true, and spares searches."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.cluster.anchors import Anchors, at_rest
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels import cpu, refining
from onepass.cluster.lloyd import LloydRun


def drawn(n, d, n_points, spread, seed=0):
    """Rows around points that are not all among the closest of the rows, as in a summary."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 10, (n_points, d)).astype(np.float32)
    labels = rng.integers(n_points, size=n).astype(np.int32)
    rows = points[labels] + rng.normal(0, spread, (n, d)).astype(np.float32)
    return WeightedRows(rows.astype(np.float32), rng.uniform(0.5, 2, n)), points, labels


def test_a_row_close_to_an_anchor_has_its_center():
    """Anchor 0, centers 1 and 9. Row 3 has 9 no closer than 6; row 6 is closer to 9 than to 1."""
    rows, points = np.float32([[3], [6]]), np.float32([[0]])
    centers = np.float32([[9], [1]])
    anchors = Anchors.of(rows, points, np.zeros(2, np.int32))
    assert anchors.distances.tolist() == [3, 6]
    bounds = anchors.bounds(cpu.two_nearest_centers(points, centers))
    assert bounds.labels.tolist() == [1, 1]
    assert bounds.lower == pytest.approx([6, 3], rel=1e-3)
    crossed = refining.loosen(rows, centers, bounds, at_rest(centers))
    assert crossed.rows.tolist() == [1]
    assert bounds.upper == pytest.approx([2, 5])


@pytest.mark.parametrize("spread", [0.1, 3, 30])
@pytest.mark.parametrize("d", [1, 2, 17, 100])
def test_runs_with_anchors_start_as_those_without(d, spread):
    data, points, labels = drawn(9000, d, 60, spread)
    centers = data.rows[:20]
    anchors = Anchors.of(data.rows, points, labels)
    told, untold = LloydRun(data, centers, anchors=anchors), LloydRun(data, centers)
    exact = cpu.nearest_centers_in_double(data.rows, centers).sq_distances
    assert told.clustering().inertia == pytest.approx(float(exact @ data.weights), rel=1e-5)
    for run in (told, untold):
        run.go_on(300, 0.0)
    assert told.clustering().inertia == pytest.approx(untold.clustering().inertia, rel=1e-5)


@pytest.mark.parametrize("kernels", ["native", "reference"])
def test_close_anchors_spare_the_search(monkeypatch, kernels):
    """Where rows lie close to their anchors, and those far apart, no row is searched."""
    monkeypatch.setattr(cpu, "kernels", lambda: getattr(cpu, kernels))
    data, points, labels = drawn(9000, 16, 10, 0.1)
    anchors = Anchors.of(data.rows, points, labels)
    searched = []
    search = LloydRun._search
    monkeypatch.setattr(
        LloydRun, "_search", lambda run, rows: (searched.append(len(rows)), search(run, rows))
    )
    run = LloydRun(data, points.copy(), anchors=anchors)
    assert searched == [0]
    exact = cpu.nearest_centers_in_double(data.rows, points).labels
    assert np.array_equal(run._labels, exact)


def test_anchors_of_a_part_are_those_of_its_rows():
    data, points, labels = drawn(20, 3, 4, 1)
    part = Anchors.of(data.rows, points, labels).part(slice(None, None, 4))
    whole = Anchors.of(data.rows[::4], points, labels[::4])
    assert np.array_equal(part.labels, whole.labels)
    assert np.array_equal(part.distances, whole.distances)
