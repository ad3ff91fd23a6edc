"""KMeans as its users see it."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_digits

from onepass import KMeans
from onepass.cluster.parameters import auto_batch_size
from onepass.distributed.plan import tree
from onepass.errors import DataTypeError, NotFittedError, UserError


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


def test_shards_merge_as_the_stream_they_are_parts_of_with_a_half_life():
    """What came first fades by the rows that follow, in whichever shard these were."""
    rng = np.random.default_rng(0)
    old = rng.normal(0, 1, (20_000, 2)).astype(np.float32)
    new = rng.normal(10, 1, (20_000, 2)).astype(np.float32)
    settings = {"half_life": 10_000, "reservoir_bytes": 2**17}
    whole = KMeans(1, **settings).partial_fit(old).partial_fit(new).finalize()
    merged = KMeans(1, **settings).partial_fit(old)
    merged.merge(KMeans(1, random_state=1, **settings).partial_fit(new)).finalize()
    # A row weighs 2^(-age/h): the older half of four half-lives weighs a fifth of all.
    for kmeans in (whole, merged):
        assert kmeans.cluster_centers_.mean() == pytest.approx(8, abs=0.05)
        assert kmeans._stream._stream._reservoir.sample(4.0).weights.sum() == pytest.approx(
            kmeans._stream.total_weight, rel=0.05
        )
    assert merged.inertia_ == pytest.approx(whole.inertia_, rel=0.02)
    with pytest.raises(UserError, match="cannot merge half_life=5 into 10000"):
        merged.merge(KMeans(1, half_life=5).partial_fit(new))


def test_shards_of_one_seed_do_not_sample_alike():
    X = mixture(60_000, 3, 5)
    shards = [KMeans(5).partial_fit(x) for x in (X[:30_000], X[30_000:])]
    first, second = (shard._stream._stream._reservoir._keys[:1000] for shard in shards)
    assert len(np.intersect1d(first, second)) == 0


def test_a_half_life_shorter_than_a_batch_leaves_the_last_rows():
    rng = np.random.default_rng(0)
    kmeans = KMeans(2, half_life=1)
    for mean in (0, 50, 100):
        kmeans.partial_fit(rng.normal(mean, 1, (10_000, 2)).astype(np.float32))
    kmeans.finalize()
    assert (np.abs(kmeans.cluster_centers_ - 100) < 3).all()


@pytest.mark.parametrize("scale", [1e-60, 1e-30, 1e30])
def test_the_scale_of_weights_does_not_matter(scale):
    X = mixture(12_000, 3, 4)
    plain = KMeans(4).fit(X)
    scaled = KMeans(4).fit(X, sample_weight=np.full(len(X), scale))
    assert exact_msd(X, scaled.cluster_centers_) <= 1.001 * exact_msd(X, plain.cluster_centers_)


@pytest.mark.parametrize("order", ["first", "last"])
def test_far_rows_do_not_blur_near_ones_wherever_they_come(order):
    """Eight clusters of spread 0.02 near the origin, beside rows at a hundred thousand."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, 1, (8, 4))
    near = (means[rng.integers(0, 8, 50_000)] + rng.normal(0, 0.02, (50_000, 4))).astype("f4")
    far = rng.normal(1e5, 0.02, (5000, 4)).astype(np.float32)
    X = np.concatenate([far, near] if order == "first" else [near, far])
    kmeans = KMeans(9).partial_fit(X).finalize()
    assert exact_msd(near, kmeans.cluster_centers_) == pytest.approx(4 * 0.02**2, rel=0.02)


@pytest.mark.parametrize("d", [2, 20])
def test_the_estimate_does_not_shrink_with_the_sample(d):
    """A mean over the sample that the centers were fitted to would be up to 2 % too small."""
    X = np.random.default_rng(1).normal(size=(100_000, d)).astype(np.float32)
    kmeans = KMeans(8).partial_fit(X).finalize()
    exact = kmeans.to_model().inertia(X) / len(X)
    assert kmeans.msd_ == pytest.approx(exact, rel=5e-3)
    assert 1e-5 * exact < kmeans.msd_error_ < 1e-2 * exact


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
    stream = kmeans._stream._stream
    assert stream._reservoir.rows.nbytes + stream.summary.sums.nbytes < 2 * 2**20
    assert len(stream._buffer) < auto_batch_size(3)
    assert kmeans.n_centers_ <= 5 * 100


@pytest.mark.parametrize(
    ("d", "options", "n"),
    [
        (3, {}, 16_000),
        (50, {}, 10_000),
        (3, {"half_life": 1e9}, 5000),
        (3, {"batch_size": 700}, 2100),  # three rows for each of 500 centers, in whole batches
    ],
)
def test_rows_are_held_back_until_they_are_a_batch(d, options, n):
    kmeans = KMeans(5, **options).partial_fit(np.zeros((n - 1, d)))
    assert kmeans.n_centers_ == 0
    assert kmeans.partial_fit(np.ones((1, d))).n_centers_ > 0


def test_flushed_rows_are_absorbed_at_once_and_change_nothing():
    X = mixture(300, 3, 5)
    kmeans = KMeans(5).flush().partial_fit(X)
    assert kmeans.n_centers_ == 0
    assert kmeans.flush().n_centers_ > 0
    expected = KMeans(5).partial_fit(X).finalize().cluster_centers_
    assert np.array_equal(kmeans.finalize().cluster_centers_, expected)


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


def test_a_further_epoch_refuses_what_the_first_does():
    kmeans = KMeans(2).fit(mixture(100, 3, 2))
    with pytest.raises(UserError, match=r"X\[0, 1\] is NaN"):
        kmeans.refine([[[1.0, np.nan, 2.0]]])


def test_in_a_further_epoch_weights_are_repetition():
    X, weights = mixture(3000, 3, 5), np.random.default_rng(0).integers(0, 4, 3000)
    pairs = [*zip(np.array_split(X, 4), np.array_split(weights, 4), strict=True)]
    weighted, repeated = (KMeans(5).fit(X, sample_weight=weights) for _ in range(2))
    msds = weighted.refine(pairs), repeated.refine([np.repeat(X, weights, axis=0)])
    assert msds[0] == pytest.approx(msds[1], rel=1e-6)
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-5)


def test_a_further_epoch_takes_weights_of_any_scale():
    kmeans = KMeans(1).fit([[0.0], [3.0]])
    assert kmeans.refine([([[0.0], [3.0]], [1e-3, 2e-3])]) == pytest.approx(2.25)
    assert kmeans.cluster_centers_.tolist() == [[2.0]]
    with pytest.raises(UserError, match="no rows of positive weight"):
        kmeans.refine([([[5.0]], [0])])
    assert kmeans.cluster_centers_.tolist() == [[2.0]]


def test_a_further_epoch_refuses_weights_that_do_not_fit_the_rows():
    kmeans = KMeans(1).fit([[0.0], [3.0]])
    with pytest.raises(UserError, match=r"sample_weight must have shape \(2,\), got \(1,\)"):
        kmeans.refine([([[0.0], [3.0]], [1])])
    with pytest.raises(UserError, match="a batch of 3 items: a tuple must hold rows and their"):
        kmeans.refine([([0.0], [3.0], [4.0])])


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
        ("batch_size", True, "'auto' or a whole number from 1"),
        ("half_life", -1, "0 or a number from 1e-6"),
        ("half_life", 5e-324, "0 or a number from 1e-6"),
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


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        (np.full((2, 1), 1j), UserError, "Complex data not supported: X is of dtype complex128"),
        ([[1j]], DataTypeError, "X must be a dense matrix of numbers: .* not 'complex'"),
        ([[{}]], DataTypeError, "X must be a dense matrix of numbers: .* not 'dict'"),
        ([["a"]], UserError, "X must be a dense matrix of numbers: .*'a'"),
        ([1.0, 2.0], UserError, r"got shape \(2,\). Reshape your data: X.reshape\(-1, 1\)"),
        (np.ones((4, 0)), UserError, r"X has 0 feature\(s\) \(shape=\(4, 0\)\)"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(X, kind, message):
    with pytest.raises(kind, match=message):
        KMeans(1).fit(X)
    with pytest.raises(kind, match=message):
        KMeans(1).fit([[1.0]]).predict(X)


def test_another_width_is_refused():
    with pytest.raises(UserError, match="X has 3 features, but KMeans is expecting 2 features"):
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


def test_shards_that_are_united_are_not_changed():
    rng = np.random.default_rng(8)
    shards = [KMeans(5).shard(3).partial_fit(rng.normal(size=(9000, 4))).flush() for _ in "abc"]
    seen = [pickle.dumps(shard) for shard in shards]
    first = shards[0].united(shards[1])
    whole = KMeans(5).merge(first.united(shards[2])).finalize()
    assert [pickle.dumps(shard) for shard in shards] == seen
    assert (first.n_samples_seen_, whole.n_samples_seen_) == (18_000, 27_000)
    again = KMeans(5).merge(shards[0].united(shards[1]).united(shards[2])).finalize()
    np.testing.assert_array_equal(again.cluster_centers_, whole.cluster_centers_)


def test_shards_that_are_united_keep_a_sample_as_large_as_one_stream_does():
    """Each alone has room for its share: united they have room for all."""
    rng = np.random.default_rng(8)
    how = {"n_clusters": 40, "batch_size": 100}
    whole = KMeans(**how).partial_fit(rng.normal(size=(200_000, 2)))
    shards = [
        KMeans(**how).shard(8).partial_fit(rng.normal(size=(25_000, 2))).flush() for _ in range(8)
    ]
    united = KMeans(**how).merge(tree(shards, KMeans.united))
    sizes = [len(kmeans._stream._stream._reservoir.rows) for kmeans in (whole, united)]
    assert sizes[1] > 0.9 * sizes[0]
