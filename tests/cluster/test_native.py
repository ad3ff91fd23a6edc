"""What is written in C does what its short form in NumPy does."""

import pickle

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels import compiled, cpu, native, reference
from onepass.cluster.kernels.results import Bounds, Holdings, Shifts
from onepass.cluster.lloyd import LloydRun

WIDTHS = compiled.all_lanes() if compiled.is_compiled() else []
pytestmark = pytest.mark.skipif(not WIDTHS, reason="native.c was not compiled: no compiler")


@pytest.fixture(params=WIDTHS or [0])
def lanes(request, monkeypatch):
    """Vectors of each width that this processor has."""
    monkeypatch.setattr(native, "fastest_lanes", lambda: request.param)
    return request.param


def weighted(n, d, seed=0):
    rng = np.random.default_rng([n, d, seed])
    return WeightedRows(rng.normal(2, 1, (n, d)).astype(np.float32), rng.random(n) + 0.1)


SHAPES = [(1, 1), (5, 3), (31, 16), (33, 2), (200, 26), (65, 100)]


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_plus_plus_chooses_the_same_rows(n, d):
    data = weighted(n, d)
    for n_clusters, n_candidates in [(1, 2), (min(n, 4), 3), (min(n, 60), 6)]:
        uniforms = np.random.default_rng(1).random(1 + (n_clusters - 1) * n_candidates)
        ours = native.plus_plus(data, n_clusters, n_candidates, uniforms)
        theirs = reference.plus_plus(data, n_clusters, n_candidates, uniforms)
        assert ours.tolist() == theirs.tolist()


@pytest.mark.usefixtures("lanes")
def test_plus_plus_ends_where_all_rows_are_chosen():
    rows = np.repeat(np.float32([[0, 0], [3, 4], [9, 9]]), 7, axis=0)
    data = WeightedRows(rows, np.ones(21))
    chosen = native.plus_plus(data, 10, 2, np.random.default_rng(2).random(19))
    assert sorted((chosen // 7).tolist()) == [0, 1, 2]


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), SHAPES[1:])
@pytest.mark.parametrize("k", [2, 5, 30])
def test_swaps_are_the_same(n, d, k):
    data = weighted(n, d)
    centers = data.rows[np.arange(k) % n] + np.float32(0.01)
    uniforms = np.random.default_rng(3).random((25, 5))
    ours = native.swap(data, centers, uniforms, 1e-9)
    theirs = reference.swap(data, centers, uniforms, 1e-9)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (ours != centers).any()


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), [(2, 1), (7, 3), (50, 16), (530, 33)])
def test_partners_are_the_same(n, d):
    centers, weights = weighted(n, d)
    centers -= centers.mean(axis=0)
    some = np.random.default_rng(4).permutation(n)[: (n + 1) // 2]
    ours = native.partners(centers, weights.astype(np.float32), some)
    theirs = reference.partners(centers, weights.astype(np.float32), some)
    assert ours.tolist() == theirs.tolist()


@pytest.mark.usefixtures("lanes")
def test_the_partner_of_one_of_two_equal_centers_is_the_other_not_itself():
    centers = np.zeros((2, 3), np.float32)
    found = native.partners(centers, np.ones(2, np.float32), np.array([0, 1]))
    assert found.tolist() == [1, 0]


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_bounds_are_loosened_alike(n, d):
    rows = weighted(n, d).rows
    centers = weighted(4, d, seed=1).rows
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, n).astype(np.int32)
    upper, lower = (rng.random(n).astype(np.float32) * np.sqrt(d, dtype=np.float32) for _ in "ab")
    own, others, halfway = rng.random((3, 4)).astype(np.float32)
    far = np.float32([np.inf, 1, 2, 3]) * np.sqrt(d, dtype=np.float32)
    shifts = Shifts(own, others, far, halfway, 0.99)
    ours = Bounds(labels, upper.copy(), lower.copy())
    theirs = Bounds(labels, upper.copy(), lower.copy())
    found = native.loosen(rows, centers, ours, shifts)
    expected = reference.loosen(rows, centers, theirs, shifts)
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(found.sq_distances, expected.sq_distances, rtol=1e-5)
    np.testing.assert_allclose(ours.upper, theirs.upper, rtol=1e-5)
    np.testing.assert_allclose(ours.lower, theirs.lower, rtol=1e-5)


def test_rows_are_transferred_alike():
    data = weighted(300, 9)
    rng = np.random.default_rng(6)
    moved = np.flatnonzero(rng.random(300) < 0.3)
    labels = rng.integers(0, 5, 300).astype(np.int32)
    former = rng.integers(0, 5, len(moved)).astype(np.int32)
    ours, theirs = np.ones((5, 9)), np.ones((5, 9))
    native.transfer(data, moved, former, labels, ours)
    reference.transfer(data, moved, former, labels, theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert (ours != 1).all()


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_centers_move_alike(n, d):
    data, held = weighted(n, d), weighted(6, d, seed=1)
    centers, weights = held
    weights[2] = 0
    labels, sq_distances = cpu.nearest_centers(data.rows, centers)
    results = []
    for kernels in (native, reference):
        holdings = Holdings(centers.copy(), centers * weights[:, None], weights.copy(), np.ones(6))
        kernels.move(data, labels, sq_distances, holdings)
        results.append(holdings)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    untouched = np.setdiff1d(np.arange(6), labels)
    np.testing.assert_array_equal(results[0].centers[untouched], centers[untouched])


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_far_rows_open_alike(n, d):
    far = weighted(n, d)
    coins = np.random.default_rng(7).random(n)
    left = [np.full(n, 4.0 * d), np.full(n, 4.0 * d)]
    ours = native.open_far(far, left[0], coins, 2.0 * d)
    theirs = reference.open_far(far, left[1], coins, 2.0 * d)
    assert ours.tolist() == theirs.tolist()
    assert 0 in ours or coins[0] * 2 > 4 * far.weights[0]


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize(("n", "d"), SHAPES[1:])
def test_lloyds_iterations_end_where_others_end(n, d):
    data = weighted(n, d)
    start = data.rows[: min(n, 7)]
    for max_iter, tol in [(0, 0.0), (1, 0.0), (300, 1e-4), (300, 0.0)]:
        ours = native.lloyd(data, start, max_iter, tol, 1e-6)
        theirs = reference.lloyd(data, start, max_iter, tol, 1e-6)
        run = LloydRun(data, start)
        run.go_on(max_iter, tol)
        for others in (theirs, run.clustering()):
            np.testing.assert_allclose(ours.centers, others.centers, atol=1e-5)
            assert ours.inertia == pytest.approx(others.inertia, rel=1e-5, abs=1e-9)


@pytest.mark.usefixtures("lanes")
def test_empty_centers_get_the_rows_that_cost_most():
    data = WeightedRows(np.float32([[0], [1], [50], [90]]), np.array([1.0, 1, 1, 9]))
    start = np.float32([[0], [1000], [2000]])
    for kernels in (native, reference):
        centers, inertia = kernels.lloyd(data, start, 50, 0.0, 1e-6)
        assert sorted(centers.ravel().tolist()) == [0.5, 50, 90]
        assert inertia == pytest.approx(0.5)


@pytest.mark.usefixtures("lanes")
def test_close_centers_are_told_apart_beside_a_far_one():
    """Products in float32 tell nothing apart here: the far row moves the origin to 250,000."""
    rows = np.float32([[0, 0], [0.1, 0], [0, 0.1], [1e6, 0]])
    for kernels in (native, reference):
        clustering = kernels.lloyd(WeightedRows(rows, np.ones(4)), rows, 10, 0.0, 2.0**-19)
        assert clustering.centers.tolist() == rows.tolist()
        assert clustering.inertia == 0


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("n", [0, 1, 3, 16, 63, 64, 65, 200])
def test_the_largest_absolute_value(n):
    rows = np.random.default_rng(n).normal(size=(n, 1)).astype(np.float32)
    assert native.peak(rows) == np.abs(rows).max(initial=0) == reference.peak(rows)
    for place in {0, n // 2, n - 1} if n else ():
        for value in (-7.0, 2.0**120, -np.inf, np.inf):
            spoiled = rows.copy()
            spoiled[place] = value
            assert native.peak(spoiled) == abs(value) == reference.peak(spoiled)
        spoiled[place] = np.nan
        assert np.isnan(native.peak(spoiled))
        assert np.isnan(reference.peak(spoiled))


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("k", [1, 4, 16, 17, 100])
@pytest.mark.parametrize("d", [1, 3, 30])
def test_rows_searched_by_differences(k, d):
    """Beside 1e6, products in float32 would not tell these centers apart."""
    rng = np.random.default_rng([k, d])
    rows, centers = (1e6 + rng.integers(0, 9, (m, d)).astype(np.float32) / 8 for m in (500, k))
    rows, centers = rows.astype(np.float32), centers.astype(np.float32)
    which = np.arange(1, 500, 3)
    gaps = rows[:, None].astype(np.float64) - centers
    apart = (gaps**2).sum(axis=2)
    for kernels in (native, reference):
        found = reference.search(rows, centers, rows[0])
        found.labels[:] = -1
        kernels.search_exactly(found, which, rows, centers)
        assert found.labels[which].tolist() == apart[which].argmin(axis=1).tolist()
        assert found.sq_distances[which].tolist() == apart[which].min(axis=1).tolist()
        assert (found.labels[0::3] == -1).all()


def test_an_estimator_in_memory_that_cannot_be_written_goes_on():
    rows = np.repeat(np.eye(8, 30, dtype=np.float32), 2500, axis=0)
    kmeans = KMeans(4, batch_size=5000).partial_fit(rows)
    buffers = []
    sent = pickle.dumps(kmeans, protocol=5, buffer_callback=buffers.append)
    fixed = [memoryview(bytes(buffer.raw())) for buffer in buffers]
    copy = pickle.loads(sent, buffers=fixed)  # noqa: S301 - written above
    assert not copy._stream._stream.summary.centers.flags.writeable
    assert copy.partial_fit(rows).finalize().msd_ == kmeans.partial_fit(rows).finalize().msd_


def test_what_would_be_written_in_the_wrong_place_is_refused():
    data, centers = weighted(20, 3), weighted(4, 3, seed=1).rows
    labels, sq_distances = cpu.nearest_centers(data.rows, centers)
    held = Holdings(centers, centers.astype(np.float64), np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match="out of range"):
        native.move(data, labels + np.int32(4), sq_distances, held)
    with pytest.raises(ValueError, match="each row"):
        native.move(data, labels[1:], sq_distances, held)
    with pytest.raises(ValueError, match="several lengths"):
        native.move(data, labels, sq_distances, held._replace(weights=np.ones(3)))
    frozen = np.ones(4)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="in place"):
        native.move(data, labels, sq_distances, held._replace(scatter=frozen))
    with pytest.raises(ValueError, match="in place"):
        native.open_far(data, np.ones(40)[::2], np.ones(20), 1.0)
    for n_candidates in (0, 65):
        with pytest.raises(ValueError, match="candidates"):
            native.plus_plus(data, 3, n_candidates, np.ones(300))
        with pytest.raises(ValueError, match="candidates"):
            native.swap(data, centers, np.ones((3, n_candidates)), 0.0)
    with pytest.raises(ValueError, match="too few"):
        native.plus_plus(data, 3, 4, np.ones(8))
    with pytest.raises(ValueError, match="no centers"):
        native.search(data.rows, centers[:0], centers[0])
    with pytest.raises(ValueError, match="widths"):
        native.search(data.rows[:, :2], centers, centers[0])
    with pytest.raises(ValueError, match="no rows"):
        native.lloyd(WeightedRows(data.rows[:0], data.weights[:0]), centers, 3, 0.0, 0.0)


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_values_that_no_center_is_near_do_no_harm(value):
    """The callers refuse them; here it is only told that nothing is written out of range."""
    data, centers = weighted(50, 3), weighted(9, 3, seed=1).rows.copy()
    data.rows[7] = value
    assert native.swap(data, centers, np.full((5, 5), 0.5), 0.0).shape == centers.shape
    found = native.search(data.rows, centers, centers[0], second=True)
    assert set(found.labels) <= set(range(9))
    centers[2] = value
    partners = native.partners(centers, np.ones(9, np.float32), np.arange(9))
    assert set(partners) <= set(range(9))


def test_rows_that_are_not_aligned_are_taken():
    rows = weighted(40, 3).rows
    unaligned = np.empty(rows.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(rows.shape)
    unaligned[:] = rows
    assert not unaligned.flags.aligned
    assert KMeans(3).fit(unaligned).msd_ == KMeans(3).fit(rows).msd_


@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 3), (31, 2), (33, 7), (200, 40)])
def test_distances_between_rows_are_those_of_the_reference(n, d):
    rows = np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)
    ours, theirs = native.between(rows), reference.between(rows)
    assert ours.shape[0] == n
    assert ours[:, :n] == pytest.approx(theirs, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("kernels", [native, reference])
def test_known_distances_change_no_choice(kernels):
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    data, apart = WeightedRows(rows, rng.uniform(0.5, 2, 300)), kernels.between(rows)
    uniforms = rng.random(1 + 39 * 4)
    chosen = kernels.plus_plus(data, 40, 4, uniforms)
    assert np.array_equal(kernels.plus_plus(data, 40, 4, uniforms, apart), chosen)
    steps = rng.random((30, 5))
    swapped = kernels.swap(data, rows[:40], steps, 1e-9)
    assert not np.array_equal(swapped, rows[:40])
    assert np.array_equal(kernels.swap(data, rows[:40], steps, 1e-9, apart), swapped)


def test_a_table_of_other_rows_is_refused():
    data = WeightedRows(np.zeros((10, 2), np.float32), np.ones(10))
    for apart in (np.zeros((10, 10), np.float32), np.zeros((9, 32), np.float32)):
        with pytest.raises(ValueError, match="distances between other rows"):
            native.plus_plus(data, 3, 4, np.ones(9), apart)
    with pytest.raises(ValueError, match="another layout"):
        native.plus_plus(data, 3, 4, np.ones(9), np.zeros((10, 32)))
