"""Data that break clustering programs."""

import numpy as np
import pytest
from sklearn.cluster import KMeans as Reference

from onepass import KMeans, KMeansModel
from onepass.errors import UserError

SMALL = {"center_factor": 2, "batch_size": 50, "reservoir_bytes": 1}
"""So that a few hundred rows are a long stream."""


def blobs(n=600, d=3, k=4, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 10, (k, d))
    return (means[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(np.float32)


def exact_msd(X, centers):
    gap = X.astype(np.float64)[:, None] - centers.astype(np.float64)
    return float((gap**2).sum(axis=2).min(axis=1).mean())


def reference_msd(X, k):
    X = X.astype(np.float64)
    return Reference(k, n_init=10, random_state=0).fit(X).inertia_ / len(X)


def test_fewer_rows_than_the_summary_has_room_for():
    X = blobs(100)
    kmeans = KMeans(4).fit(X)
    assert kmeans.n_centers_ < 500
    assert kmeans.msd_ == pytest.approx(reference_msd(X, 4), rel=1e-4)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_as_many_rows_as_clusters(options):
    X = blobs(7)
    kmeans = KMeans(7, **options).fit(X)
    assert sorted(kmeans.cluster_centers_.tolist()) == sorted(X.tolist())
    assert kmeans.inertia_ == 0
    assert sorted(kmeans.labels_) == list(range(7))


def test_fewer_rows_than_clusters_are_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"^3 rows .* cannot make n_clusters=4 clusters$"):
        KMeans(4).fit(blobs(3))


@pytest.mark.parametrize("options", [{}, SMALL])
def test_one_cluster_is_the_mean_and_its_msd_the_variance(options):
    X = blobs()
    kmeans = KMeans(1, **options).fit(X)
    np.testing.assert_allclose(kmeans.cluster_centers_[0], X.mean(axis=0), rtol=1e-4, atol=1e-4)
    assert kmeans.msd_ == pytest.approx(X.astype(float).var(axis=0).sum(), rel=1e-4)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_equal_rows(options):
    X = np.full((500, 3), 7.25, np.float32)
    kmeans = KMeans(4, **options).fit(X)
    assert kmeans.cluster_centers_.tolist() == [[7.25] * 3] * 4
    assert (kmeans.inertia_, kmeans.msd_error_) == (0, 0)


@pytest.mark.parametrize("options", [{}, {"center_factor": 2, "reservoir_bytes": 1}])
@pytest.mark.parametrize("seed", range(3))
def test_many_duplicates_of_few_rows_each_become_a_center(options, seed):
    different = blobs(20, d=2)
    X = different[np.random.default_rng(1).integers(0, 20, 30_000)]
    kmeans = KMeans(20, **options, random_state=seed).fit(X)
    assert sorted(kmeans.cluster_centers_.tolist()) == sorted(different.tolist())
    assert kmeans.msd_ == 0


def test_an_msd_that_is_nearly_nothing_is_not_estimated_below_it():
    X = blobs(20, d=2)[np.random.default_rng(1).integers(0, 20, 30_000)]
    for seed in range(3):
        options = {"center_factor": 1, "batch_size": 5000, "reservoir_bytes": 1}
        assert KMeans(20, **options, random_state=seed).fit(X).msd_ >= 0


def test_fewer_different_rows_than_clusters_repeat_some():
    X = np.repeat(np.float32([[0, 0], [1, 1], [5, 5]]), 100, axis=0)
    kmeans = KMeans(6).fit(X)
    assert {tuple(center) for center in kmeans.cluster_centers_.tolist()} == {
        (0, 0),
        (1, 1),
        (5, 5),
    }
    assert kmeans.inertia_ == 0


@pytest.mark.parametrize("place", [0, 15_000, 29_999])
def test_one_far_outlier_does_not_blur_the_rest(place):
    X = blobs(30_000)
    X[place] = 1e6
    kmeans = KMeans(5, reservoir_bytes=2**18).partial_fit(X).finalize()
    assert (kmeans.cluster_centers_ == 1e6).all(axis=1).sum() == 1
    assert exact_msd(X, kmeans.cluster_centers_) <= 1.01 * reference_msd(X, 5)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_constant_columns_stay_constant(options):
    X = blobs()
    X[:, 1] = -3.5
    kmeans = KMeans(4, **options).fit(X)
    assert (kmeans.cluster_centers_[:, 1] == -3.5).all()
    assert kmeans.msd_ <= 1.02 * reference_msd(X, 4)


def test_one_feature():
    X = np.random.default_rng(0).lognormal(size=(40_000, 1)).astype(np.float32)
    kmeans = KMeans(16).fit(X)
    assert exact_msd(X, kmeans.cluster_centers_) <= 1.01 * reference_msd(X, 16)


def test_twenty_thousand_features():
    X = blobs(300, d=20_000, k=3)
    kmeans = KMeans(3, center_factor=4).fit(X)
    assert kmeans.msd_ == pytest.approx(reference_msd(X, 3), rel=1e-4)
    assert kmeans.cluster_centers_.shape == (3, 20_000)


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e38 / 40, 1e-37])
@pytest.mark.parametrize("options", [{}, SMALL])
def test_huge_and_tiny_values_are_clustered_as_others_are(scale, options):
    X = blobs()
    one = KMeans(4, **options).fit(X)
    power = 2.0 ** round(np.log2(scale))  # which changes no digit
    far = (X.astype(np.float64) * power).astype(np.float32)
    other = KMeans(4, **options).fit(far)
    found, expected = (
        centers[np.argsort(centers[:, 0])] / scale
        for centers, scale in ((other.cluster_centers_, power), (one.cluster_centers_, 1))
    )
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.05)
    assert other.msd_ == pytest.approx(one.msd_ * power**2, rel=0.02)
    model = KMeansModel(other.cluster_centers_)
    gap = far.astype(np.float64) - other.cluster_centers_[other.labels_]
    np.testing.assert_allclose(
        model.assign(far).distances, np.sqrt((gap**2).sum(axis=1)), rtol=1e-4
    )
    assert model.inertia(far) == pytest.approx((gap**2).sum(), rel=1e-5)
    np.testing.assert_allclose(
        model.distances(far).min(axis=1), model.assign(far).distances, rtol=1e-5
    )


def test_a_stream_whose_scale_leaps_by_thirty_orders():
    """Tiny rows, then huge ones beside which all tiny ones are the same."""
    tiny, huge = blobs(300) * np.float32(1e-30), blobs(300, seed=1) * np.float32(1e20)
    kmeans = KMeans(5, **SMALL)
    for batch in (tiny[:200], huge[:150], tiny[200:], huge[150:]):
        kmeans.partial_fit(batch)
    kmeans.finalize()
    X = np.concatenate([tiny, huge])
    assert exact_msd(X, kmeans.cluster_centers_) <= 1.02 * reference_msd(X / 1e20, 5) * 1e40


def test_shards_of_different_scale_merge():
    tiny, huge = blobs(300) * np.float32(1e-30), blobs(300, seed=1) * np.float32(1e20)
    for order in ((tiny, huge), (huge, tiny)):
        one, two = (KMeans(5).partial_fit(rows) for rows in order)
        X = np.concatenate(order)
        centers = one.merge(two).finalize().cluster_centers_
        assert exact_msd(X, centers) <= 1.02 * reference_msd(X / 1e20, 5) * 1e40


def test_one_row_far_beyond_the_centers_is_answered_beside_others():
    model = KMeansModel(np.float32([[0, 0], [10, 0]]))
    labels, distances = model.assign([[1, 0], [3e30, 4e30], [9, 0], [-1e25, 0]])
    assert labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(distances, [1, 5e30, 1, 1e25], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_far_from_the_origin(options):
    X = (blobs().astype(np.float64) + 1e6).astype(np.float32)
    kmeans = KMeans(4, **options).fit(X)
    assert exact_msd(X, kmeans.cluster_centers_) <= 1.02 * reference_msd(X, 4)
    assert kmeans.msd_ == pytest.approx(exact_msd(X, kmeans.cluster_centers_), rel=0.02)


def test_a_first_batch_smaller_than_the_summary():
    X = blobs(5000, k=10)
    kmeans = KMeans(10, batch_size=20, reservoir_bytes=1)
    for start in range(0, len(X), 20):
        kmeans.partial_fit(X[start : start + 20])
    assert kmeans.finalize().n_centers_ <= 500
    assert exact_msd(X, kmeans.cluster_centers_) <= 1.02 * reference_msd(X, 10)


def test_empty_shards():
    X = blobs()
    whole = KMeans(4)
    shards = [whole.shard(3) for _ in range(3)]
    shards[1].partial_fit(X)
    shards[2].partial_fit(X[:0])
    for shard in shards:
        whole.merge(shard)
    assert whole.finalize().msd_ == pytest.approx(reference_msd(X, 4), rel=1e-4)
    assert whole.n_samples_seen_ == len(X)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_rows_of_weight_zero_count_for_nothing(options):
    X = blobs()
    X[::3] = 1e9
    weights = np.ones(len(X))
    weights[::3] = 0
    one = KMeans(4, **options).fit(X, sample_weight=weights)
    two = KMeans(4, **options).fit(X[weights > 0])
    assert np.array_equal(one.cluster_centers_, two.cluster_centers_)
    assert one.inertia_ == two.inertia_


def test_weights_that_are_all_zero_are_no_rows():
    with pytest.raises(UserError, match=r"^0 rows of a weight above zero"):
        KMeans(2).fit(blobs(10), sample_weight=np.zeros(10))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_not_finite_is_refused_with_its_row(value):
    X = blobs(50).astype(np.float64)
    X[17, 2] = value
    with pytest.raises(UserError, match=r"^X\[17, 2\] is NaN or infinite as float32"):
        KMeans(2).fit(X)


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, 1e308, 5e-324])
def test_weights_that_cannot_be_summed_are_refused(weight):
    with pytest.raises(
        UserError, match=r"^sample_weight\[3\] is .*; weights are 0 or numbers from"
    ):
        KMeans(2).fit(blobs(10), sample_weight=[1, 1, 1, weight, *[1] * 6])


def test_rows_whose_squares_are_next_to_nothing_are_all_kept():
    """One column is 1 and the others 1e-22: squared distances are below what float32 can hold."""
    X = blobs() * np.float32(1e-22)
    X[:, 0] = 1
    kmeans = KMeans(2, **SMALL).fit(X)
    assert kmeans.n_samples_seen_ == len(X)
    assert np.isfinite(kmeans.cluster_centers_).all()


def test_a_distance_beyond_float32_is_infinite():
    model = KMeansModel(np.float32([[-3e38, -3e38], [0, 0]]))
    assert model.assign([[3e38, 3e38]]).distances.tolist() == [np.inf]
    assert model.distances([[3e38, 3e38]]).tolist() == [[np.inf, np.inf]]


def test_a_stream_is_not_merged_into_itself():
    kmeans = KMeans(2).fit(blobs(10))
    with pytest.raises(UserError, match="its rows would count twice"):
        kmeans.merge(kmeans)


@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_the_error_of_the_msd_covers_the_truth(spread):
    """Clusters apart, touching and all over one another: 18 of 20 within three errors."""
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        means = rng.normal(0, 4, (10, 4))
        X = means[rng.integers(0, 10, 30_000)] + spread * rng.standard_t(4, (30_000, 4))
        kmeans = KMeans(10, center_factor=4, reservoir_bytes=2**18, n_init=2, random_state=seed)
        kmeans.partial_fit(X.astype(np.float32)).finalize()
        exact = exact_msd(X.astype(np.float32), kmeans.cluster_centers_)
        assert 0 < kmeans.msd_error_ < 0.05 * exact
        covered += abs(kmeans.msd_ - exact) < 3 * kmeans.msd_error_
    assert covered >= 18
