"""What a summary promises: mass and mean kept exactly, openings as if rows came one by one."""

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.cluster.summary import Summary
from onepass.cluster.ward import cheapest_partners, cheapest_unions


def weighted(rows, weights=None):
    return WeightedRows(rows, np.ones(len(rows)) if weights is None else weights)


def stream(n=20_000, d=5, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 10, (30, d))
    return (means[rng.integers(0, 30, n)] + rng.normal(size=(n, d))).astype(np.float32)


def summarise(rows, capacity, weights=None, batch=1000):
    summary = Summary(capacity, rows.shape[1])
    rng = np.random.default_rng(0)
    weights = np.ones(len(rows)) if weights is None else weights
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        data = WeightedRows(rows[part], weights[part])
        if len(summary):
            summary.absorb(data, rng)
        else:
            summary.start(data, "k-means++", rng)
        if summary.overfull():
            summary.consolidate()
    return summary


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_weight_and_mean_of_the_stream_are_kept(order):
    rows = stream()
    if order == "sorted":
        rows = rows[np.argsort(rows[:, 0])]
    summary = summarise(rows, 60)
    assert len(summary) <= 60
    assert summary.weights.sum() == pytest.approx(len(rows), rel=1e-12)
    mean = summary.weights @ summary.centers / summary.weights.sum()
    np.testing.assert_allclose(mean, rows.mean(axis=0, dtype=np.float64), atol=1e-5)


def test_a_row_of_weight_three_counts_as_three_rows():
    rows = stream(3000)
    summary = summarise(rows, 50, np.full(len(rows), 3.0))
    assert summary.weights.sum() == pytest.approx(9000)


def test_rows_that_fit_become_centers_of_their_own():
    rows = np.array([[0], [5], [9]], np.float32)
    summary = Summary(10, 1)
    labels, sq_distances = summary.start(weighted(rows), "random", np.random.default_rng(0))
    assert summary.centers.tolist() == rows.tolist()
    assert (labels.tolist(), sq_distances.tolist()) == ([0, 1, 2], [0, 0, 0])


def test_a_far_row_always_opens_a_center():
    rows = stream(3000)
    summary = summarise(rows, 60)
    before = len(summary)
    far = np.full((1, 5), 1e4, np.float32)
    labels, _ = summary.absorb(weighted(far), np.random.default_rng(1))
    assert len(summary) == before + 1
    assert summary.centers[labels[0]].tolist() == far[0].tolist()


def test_equal_rows_never_open_a_center():
    points = np.float32([[1.1, 2.2], [-7.3, 0.1], [1e3, 1e-3]])
    summary = summarise(np.tile(points, (5000, 1)), 20)
    assert len(summary) == 3
    np.testing.assert_allclose(np.sort(summary.centers, axis=0), np.sort(points, axis=0), rtol=1e-5)


def test_openings_are_those_of_rows_coming_one_by_one():
    """The rule applied row by row, with the same coins, opens the same rows."""
    rows = stream(4300)
    summary, batch = summarise(rows[:4000], 200), rows[4000:]
    coins = 1.0 - np.random.default_rng(5).random(len(batch))
    price = summary.service_cost / summary.capacity
    left = nearest_centers(batch, summary.centers).sq_distances.astype(np.float64)
    expected = []
    for i in range(len(batch)):
        if left[i] > coins[i] * price:
            expected.append(i)
            left = np.minimum(left, ((batch - batch[i]) ** 2).sum(axis=1))
    assert 0 < len(expected) < summary._max_openings
    before = len(summary)
    labels, sq_distances = summary.absorb(weighted(batch), np.random.default_rng(5))
    assert len(summary) - before == len(expected)
    assert not sq_distances[expected].any()
    assert sorted(labels[expected].tolist()) == list(range(before, before + len(expected)))


def test_centers_merged_over_several_rounds_are_followed_to_the_end():
    """Sixteen centers become three: more than the third that one round may unite."""
    summary = Summary(4, 1)
    rows = np.array([[20 * (i % 3) + i / 100] for i in range(16)], np.float32)
    weights = np.arange(1.0, 17.0)
    summary._append(rows, weights, rows * weights[:, None], np.zeros(16))
    mapping = summary.consolidate()
    assert len(summary) == 3
    for i in range(16):
        assert abs(summary.centers[mapping[i], 0] - 20 * (i % 3)) < 1
    expected = np.bincount(mapping, weights, 3)
    np.testing.assert_allclose(summary.weights, expected)
    mean = np.bincount(mapping, weights * rows[:, 0], 3) / expected
    scatter = np.bincount(mapping, weights * (rows[:, 0] - mean[mapping]) ** 2, 3)
    np.testing.assert_allclose(summary.scatter, scatter, rtol=1e-4)


def test_scatter_is_that_of_the_rows_about_their_means():
    rows = stream(3000)
    summary = Summary(40, 5)
    rng = np.random.default_rng(0)
    labels = np.concatenate([
        summary.start(weighted(rows[:1000]), "random", rng).labels,
        summary.absorb(weighted(rows[1000:2000]), rng).labels,
        summary.absorb(weighted(rows[2000:]), rng).labels,
    ])  # fmt: skip
    for j in range(len(summary)):
        own = rows[labels == j].astype(np.float64)
        expected = ((own - own.mean(axis=0)) ** 2).sum()
        assert summary.scatter[j] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_new_region_opens_as_many_centers_as_it_needs_at_once():
    """Far from all that is known, one opening must not be taken for eight."""
    rng = np.random.default_rng(0)
    far = rng.normal(1e5, 0.02, (5000, 4)).astype(np.float32)
    means = rng.normal(0, 1, (8, 4))
    near = (means[rng.integers(0, 8, 5000)] + rng.normal(0, 0.02, (5000, 4))).astype(np.float32)
    summary = Summary(500, 4)
    summary.start(weighted(far), "k-means++", rng)
    sq_distances = summary.absorb(weighted(near), rng).sq_distances
    assert sq_distances.mean() < 0.01


def test_merging_says_where_centers_went():
    summary = Summary(3, 1)
    rows = np.array([[0], [20], [1], [23]], np.float32)
    weights = np.array([1.0, 2.0, 3.0, 1.0])
    summary._append(rows, weights, rows * weights[:, None], np.zeros(len(rows)))
    assert summary.overfull()
    mapping = summary.consolidate()
    assert mapping[0] == mapping[2] != mapping[1] == mapping[3]
    assert summary.centers[mapping[[0, 1]], 0].tolist() == [0.75, 21.0]
    assert summary.weights[mapping[[0, 1]]].tolist() == [4.0, 3.0]


def test_the_cheapest_pair_by_wards_cost_is_merged_first():
    """Uniting 0 and 1 (weights 1, 1) costs 1/2; uniting 10 and 12 (weights 9, 9) costs 18."""
    rows = np.array([[0], [1], [10], [12], [100]], np.float32)
    weights = np.array([1.0, 1.0, 9.0, 9.0, 5.0])
    into = cheapest_unions(*cheapest_partners(rows, weights, np.arange(5)), weights, 1)
    assert into[0] == into[1]
    assert into[2:].tolist() == [2, 3, 4]
