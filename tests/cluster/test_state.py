"""What has been learnt goes on elsewhere as it would have gone on here."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse

from onepass.cluster.kmeans import KMeans
from onepass.cluster.state import State, trimmed
from onepass.errors import DecodeError, UserError

CUTS = (0, 3_000, 11_111, 25_000, 30_001, 40_000)


def copied(state):
    """Return a state of its own, which may not be written to, as one that was read."""
    arrays = {name: array.copy() for name, array in state.arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return State(copy.deepcopy(state.facts), arrays)


@pytest.fixture(scope="module")
def dense():
    return np.random.default_rng(1).standard_t(3, (40_000, 9)).astype(np.float32)


@pytest.fixture(scope="module")
def sparse():
    rng = np.random.default_rng(2)
    return scipy.sparse.random_array((40_000, 300), density=0.02, rng=rng, format="csr")


CASES = {
    "dense": {},
    "on any device": {"device": "auto"},
    "with a half-life": {"half_life": 20_000},
    "with a small sample": {"reservoir_bytes": 100_000},
    "in small batches": {"batch_size": 700},
    "sparse": {},
    "sparse, with a small sample": {"reservoir_bytes": 700_000},
}


def parameters(case):
    return {"n_clusters": 7, "device": "cpu"} | CASES[case]


@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_bit_for_bit_wherever_it_was_left(case, dense, sparse):
    rows = sparse if case.startswith("sparse") else dense
    whole = KMeans(**parameters(case))
    for start, stop in pairwise(CUTS):
        whole.partial_fit(rows[start:stop])
    whole.finalize()
    for i in range(1, len(CUTS) - 1):
        first = KMeans(**parameters(case))
        for start, stop in pairwise(CUTS[: i + 1]):
            first.partial_fit(rows[start:stop])
        second = KMeans(**parameters(case)).restore(copied(first.state()))
        assert second.n_samples_seen_ == CUTS[i]
        for start, stop in pairwise(CUTS[i:]):
            second.partial_fit(rows[start:stop])
        second.finalize()
        assert second.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
        assert second.msd_ == whole.msd_
        assert second.n_opened_ == whole.n_opened_


def test_taking_a_state_changes_nothing(dense):
    one, other = KMeans(7, device="cpu"), KMeans(7, device="cpu")
    for start, stop in pairwise(CUTS):
        one.partial_fit(dense[start:stop])
        other.partial_fit(dense[start:stop]).state()
    assert one.finalize().cluster_centers_.tobytes() == other.finalize().cluster_centers_.tobytes()


@pytest.mark.parametrize("n_clusters", [3, 20, 200])
def test_another_number_of_clusters_is_made_of_the_same_state(dense, n_clusters):
    state = copied(KMeans(7, device="cpu").partial_fit(dense).state())
    other = KMeans(n_clusters, device="cpu").restore(state).finalize()
    whole = KMeans(n_clusters, device="cpu").partial_fit(dense).finalize()
    model, of_whole = other.to_model(), whole.to_model()
    assert model.inertia(dense) < 1.03 * of_whole.inertia(dense)


def test_another_half_life_fades_what_is_there_from_now_on(dense):
    near = dense + np.float32(100)
    state = copied(KMeans(2, device="cpu").partial_fit(near).state())
    faded = KMeans(2, half_life=2_000, device="cpu").restore(state)
    faded.partial_fit(dense).finalize()
    assert np.abs(faded.cluster_centers_).max() < 50  # the far rows weigh 2**-20
    kept = KMeans(2, device="cpu").restore(state).partial_fit(dense).finalize()
    assert np.abs(kept.cluster_centers_).max() > 90


def test_of_another_half_life_no_row_of_the_sample_becomes_likelier_or_heavier(dense):
    before = copied(KMeans(2, half_life=8_000, device="cpu").partial_fit(dense).flush().state())
    faded = KMeans(2, half_life=5_000, device="cpu").restore(before)
    after = copied(faded.state())

    def drawn(state):
        return state.arrays["sample_keys"] + state.arrays["sample_log2_chances"]

    np.testing.assert_allclose(drawn(after), drawn(before), atol=1e-9)
    for name in ("log2_weights", "log2_chances"):
        now, then = (state.arrays[f"sample_{name}"] for state in (after, before))
        np.testing.assert_allclose(now - 40_000 / 5_000, then - 40_000 / 8_000, atol=1e-9)
    thresholds = [state.facts["log2_threshold"] for state in (after, before)]
    assert thresholds[0] + 40_000 / 5_000 == pytest.approx(thresholds[1] + 40_000 / 8_000)


def test_extreme_values_keep_their_scale(dense):
    rows = dense[:10_000] * np.float32(1e25)
    state = copied(KMeans(4, device="cpu").partial_fit(rows).state())
    other = KMeans(4, device="cpu").restore(state).finalize()
    whole = KMeans(4, device="cpu").partial_fit(rows).finalize()
    assert other.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()


def test_names_of_features_are_kept(dense):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(dense, columns=list("abcdefghi"))
    state = copied(KMeans(4).partial_fit(frame).state())
    other = KMeans(4).restore(state)
    assert other.feature_names_in_.tolist() == list("abcdefghi")
    with pytest.raises(UserError, match="feature names"):
        other.partial_fit(frame.rename(columns={"a": "z"}))


def test_a_shard_that_was_restored_is_merged_as_one(dense):
    def shards():
        whole = KMeans(5, device="cpu")
        return whole, [whole.shard(2).partial_fit(dense[i::2]) for i in range(2)]

    whole, (first, second) = shards()
    expected = whole.merge(first).merge(second).finalize().cluster_centers_
    whole, (first, second) = shards()
    again = whole.shard(2).restore(copied(first.state()))
    centers = whole.merge(again).merge(second).finalize().cluster_centers_
    assert centers.tobytes() == expected.tobytes()


class TestTrimmed:
    @pytest.mark.parametrize("kind", ["dense", "sparse"])
    def test_it_is_as_small_as_it_should_be_and_goes_on_as_well(self, kind, dense, sparse):
        rows = sparse if kind == "sparse" else dense
        kmeans = KMeans(7, device="cpu").partial_fit(rows[:20_000]).flush()
        state = trimmed(copied(kmeans.state()), 100_000)
        sample = [a for name, a in state.arrays.items() if name.startswith("sample")]
        assert 90_000 < sum(array.nbytes for array in sample) <= 100_008
        assert "summary_sums" not in state.arrays
        assert state.arrays["sample_keys"].max() < state.facts["log2_threshold"]
        assert KMeans(7, device="cpu").restore(copied(state)).finalize().msd_error_ > 0
        second = KMeans(7, device="cpu").restore(copied(state)).partial_fit(rows[20_000:])
        whole = KMeans(7, device="cpu").partial_fit(rows)
        msds = [one.finalize().to_model().inertia(rows) for one in (second, whole)]
        assert msds[0] < 1.02 * msds[1]
        assert second.n_samples_seen_ == 40_000
        assert second.msd_ * 40_000 == pytest.approx(msds[0], rel=0.05)

    def test_nothing_of_the_sample_may_be_left(self, dense):
        kmeans = KMeans(7, device="cpu").partial_fit(dense).flush()
        state = trimmed(copied(kmeans.state()), 0)
        assert not len(state.arrays["sample_keys"])
        second = KMeans(7, device="cpu").restore(copied(state)).finalize()
        whole = kmeans.finalize().to_model().inertia(dense)
        assert second.to_model().inertia(dense) < 1.1 * whole

    def test_a_state_that_is_small_is_left_as_it_is(self, dense):
        kmeans = KMeans(7, device="cpu").partial_fit(dense[:900]).flush()
        state = trimmed(copied(kmeans.state()), 10**6)
        second = KMeans(7, device="cpu").restore(copied(state)).finalize()
        assert second.msd_error_ == 0  # all rows are there
        assert second.msd_ == pytest.approx(kmeans.finalize().msd_, rel=1e-3)


class TestFromCentersAlone:
    def test_they_weigh_what_is_said(self):
        new = np.random.default_rng(0).normal([1, 0], 0.1, (3_000, 2)).astype(np.float32)
        light = KMeans(1).begin_with([[0.0, 0.0]], 3_000).partial_fit(new).finalize()
        np.testing.assert_allclose(light.cluster_centers_, [[0.5, 0]], atol=0.02)
        heavy = KMeans(1).begin_with([[0.0, 0.0]], 297_000).partial_fit(new).finalize()
        np.testing.assert_allclose(heavy.cluster_centers_, [[0.01, 0]], atol=0.001)

    def test_new_rows_improve_them(self, dense):
        start = dense[:7]
        kmeans = KMeans(7, device="cpu").begin_with(start, 700).partial_fit(dense).finalize()
        whole = KMeans(7, device="cpu").partial_fit(dense).finalize()
        assert kmeans.to_model().inertia(dense) < 1.03 * whole.to_model().inertia(dense)
        assert kmeans.n_samples_seen_ == 40_700

    @pytest.mark.parametrize(("centers", "n_rows"), [([[1.0]], 0), (np.empty((0, 3)), 5)])
    def test_nothing_is_refused(self, centers, n_rows):
        with pytest.raises(UserError):
            KMeans(1).begin_with(centers, n_rows)


BROKEN = {
    "n_taken": [-1, 1.5, None, True, "9"],
    "total_weight": [-1, float("nan"), "9", None],
    "service_cost": [-1.0, None],
    "n_features": [0, -3, 8, None],
    "is_sparse": [None, 1],
    "share": [0, 2, "all"],
    "exponent": [1.5, 10**9],
    "log2_threshold": ["high", float("nan"), True],
    "n_sampled": [[5], [9, 3], [0, 1], "many", None],
    "half_life": [-1, None],
    "random": [None, {}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": 3}],
    "feature_names": [["a"], "abc"],
}


FACTS = [(name, value) for name, values in BROKEN.items() for value in values]


@pytest.mark.parametrize(("name", "value"), FACTS)
def test_facts_that_make_no_sense_are_refused(dense, name, value):
    state = copied(KMeans(4, device="cpu").partial_fit(dense).state())
    state.facts[name] = value
    with pytest.raises(DecodeError, match=r"its |it has "):
        KMeans(4, device="cpu").restore(state)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_arrays_that_make_no_sense_are_refused(kind, dense, sparse):
    rows = sparse if kind == "sparse" else dense
    state = copied(KMeans(4, device="cpu").partial_fit(rows[:27_000]).state())
    for name, array in state.arrays.items():
        wrong: list = [None, array[:-1], array.astype(np.complex128), array[..., None]]
        if array.dtype.kind == "f":
            wrong.append(np.full_like(array, np.nan))
        if name.endswith(("strata", "columns", "starts")):
            wrong.extend([array + 10**6, array - 10**6])
        if name.endswith(("weights", "scatter", "squares")) and "log2" not in name:
            wrong.append(-1 - array)
        for instead in wrong:
            arrays = dict(state.arrays)
            if instead is None:
                del arrays[name]
            else:
                arrays[name] = instead
            if name == "summary_sums" and instead is None and kind == "dense":
                continue  # they are made of the centers
            with pytest.raises(DecodeError):
                KMeans(4, device="cpu").restore(State(state.facts, arrays))


def test_what_has_taken_nothing_has_no_state():
    with pytest.raises(UserError, match="no rows have been taken"):
        KMeans(4).state()


class TestSizes:
    @pytest.mark.parametrize("kind", ["dense", "sparse"])
    def test_they_are_exact_while_all_rows_are_kept(self, kind, dense, sparse):
        rows = (sparse if kind == "sparse" else dense)[:8_000]
        kmeans = KMeans(5).partial_fit(rows).finalize()
        expected = np.bincount(kmeans.predict(rows), minlength=5)
        np.testing.assert_array_equal(kmeans.cluster_sizes(), expected)

    @pytest.mark.parametrize("kind", ["dense", "sparse"])
    def test_they_are_near_where_rows_were_dropped(self, kind, dense, sparse):
        rows = sparse if kind == "sparse" else dense
        kmeans = KMeans(5, reservoir_bytes=300_000).partial_fit(rows).finalize()
        assert kmeans.msd_error_ > 0
        sizes = kmeans.cluster_sizes()
        expected = np.bincount(kmeans.predict(rows), minlength=5)
        assert sizes.sum() == pytest.approx(40_000)
        np.testing.assert_allclose(sizes, expected, rtol=0.1, atol=800)
