"""Nearest-center search and accumulation against what NumPy computes directly in float64."""

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.kernels import compiled, cpu, native, reference
from onepass.cluster.kernels.cpu import accumulate, nearest_centers


def brute_force(rows, centers):
    gaps = rows[:, None].astype(np.float64) - centers[None].astype(np.float64)
    return (gaps**2).sum(axis=2)


@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (7, 3, 2), (5000, 300, 26), (70, 1000, 400)])
def test_each_row_gets_its_closest_center(n, k, d):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    centers = rng.normal(size=(k, d)).astype(np.float32)
    expected = brute_force(rows, centers)
    labels, sq_distances = nearest_centers(rows, centers)
    chosen = expected[np.arange(n), labels]
    np.testing.assert_allclose(chosen, expected.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(sq_distances, chosen, rtol=1e-5)
    assert labels.dtype == np.int32


def test_equally_close_centers_give_the_lowest_index():
    rows = np.zeros((3, 2), np.float32)
    centers = np.array([[0, 2], [1, 0], [-1, 0], [0, 1]], np.float32)
    assert nearest_centers(rows, centers).labels.tolist() == [1, 1, 1]


def test_a_row_on_a_center_is_at_distance_zero_exactly():
    centers = np.random.default_rng(1).normal(100, 1, (50, 30)).astype(np.float32)
    labels, sq_distances = nearest_centers(centers, centers)
    assert labels.tolist() == list(range(50))
    assert not sq_distances.any()


def test_sums_and_weights_of_each_cluster():
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    sums, weights = accumulate(rows, np.array([1, 1, 2], np.int32), 4)
    assert sums.tolist() == [[0, 0], [4, 6], [5, 6], [0, 0]]
    assert weights.tolist() == [0, 2, 1, 0]


def test_weights_count_rows_more_than_once():
    rows = np.array([[1], [10]], np.float32)
    sums, weights = accumulate(rows, np.zeros(2, np.int32), 1, np.array([2.0, 0.5]))
    assert (sums.tolist(), weights.tolist()) == ([[7.0]], [2.5])


def test_sums_do_not_stop_at_two_to_the_24():
    """A float32 counter stands still at 16,777,216: adding 1 changes it no more."""
    n = 2**24 + 1000
    sums, weights = accumulate(np.ones((n, 1), np.float32), np.zeros(n, np.int32), 1)
    assert (sums[0, 0], weights[0]) == (n, n)


WIDTHS = compiled.all_lanes() if compiled.is_compiled() else []
needs_compiled = pytest.mark.skipif(not WIDTHS, reason="native.c was not compiled: no compiler")


@needs_compiled
@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("d", [1, 2, 15, 16, 33])
@pytest.mark.parametrize("k", [1, 2, 15, 17, 32, 100])
@pytest.mark.parametrize("n", [1, 5, 6, 13, 600])
def test_every_width_of_vectors_finds_what_numpy_finds(lanes, n, k, d):
    rng = np.random.default_rng([n, k, d])
    rows, centers = (rng.normal(5, 1, (m, d)).astype(np.float32) for m in (n, k))
    origin = rows.mean(axis=0)
    found = native.search(rows, centers, origin, second=True, lanes=lanes)
    expected = reference.search(rows, centers, origin, second=True)
    np.testing.assert_array_equal(found.labels, expected.labels)
    for name in ("sq_distances", "squares"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5)
    np.testing.assert_allclose(found.ahead, expected.ahead, atol=1e-5 * expected.squares.max())
    once = native.search(rows, centers, origin, lanes=lanes)
    np.testing.assert_array_equal(once.labels, expected.labels)
    assert len(once.ahead) == 0


@needs_compiled
@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(("k", "d"), [(300, 400), (2000, 150), (3, 50_000)])
def test_centers_that_do_not_fit_the_cache(lanes, k, d):
    rng = np.random.default_rng(3)
    rows, centers = (rng.normal(size=(m, d)).astype(np.float32) for m in (401, k))
    labels = native.search(rows, centers, rows[0], lanes=lanes).labels
    squares = (rows.astype(np.float64) ** 2).sum(axis=1)
    apart = (centers.astype(np.float64) ** 2).sum(axis=1) - 2 * (
        rows.astype(np.float64) @ centers.T
    )
    chosen = apart[np.arange(len(rows)), labels]
    assert (chosen - apart.min(axis=1) <= 1e-5 * squares).all()
    assert (labels == apart.argmin(axis=1)).mean() > 0.99


@needs_compiled
@pytest.mark.parametrize("lanes", WIDTHS)
def test_of_equal_centers_the_lowest_wins_wherever_they_lie_in_a_vector(lanes):
    rng = np.random.default_rng(4)
    different = rng.integers(-9, 9, (90, 3)).astype(np.float32)
    centers = different[rng.integers(0, 90, 400)]
    rows = rng.integers(-9, 9, (500, 3)).astype(np.float32)
    found = native.search(rows, centers, np.zeros(3, np.float32), second=True, lanes=lanes)
    expected = brute_force(rows, centers)
    np.testing.assert_array_equal(found.labels, expected.argmin(axis=1))  # NumPy's first least
    expected.sort(axis=1)
    np.testing.assert_array_equal(found.ahead, expected[:, 1] - expected[:, 0])


@needs_compiled
@pytest.mark.parametrize("lanes", WIDTHS)
def test_a_single_center_is_infinitely_ahead(lanes):
    rows = np.ones((7, 5), np.float32)
    found = native.search(rows, rows[:1], rows[0], second=True, lanes=lanes)
    assert found.labels.tolist() == [0] * 7
    assert np.isposinf(found.ahead).all()


@needs_compiled
def test_arrays_that_are_not_contiguous_are_read_as_they_are():
    table = np.random.default_rng(5).normal(size=(60, 40))
    rows, centers = table[::2, 3:30:2], table[1::4, 3:30:2]
    expected = brute_force(rows.astype(np.float32), centers.astype(np.float32))
    found = native.search(rows, centers, rows[0])
    np.testing.assert_array_equal(found.labels, expected.argmin(axis=1))
    np.testing.assert_allclose(
        native.sq_distances_to(rows, centers, np.arange(60)[::2] % 15),
        expected[np.arange(30), np.arange(60)[::2] % 15],
        rtol=1e-5,
    )
    labels = np.arange(60)[::2] % 4
    sums = native.accumulate(rows, labels, 4, np.ones(60)[::2]).sums
    np.testing.assert_allclose(sums[1], rows[labels == 1].astype(np.float32).sum(0), rtol=1e-5)


@needs_compiled
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_sums_are_those_of_numpy(weighted):
    rng = np.random.default_rng(6)
    rows = rng.normal(1e6, 1, (20_000, 7)).astype(np.float32)
    labels = rng.integers(0, 50, 20_000).astype(np.int32)
    weights = rng.random(20_000) if weighted else None
    ours = native.accumulate(rows, labels, 60, weights)
    theirs = reference.accumulate(rows, labels, 60, weights)
    np.testing.assert_allclose(ours.sums, theirs.sums, rtol=1e-13)
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-13)


@needs_compiled
def test_no_rows_are_searched_and_summed_to_nothing():
    none, centers = np.empty((0, 3), np.float32), np.ones((2, 3), np.float32)
    assert all(len(found) == 0 for found in native.search(none, centers, centers[0], second=True))
    assert not native.accumulate(none, np.empty(0, np.int32), 2).sums.any()


def test_without_a_compiler_numpy_does_the_same_work(monkeypatch):
    rows = np.random.default_rng(7).normal(size=(30_000, 5)).astype(np.float32)
    fitted = KMeans(10).fit(rows)
    monkeypatch.setattr(compiled, "file", lambda: None)
    monkeypatch.setattr(cpu, "kernels", cpu.kernels.__wrapped__)
    assert cpu.kernels() is reference
    assert "not compiled" in cpu.describe()
    slowly = KMeans(10).fit(rows)
    assert slowly.msd_ == pytest.approx(fitted.msd_, rel=0.01)


@needs_compiled
def test_where_it_is_compiled_it_is_used():
    assert cpu.kernels() is native
    assert compiled.fastest_lanes() in WIDTHS
    told = f"compiled kernels, {compiled.fastest_lanes()} values at a time"
    assert cpu.describe().startswith(told)
