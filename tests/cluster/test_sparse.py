"""Sparse rows give what the same rows give when they are dense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse as scipy_sparse

from onepass import KMeans, KMeansModel
from onepass.cluster.arrays import Weighted, WeightedRows
from onepass.cluster.embedding import coordinates_of, restored
from onepass.cluster.kernels import cpu, refining, sparse
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.cluster.offers import Offer
from onepass.cluster.reservoir import sparse_reservoir
from onepass.errors import DataTypeError, UserError
from onepass.sparse import SparseRows


def rare_features(n: int, d: int, k: int, seed: int = 0) -> np.ndarray:
    """Rows with 8 values each, of 24 features that their cluster has."""
    rng = np.random.default_rng(seed)
    of_clusters = np.array([rng.choice(d, 24, replace=False) for _ in range(k)])
    rows = np.zeros((n, d), np.float32)
    for row, label in zip(rows, rng.integers(0, k, n), strict=True):
        row[rng.choice(of_clusters[label], 8, replace=False)] = rng.gamma(2, size=8)
    return rows


def farthest(found: np.ndarray, wanted: np.ndarray) -> float:
    """How far the found centers are from the wanted ones, beside the norms of these."""
    gap = np.sqrt(nearest_centers(wanted, found).sq_distances.max())
    return float(gap / np.sqrt((wanted**2).sum(axis=1)).max())


few_values = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 9)),
    elements=st.sampled_from([0, 0, 0, 0, 1, -2, 0.5, 3]),
)


@given(few_values)
def test_rows_come_back_as_they_went_in(rows):
    kept = SparseRows.of_dense(rows)
    assert kept.shape == rows.shape
    np.testing.assert_array_equal(kept.dense(), rows)
    assert kept.n_values == np.count_nonzero(rows)


@given(few_values, st.data())
def test_parts_are_those_of_dense_rows(rows, data):
    kept = SparseRows.of_dense(rows)
    first, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    np.testing.assert_array_equal(kept[first:stop].dense(), rows[first:stop])
    np.testing.assert_array_equal(kept[::2].dense(), rows[::2])
    which = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), np.intp)
    np.testing.assert_array_equal(kept[which].dense(), rows[which])
    mask = rows[:, 0] == 0
    np.testing.assert_array_equal(kept[mask].dense(), rows[mask])
    both = SparseRows.concatenate([kept[:first], kept[first:]])
    np.testing.assert_array_equal(both.dense(), rows)


@given(few_values, st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=200)
def test_kernels_do_what_they_do_with_dense_rows(rows, n_centers, seed, shifted):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n_centers, rows.shape[1])).astype(np.float32)
    weights = rng.uniform(0.5, 2, len(rows))
    some = SparseRows.of_dense(rows)
    if shifted:
        offsets = rng.normal(size=(3, rows.shape[1])).astype(np.float32)
        some = sparse.move_by(some, offsets, rng.integers(0, 3, len(rows)).astype(np.int32))
        rows = some.dense()
    exact = ((rows[:, None].astype(float) - centers) ** 2).sum(axis=2)
    found = cpu.two_nearest_centers(some, centers)
    own = exact[np.arange(len(rows)), found.labels]
    np.testing.assert_allclose(own, exact.min(axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.distances**2, exact.min(axis=1), rtol=1e-5, atol=1e-5)
    if n_centers > 1:
        second = np.sort(exact, axis=1)[:, 1]
        np.testing.assert_allclose(found.others**2, second, rtol=1e-5, atol=1e-5)
    chosen = rng.integers(0, n_centers, len(rows)).astype(np.int32)
    measured = cpu.sq_distances_to(some, centers, chosen)
    np.testing.assert_allclose(measured, exact[np.arange(len(rows)), chosen], rtol=1e-5, atol=1e-5)
    sums, held = cpu.accumulate(some, chosen, n_centers, weights)
    wanted = cpu.accumulate(rows, chosen, n_centers, weights)
    np.testing.assert_allclose(sums, wanted.sums, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(held, wanted.weights)
    labels = rng.integers(0, n_centers, len(rows)).astype(np.int32)
    moved = np.flatnonzero(labels != chosen)
    refining.transfer(Weighted(some, weights), moved, chosen[moved], labels, sums)
    wanted = cpu.accumulate(rows, labels, n_centers, weights)
    np.testing.assert_allclose(sums, wanted.sums, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        sparse.products_within(some), rows @ rows.T.astype(float), rtol=1e-5, atol=1e-4
    )


def test_equal_rows_are_at_no_distance():
    rows = rare_features(50, 40, 3) * np.float32(1e3)
    some = SparseRows.of_dense(rows)
    assert not np.diag(sparse.between(some, some)).any()
    assert not nearest_centers(some, rows).sq_distances.any()


OPTIONS = [
    {},
    {"init": "random"},
    {"half_life": 4000},
    {"center_factor": 1, "n_init": 4},
    {"center_factor": 3},
    {"batch_size": 700},
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("n", [900, 24_000])
def test_centers_are_those_of_dense_rows(n, options):
    rows = rare_features(n, 120, 6)
    dense = KMeans(6, **options).fit(rows)
    sparse_one = KMeans(6, **options).fit(scipy_sparse.csr_array(rows))
    tolerance = 1e-4 if options.get("center_factor", 0) != 1 else 1e-2  # ended an iteration apart
    assert farthest(sparse_one.cluster_centers_, dense.cluster_centers_) < tolerance
    assert sparse_one.msd_ == pytest.approx(dense.msd_, rel=1e-3)
    assert (sparse_one.labels_ == dense.labels_).mean() > 0.99
    assert sparse_one.n_centers_ == dense.n_centers_


def test_merged_shards_of_sparse_rows_are_those_of_dense_ones():
    rows = rare_features(30_000, 90, 5)
    found = []
    for make in (np.asarray, scipy_sparse.csr_array):
        whole = KMeans(5)
        for part in np.split(rows, 3):
            whole.merge(whole.shard(3).partial_fit(make(part)))
        found.append(whole.finalize())
    assert farthest(found[1].cluster_centers_, found[0].cluster_centers_) < 1e-4
    assert found[1].msd_ == pytest.approx(found[0].msd_, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-20, 1e18])
def test_any_scale(scale):
    rows = rare_features(8000, 60, 4) * np.float32(scale)
    found = [KMeans(4).fit(X).cluster_centers_ for X in (rows, scipy_sparse.csr_array(rows))]
    dense, sparse_one = (centers / np.float32(scale) for centers in found)
    assert farthest(sparse_one, dense) < 1e-4


def test_an_msd_is_that_of_all_rows():
    rows = rare_features(40_000, 80, 5)
    some = scipy_sparse.csr_array(rows)
    kmeans = KMeans(5).fit(some)
    exact = -kmeans.score(rows) / len(rows)
    assert -kmeans.score(some) / len(rows) == pytest.approx(exact, rel=1e-5)
    assert abs(kmeans.msd_ - exact) < 5 * kmeans.msd_error_


def test_a_further_epoch_is_that_of_dense_rows():
    rows = rare_features(20_000, 70, 4)
    some = scipy_sparse.csr_array(rows)
    dense, sparse_one = KMeans(4).fit(rows), KMeans(4).fit(some)
    assert sparse_one.refine([some]) == pytest.approx(dense.refine([rows]), rel=1e-5)
    assert farthest(sparse_one.cluster_centers_, dense.cluster_centers_) < 1e-5


def test_answers_are_those_of_dense_rows():
    rows = rare_features(3000, 50, 4)
    model = KMeansModel(KMeans(4).fit(rows).cluster_centers_)
    some = SparseRows.of_dense(rows)
    np.testing.assert_array_equal(model.predict(some), model.predict(rows))
    np.testing.assert_allclose(model.distances(some), model.distances(rows), rtol=1e-5)
    assert model.inertia(some) == pytest.approx(model.inertia(rows), rel=1e-5)


def test_rows_are_kept_as_the_first_ones_were():
    rows = rare_features(6000, 40, 3)
    some = scipy_sparse.csr_array(rows)
    mixed = KMeans(3).partial_fit(some[:3000]).partial_fit(rows[3000:]).finalize()
    np.testing.assert_array_equal(mixed.cluster_centers_, KMeans(3).fit(some).cluster_centers_)
    mixed = KMeans(3).partial_fit(rows[:3000]).partial_fit(some[3000:]).finalize()
    np.testing.assert_array_equal(mixed.cluster_centers_, KMeans(3).fit(rows).cluster_centers_)


@pytest.mark.parametrize("turned", [False, True])
def test_sparse_and_dense_streams_are_merged(turned):
    rows = rare_features(30_000, 60, 4)
    kinds = np.asarray, scipy_sparse.csr_array
    first, second = reversed(kinds) if turned else kinds
    halves = [make(half) for make, half in zip((first, second), np.split(rows, 2), strict=True)]
    mixed = KMeans(4).partial_fit(halves[0]).merge(KMeans(4).partial_fit(halves[1])).finalize()
    dense = KMeans(4).partial_fit(rows[:15_000]).merge(KMeans(4).partial_fit(rows[15_000:]))
    dense.finalize()
    assert farthest(mixed.cluster_centers_, dense.cluster_centers_) < 1e-4
    assert mixed.msd_ == pytest.approx(dense.msd_, rel=1e-4)
    assert mixed.n_samples_seen_ == 30_000


@pytest.mark.parametrize("kind", [scipy_sparse.csc_array, scipy_sparse.coo_matrix])
def test_any_sparse_matrix_will_do(kind):
    rows = rare_features(500, 40, 3)
    found = KMeans(3).fit(kind(rows))
    np.testing.assert_array_equal(
        found.cluster_centers_, KMeans(3).fit(scipy_sparse.csr_array(rows)).cluster_centers_
    )


def test_values_given_twice_are_summed():
    twice = scipy_sparse.csr_array(
        (np.ones(4, np.float32), np.array([1, 1, 0, 0]), np.array([0, 2, 4])), shape=(2, 2)
    )
    centers = KMeans(2).fit(twice).cluster_centers_
    assert sorted(centers.tolist()) == [[0, 2], [2, 0]]
    assert twice.nnz == 4


def test_a_value_that_is_not_finite_is_named():
    rows = rare_features(20, 30, 3)
    rows[7, 11] = np.inf
    with pytest.raises(UserError, match=r"X\[7, 11\] is NaN or infinite"):
        KMeans(3).fit(scipy_sparse.csr_array(rows))


def test_complex_values_are_refused():
    with pytest.raises(DataTypeError, match="of type complex128"):
        KMeans(2).fit(scipy_sparse.csr_array(np.eye(3, dtype=complex)))


def test_rows_without_any_value_are_rows_of_zeros():
    rows = np.zeros((300, 30), np.float32)
    rows[:100, 3] = 5
    kmeans = KMeans(2).fit(scipy_sparse.csr_array(rows))
    assert sorted(kmeans.cluster_centers_[:, 3].tolist()) == [0, 5]
    assert kmeans.msd_ == 0


def test_a_sample_keeps_to_its_memory():
    rng = np.random.default_rng(0)
    reservoir = sparse_reservoir(5000, 1000, most_values=70_000, least=10)
    for seed in range(20):
        rows = SparseRows.of_dense(rare_features(1000, 1000, 3, seed))
        ones = np.ones(len(rows))
        reservoir.offer(Offer(rows, ones, ones, np.zeros(len(rows), np.int32)), rng)
        assert reservoir.rows.n_values <= 1.25 * 70_000 + 8000
    sample = reservoir.sample(0)
    assert len(sample.rows) == reservoir.capacity == 5000
    assert sample.weights.sum() == pytest.approx(20_000, rel=0.05)


def test_fewer_rows_are_sampled_where_they_have_many_values():
    rng = np.random.default_rng(0)
    reservoir = sparse_reservoir(5000, 500, most_values=70_000, least=10)
    for _ in range(20):
        rows = SparseRows.of_dense(rng.normal(size=(400, 500)).astype(np.float32))
        ones = np.ones(len(rows))
        reservoir.offer(Offer(rows, ones, ones, np.zeros(len(rows), np.int32)), rng)
    assert reservoir.capacity == 140  # 70,000 values of 500 a row
    assert reservoir.sample(0).weights.sum() == pytest.approx(8000, rel=0.2)


def test_coordinates_are_as_far_apart_as_the_points():
    rows = rare_features(30, 400, 5)
    apart = ((rows[:, None] - rows) ** 2).sum(axis=2)
    for points in (rows, SparseRows.of_dense(rows)):
        flat = coordinates_of(points)
        assert flat.shape[1] <= 30
        np.testing.assert_allclose(((flat[:, None] - flat) ** 2).sum(axis=2), apart, atol=1e-3)


def test_centers_of_coordinates_become_centers_of_the_points():
    rows = rare_features(30, 400, 2)
    labels = KMeans(2).fit(rows).labels_
    flat = coordinates_of(rows)
    weights = np.ones(30)
    means = np.stack([flat[labels == j].mean(axis=0) for j in range(2)])
    alone = np.vstack([means, flat[:1] + np.float32(100)])  # to which no row is closest
    found = restored(WeightedRows(rows, weights), flat, alone)
    for j in range(2):
        np.testing.assert_allclose(found[j], rows[labels == j].mean(axis=0), rtol=1e-5)
    assert (found[2] == rows).all(axis=1).any()


def test_coordinates_lead_the_last_step_where_the_points_do(monkeypatch):
    wide = np.zeros((9000, 1500), np.float32)
    wide[:, 200:260] = rare_features(9000, 60, 5)
    by_coordinates = KMeans(5).fit(wide)
    monkeypatch.setattr("onepass.cluster.coarse.is_worth_embedding", lambda _: False)
    by_points = KMeans(5).fit(wide)
    assert farthest(by_coordinates.cluster_centers_, by_points.cluster_centers_) < 1e-4
    assert by_coordinates.trial_msds_ == pytest.approx(by_points.trial_msds_, rel=1e-3)
