"""KMeans as its users see it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_digits

from onepass import KMeans
from onepass.errors import NotFittedError, UserError


def mixture(n, d, k, seed=0, order="shuffled"):
    """Zipf-sized Gaussian clusters."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, k + 1)
    labels = rng.choice(k, n, p=share / share.sum())
    if order == "sorted":
        labels.sort()
    means = rng.normal(0, 4, (k, d))
    return (means[labels] + rng.normal(size=(n, d))).astype(np.float32)


def exact_msd(X, centers):
    return float(((X[:, None] - centers[None]) ** 2).sum(axis=2).min(axis=1).mean())


def in_pieces(kmeans, X, sizes, seed=0):
    rng = np.random.default_rng(seed)
    start = 0
    while start < len(X):
        n = int(rng.choice(sizes))
        kmeans.partial_fit(X[start : start + n])
        start += n
    return kmeans.finalize()


def test_two_far_pairs_are_two_clusters():
    X = [[0, 0], [0, 2], [10, 0], [10, 2]]
    kmeans = KMeans(2).fit(X)
    assert sorted(kmeans.cluster_centers_.tolist()) == [[0, 1], [10, 1]]
    assert kmeans.inertia_ == 4
    assert (kmeans.msd_, kmeans.msd_error_) == (1, 0)
    assert kmeans.labels_[0] == kmeans.labels_[1] != kmeans.labels_[2]
    assert kmeans.predict([[9, 9]]).tolist() == [kmeans.labels_[2]]


def test_the_same_seed_gives_the_same_centers_in_whatever_pieces_rows_arrive():
    X = mixture(60_000, 4, 20)
    whole = KMeans(20, random_state=7).partial_fit(X).finalize().cluster_centers_
    pieces = in_pieces(KMeans(20, random_state=7), X, [1, 17, 999, 5000, 12_345])
    assert np.array_equal(whole, pieces.cluster_centers_)


def test_another_seed_gives_other_centers():
    X = mixture(60_000, 4, 20)
    one, two = (KMeans(20, random_state=s).fit(X).cluster_centers_ for s in (0, 1))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_one_pass_is_as_good_as_many(order):
    X = mixture(60_000, 8, 40, order=order)
    ours = KMeans(40, reservoir_bytes=2**20).partial_fit(X).finalize()
    assert ours.msd_error_ > 0, "the sample must not hold every row here"
    reference = Reference(40, n_init=1, random_state=0).fit(X)
    assert exact_msd(X, ours.cluster_centers_) <= 1.01 * reference.inertia_ / len(X)


def test_digits_are_clustered_as_well_as_the_best_of_ten_full_runs():
    X = load_digits().data.astype(np.float32)
    best = Reference(10, n_init=10, random_state=0).fit(X).inertia_
    assert KMeans(10).fit(X).inertia_ <= 1.002 * best


def test_the_estimated_msd_is_near_the_exact_one():
    X = mixture(60_000, 8, 40)
    kmeans = KMeans(40, reservoir_bytes=2**20).partial_fit(X).finalize()
    exact = exact_msd(X, kmeans.cluster_centers_)
    assert abs(kmeans.msd_ - exact) < max(4 * kmeans.msd_error_, 0.01 * exact)


@pytest.mark.parametrize("shards", [2, 8])
def test_merged_shards_are_as_good_as_many_passes_over_all(shards):
    X = mixture(64_000, 8, 40, order="sorted")
    parts = [KMeans(40, random_state=s).partial_fit(x) for s, x in enumerate(np.split(X, shards))]
    merged = parts[0]
    for other in parts[1:]:
        merged.merge(other)
    merged.finalize()
    reference = Reference(40, n_init=1, random_state=0).fit(X)
    assert merged.n_samples_seen_ == len(X)
    assert exact_msd(X, merged.cluster_centers_) <= 1.01 * reference.inertia_ / len(X)


def test_merging_what_has_seen_nothing_changes_nothing():
    X = mixture(2000, 3, 5)
    alone = KMeans(5).partial_fit(X).finalize().cluster_centers_
    merged = KMeans(5).partial_fit(X).merge(KMeans(5)).finalize().cluster_centers_
    assert np.array_equal(alone, merged)


def test_merging_into_what_has_seen_nothing_takes_everything():
    X = mixture(2000, 3, 5)
    merged = KMeans(5).merge(KMeans(5).partial_fit(X)).finalize()
    assert merged.n_samples_seen_ == 2000
    assert exact_msd(X, merged.cluster_centers_) == pytest.approx(merged.msd_, rel=1e-5)


def test_merging_refuses_other_widths():
    with pytest.raises(UserError, match="cannot merge 2 features into 3"):
        KMeans(2).partial_fit(np.ones((5, 3))).merge(KMeans(2).partial_fit(np.ones((5, 2))))


def test_memory_does_not_grow_with_the_stream():
    kmeans = KMeans(5, reservoir_bytes=2**20)
    for seed in range(30):
        kmeans.partial_fit(mixture(20_000, 3, 5, seed))
    stream = kmeans._stream
    assert stream._reservoir._rows.nbytes + stream.summary._sums.nbytes < 2 * 2**20
    assert len(stream._buffer) < kmeans.batch_size
    assert kmeans.n_centers_ <= 5 * 100


def test_a_further_epoch_is_an_exact_step_of_lloyd():
    X = mixture(30_000, 4, 10)
    kmeans = KMeans(10, reservoir_bytes=2**18).partial_fit(X).finalize()
    before = kmeans.cluster_centers_
    labels = ((X[:, None] - before[None]) ** 2).sum(axis=2).argmin(axis=1)
    msd = kmeans.refine(np.array_split(X, 7))
    assert msd == pytest.approx(exact_msd(X, before), rel=1e-5)
    expected = np.stack([X[labels == j].mean(axis=0, dtype=np.float64) for j in range(10)])
    np.testing.assert_allclose(kmeans.cluster_centers_, expected, atol=1e-4)
    assert exact_msd(X, kmeans.cluster_centers_) <= msd


def test_weights_are_repetition():
    rng = np.random.default_rng(0)
    X = mixture(400, 3, 4)
    weights = rng.integers(0, 4, 400)
    weighted = KMeans(4).fit(X, sample_weight=weights)
    repeated = KMeans(4).fit(np.repeat(X, weights, axis=0))
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-4)


def test_the_old_fades_with_a_half_life():
    rng = np.random.default_rng(0)
    old = rng.normal(0, 1, (20_000, 2)).astype(np.float32)
    new = rng.normal(100, 1, (20_000, 2)).astype(np.float32)
    kmeans = KMeans(1, half_life=2000).partial_fit(old).partial_fit(new).finalize()
    # Ten half-lives later the old weighs about 1/1000 of all.
    assert abs(kmeans.cluster_centers_.mean() - 100) < 0.5
    remembered = KMeans(1).partial_fit(old).partial_fit(new).finalize()
    assert abs(remembered.cluster_centers_.mean() - 50) < 0.5


@pytest.mark.parametrize("k", [1, 3, 10])
def test_as_many_rows_as_clusters_are_their_own_centers(k):
    X = np.arange(k, dtype=np.float32)[:, None]
    kmeans = KMeans(k).fit(X)
    assert sorted(kmeans.cluster_centers_[:, 0].tolist()) == X[:, 0].tolist()
    assert kmeans.inertia_ == 0


def test_fewer_rows_than_clusters_are_refused():
    with pytest.raises(UserError, match=r"2 rows .* n_clusters=3"):
        KMeans(3).fit([[1.0], [2.0]])


def test_one_cluster_is_the_mean():
    X = mixture(30_000, 3, 5)
    centers = KMeans(1).fit(X).cluster_centers_
    np.testing.assert_allclose(centers[0], X.mean(axis=0, dtype=np.float64), atol=2e-2)


def test_equal_rows_give_equal_centers():
    kmeans = KMeans(3).fit(np.tile(np.float32([[1.5, -2.5]]), (6000, 1)))
    assert kmeans.cluster_centers_.tolist() == [[1.5, -2.5]] * 3
    assert kmeans.inertia_ == 0


def test_data_far_from_the_origin_keep_their_clusters():
    X = mixture(20_000, 3, 5)
    near = KMeans(5).fit(X)
    far = KMeans(5).fit(X + np.float32(4096))
    assert far.inertia_ == pytest.approx(near.inertia_, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("n_clusters", 0, "a whole number from 1"),
        ("n_clusters", 2.5, "a whole number from 1"),
        ("init", "kmeans", "'random' or 'k-means\\+\\+'"),
        ("center_factor", "many", "'auto' or a whole number from 1"),
        ("batch_size", True, "a whole number from 1"),
        ("half_life", -1, "a number from 0"),
        ("tol", 2, "a number from 0 to 1"),
        ("n_init", 0, "'auto' or a whole number from 1"),
        ("random_state", -1, "None or a whole number from 0"),
    ],
)
def test_wrong_parameters_are_named_with_what_is_accepted(name, value, accepted):
    with pytest.raises(UserError, match=f"{name}=.*must be {accepted}"):
        KMeans(**{name: value}).fit(np.ones((10, 2)))


def test_values_that_are_not_finite_are_named():
    X = np.zeros((10, 3))
    X[4, 2] = np.nan
    with pytest.raises(UserError, match=r"X\[4, 2\] is NaN or infinite"):
        KMeans(2).fit(X)
    X[4, 2] = 1e39
    with pytest.raises(UserError, match=r"X\[4, 2\] is NaN or infinite as float32"):
        KMeans(2).partial_fit(X)


def test_rows_too_far_apart_for_float32_are_refused():
    X = np.random.default_rng(0).normal(0, 1e25, (600, 2))
    with pytest.raises(UserError, match="squared distances overflow float32; scale the features"):
        KMeans(2).fit(X)


def test_another_width_is_refused():
    with pytest.raises(UserError, match="X has 3 features, expected 2"):
        KMeans(2).fit(np.ones((5, 2)) * np.arange(5)[:, None]).predict(np.ones((1, 3)))


def test_without_centers_there_is_no_prediction():
    with pytest.raises(NotFittedError, match="call fit, or partial_fit and finalize"):
        KMeans(2).partial_fit(np.ones((5, 2))).to_model()


def test_scikit_learn_can_clone_it():
    kmeans = KMeans(3, half_life=10, random_state=5)
    copy = clone(kmeans)
    assert copy is not kmeans
    assert copy.get_params() == kmeans.get_params()
    with pytest.raises(UserError, match="no parameter 'k'"):
        copy.set_params(k=4)


def test_distances_to_all_centers():
    kmeans = KMeans(2).fit([[0, 0], [3, 4]])
    table = kmeans.transform([[0, 0]])
    assert sorted(table[0].tolist()) == [0, 5]
