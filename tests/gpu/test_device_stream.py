"""A stream that is taken on a GPU learns what one on the host learns."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.core_set import calibrate
from onepass.cluster.device_batch import FillingBatch
from onepass.cluster.device_core import fits_beside
from onepass.cluster.device_plan import most_rows
from onepass.cluster.device_stream import DeviceStream
from onepass.cluster.device_summary import DeviceSummary
from onepass.cluster.kernels import gpu
from onepass.cluster.kernels.on_device import Coins, DeviceBatch
from onepass.cluster.parameters import Parameters
from onepass.cluster.parts import dense_parts
from onepass.cluster.scale import Scale
from onepass.cluster.stream import Stream
from onepass.cluster.summary import Summary
from onepass.cluster.trials import TrialSettings


def parameters(**named):
    given = {"n_clusters": 4, "center_factor": 6, "batch_size": 500, "reservoir_bytes": 20_000}
    fields = KMeans().get_params() | given | named
    fields.pop("random_state")
    return Parameters(**fields)


def settings(n_clusters=4):
    return TrialSettings(n_clusters, "k-means++", 4, 100, 1e-4, 1)


def mixture(n, d, k, seed=0):
    rng = np.random.default_rng([n, d, k, seed])
    means = rng.normal(0, 5, (k, d))
    return (100 + means[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.fixture
def stream(device, monkeypatch):
    """Make a stream on the device, whose batches are small."""
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 1)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)
    monkeypatch.setattr(gpu, "_ONE_BLOCK", 96)  # for the sake of the emulation

    def make(wanted, d, seed=0):
        return DeviceStream(wanted, dense_parts(wanted, d), seed, lambda: device, Scale().fits)

    return make


def pushed(stream, rows, weights=None, step=700):
    weights = np.ones(len(rows)) if weights is None else weights
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        stream.push(WeightedRows(rows[part], weights[part]))
    return stream


def on_host(wanted, d, seed=0):
    return Stream(wanted, dense_parts(wanted, d), seed)


def exact_msd(rows, centers):
    gaps = ((rows[:, None].astype(float) - centers) ** 2).sum(axis=2)
    return gaps.min(axis=1).mean()


@pytest.mark.parametrize("weighted", [False, True])
def test_no_weight_is_lost_and_no_sum(stream, weighted):
    rows, wanted = mixture(3300, 5, 4), parameters()
    weights = np.random.default_rng(1).random(3300) + 0.5 if weighted else np.ones(3300)
    taken = pushed(stream(wanted, 5), rows, weights)
    taken.flush()
    assert taken._there is not None
    taken.land()
    summary = taken.summary
    assert taken.n_taken == 3300
    assert summary.weights.sum() == pytest.approx(weights.sum(), rel=1e-12)
    assert taken.total_weight == pytest.approx(weights.sum(), rel=1e-12)
    np.testing.assert_allclose(summary.sums.sum(axis=0), weights @ rows.astype(float), rtol=1e-8)
    np.testing.assert_allclose(summary.centers, summary.sums / summary.weights[:, None], rtol=1e-6)
    # What scatters about the centers is what rows scatter about all, less the centers themselves.
    mean = weights @ rows.astype(float) / weights.sum()
    about_mean = (weights[:, None] * (rows - mean) ** 2).sum()
    between = (summary.weights[:, None] * (summary.centers - mean) ** 2).sum()
    assert summary.scatter.sum() == pytest.approx(about_mean - between, rel=1e-4)


def test_it_is_as_good_as_on_the_host(stream):
    rows, wanted = mixture(5000, 6, 4), parameters()
    ours = pushed(stream(wanted, 6), rows)
    theirs = pushed(on_host(wanted, 6), rows)
    assert ours.long_term_msd == pytest.approx(theirs.long_term_msd, rel=0.3)
    centers = [taken.finish(settings()).centers for taken in (ours, theirs)]
    msds = [exact_msd(rows, found) for found in centers]
    assert msds[0] == pytest.approx(msds[1], rel=0.01)
    measured = ours.measure(centers[0])
    assert measured.value == pytest.approx(msds[0], abs=4 * measured.error + 0.01 * msds[0])


def test_the_same_rows_give_the_same_centers_and_others_may_follow(stream):
    rows, wanted = mixture(2500, 3, 4), parameters()
    first, second = (pushed(stream(wanted, 3, 7), rows, step=n) for n in (700, 1333))
    found = [taken.finish(settings()).centers for taken in (first, second)]
    assert found[0].tobytes() == found[1].tobytes()
    assert first.finish(settings()).centers.tobytes() == found[0].tobytes()
    more = mixture(1500, 3, 4, seed=5)
    pushed(first, more)
    centers = first.finish(settings()).centers
    assert first.n_taken == 4000
    both = np.concatenate([rows, more])
    host = pushed(on_host(wanted, 3), both).finish(settings()).centers
    assert exact_msd(both, centers) == pytest.approx(exact_msd(both, host), rel=0.03)


def test_the_sample_stands_for_all_rows(stream):
    """Weights of the rows kept add up to those of all, about; more far rows are kept than near."""
    rows, wanted = mixture(6000, 4, 4), parameters(reservoir_bytes=30_000)
    taken = pushed(stream(wanted, 4), rows)
    taken.flush()
    taken.land()
    sample = taken._reservoir.sample(0.0)
    assert not taken.complete
    assert 300 < len(sample.rows) == taken._reservoir.capacity < 1500
    assert sample.weights.sum() == pytest.approx(6000, rel=0.15)
    mean = sample.weights @ sample.rows / sample.weights.sum()
    error = np.sqrt(sample.weights**2 @ (sample.rows - mean) ** 2) / sample.weights.sum()
    assert (np.abs(mean - rows.mean(axis=0)) < 4 * error).all()
    assert (error < 0.5).all()
    known = {row.tobytes() for row in np.round(rows, 2)}
    assert all(row.tobytes() in known for row in np.round(sample.rows, 2))
    assert (sample.strata < len(taken.summary)).all()
    apart = ((sample.rows - taken.summary.centers[sample.strata]) ** 2).sum(axis=1)
    assert np.median(apart) < 60, "rows are in the stratum that absorbed them"


def test_while_all_rows_fit_all_are_kept(stream):
    rows, wanted = mixture(2500, 3, 4), parameters(reservoir_bytes=10**6)
    taken = pushed(stream(wanted, 3), rows)
    taken.flush()
    taken.land()
    assert taken.complete
    kept = taken._reservoir.kept()
    np.testing.assert_allclose(
        kept.rows[np.lexsort(kept.rows.T)], rows[np.lexsort(rows.T)], rtol=1e-6
    )


def test_what_is_old_fades(stream):
    wanted = parameters(half_life=400)
    rows = np.concatenate([mixture(1500, 3, 2), 50 + mixture(1500, 3, 2, seed=1)])
    ours, theirs = pushed(stream(wanted, 3), rows), pushed(on_host(wanted, 3), rows)
    ours.flush()
    ours.land()
    theirs.flush()
    assert ours.total_weight == pytest.approx(theirs.total_weight, rel=1e-9)
    old = [
        taken.summary.weights[(taken.summary.centers < 125).all(axis=1)].sum()
        for taken in (ours, theirs)
    ]
    assert 0 < old[0] < 60
    assert old[0] == pytest.approx(old[1], rel=1e-6)
    assert ours.summary.weights.sum() == pytest.approx(ours.total_weight, rel=1e-9)


def test_streams_of_several_shards_merge(stream):
    rows, wanted = mixture(4000, 3, 4), parameters()
    first, second = pushed(stream(wanted, 3), rows[:2000]), pushed(stream(wanted, 3), rows[2000:])
    first.merge(second)
    assert (first.n_taken, first.summary.weights.sum()) == (4000, pytest.approx(4000))
    host = pushed(on_host(wanted, 3), rows).finish(settings()).centers
    centers = first.finish(settings()).centers
    assert exact_msd(rows, centers) == pytest.approx(exact_msd(rows, host), rel=0.02)


def test_first_centers_may_be_chosen_there(stream, monkeypatch):
    rows, wanted = mixture(3000, 6, 4), parameters()
    monkeypatch.setattr("onepass.cluster.device_stream._WORTH_STARTING", 0)
    monkeypatch.setattr("onepass.cluster.device_stream._WORTH_CHOOSING", 0)
    ours = pushed(stream(wanted, 6), rows[:500])
    assert ours.n_taken == 500
    assert ours._there is None
    assert ours.summary.weights.sum() == pytest.approx(500)
    pushed(ours, rows[500:])
    theirs = pushed(on_host(wanted, 6), rows)
    found = [exact_msd(rows, one.finish(settings()).centers) for one in (ours, theirs)]
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_trials_are_fewer_where_rows_take_less_time(device, monkeypatch):
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 1)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)
    monkeypatch.setattr("onepass.cluster.scaled.find_gpu_for", lambda *_: device)
    monkeypatch.setattr("onepass.cluster.kmeans.find_gpu_for", lambda *_: device)
    rows = mixture(1200, 3, 4)
    counts = {}
    for chosen in ("cpu", "gpu"):
        kmeans = KMeans(4, center_factor=6, batch_size=300, reservoir_bytes=20_000, device=chosen)
        counts[chosen] = kmeans.partial_fit(rows)._stream.n_rows_in_time
    assert counts == {"cpu": 1200, "gpu": 12}


class TestLastStep:
    """The sample may stay on the device when final centers are made."""

    @pytest.fixture(autouse=True)
    def worth(self, monkeypatch):
        monkeypatch.setattr("onepass.cluster.device_finish._WORTH_REFINING", 0)

    @pytest.mark.parametrize("half_life", [0, 900])
    @pytest.mark.parametrize("n_bytes", [20_000, 10**6])
    def test_it_is_as_on_the_host(self, stream, monkeypatch, half_life, n_bytes):
        rows, wanted = mixture(1500, 6, 9), parameters(reservoir_bytes=n_bytes, half_life=half_life)
        ours, theirs = (pushed(stream(wanted, 6), rows) for _ in range(2))
        centers = ours.finish(settings()).centers
        measured = ours.measure(centers)
        assert ours._there is not None
        assert ours.finish(settings()).centers.tobytes() == centers.tobytes()
        monkeypatch.setattr("onepass.cluster.device_finish._WORTH_REFINING", 2**62)
        expected = theirs.finish(settings()).centers
        assert theirs._there is None
        assert theirs.complete == (n_bytes > 20_000)
        assert exact_msd(rows, centers) == pytest.approx(exact_msd(rows, expected), rel=0.02)
        of_theirs = theirs.measure(centers)
        assert measured.value == pytest.approx(of_theirs.value, rel=1e-3)
        assert measured.error == pytest.approx(of_theirs.error, rel=1e-2)
        assert ours.n_centers == theirs.n_centers
        assert ours.complete == theirs.complete

    def test_the_core_set_is_that_of_the_host(self, stream):
        taken = pushed(stream(parameters(), 6), mixture(3300, 6, 9))
        sample = taken._sample_there(4)
        fitted = np.random.default_rng(4).random(len(sample)) < 0.4
        there = sample.core(fitted)._rows
        found, weights = there.rows(np.arange(len(there))), there.weights
        taken.land()
        expected = calibrate(taken.summary.as_rows(), taken._reservoir.sample(0.0), fitted)
        assert len(expected.data.rows) > fitted.sum(), "some strata have no row in the sample"
        np.testing.assert_allclose(weights, expected.data.weights, rtol=1e-9)
        np.testing.assert_allclose(found, expected.data.rows, atol=1e-4)

    def test_more_rows_may_follow(self, stream):
        rows, more = mixture(2500, 3, 4), mixture(1500, 3, 4, seed=5)
        taken = pushed(stream(parameters(), 3), rows)
        taken.finish(settings())
        pushed(taken, more)
        centers = taken.finish(settings()).centers
        assert taken.n_taken == 4000
        both = np.concatenate([rows, more])
        host = pushed(on_host(parameters(), 3), both).finish(settings()).centers
        assert exact_msd(both, centers) == pytest.approx(exact_msd(both, host), rel=0.03)

    def test_with_few_centers_trials_are_made_on_rows_drawn(self, stream):
        rows, wanted = mixture(2500, 3, 4), parameters(center_factor=1)
        taken = pushed(stream(wanted, 3), rows)
        centers = taken.finish(settings()).centers
        assert taken._there is not None
        host = pushed(on_host(wanted, 3), rows).finish(settings()).centers
        assert exact_msd(rows, centers) == pytest.approx(exact_msd(rows, host), rel=0.03)

    def test_where_there_is_no_room_it_is_made_on_the_host(self, stream, device, monkeypatch):
        monkeypatch.setattr(type(device), "free_bytes", lambda _: 2**33)
        taken = pushed(stream(parameters(), 3), mixture(2500, 3, 4))
        monkeypatch.setattr(type(device), "free_bytes", lambda _: 2**20)
        taken.finish(settings())
        assert taken._there is None

    def test_room_is_needed_for_rows_and_for_centers(self, device, monkeypatch):
        monkeypatch.setattr(type(device), "free_bytes", lambda _: 2**30)
        sample = SimpleNamespace(rows=SimpleNamespace(nbytes=2**20, shape=(1, 1000)))
        assert fits_beside(device, sample, 10_000)
        assert not fits_beside(device, sample, 40_000)
        sample.rows.nbytes = 2**29
        assert not fits_beside(device, sample, 10)


def test_batches_are_what_a_device_likes():
    assert most_rows(400) == 2**24 // 400
    assert most_rows(26) == 2**18
    assert most_rows(10**6) == 1024


def test_weights_of_a_batch_are_those_of_its_rows(device):
    """Whatever has been filled in before."""
    filling = FillingBatch(device, 10, np.zeros(2, np.float32))
    rows = np.zeros((3, 2), np.float32)
    one, other = np.ones(3), np.array([2.0, 1, 5])
    for pieces in ([one], [one, other, one], [other], [one, one], [other, one]):
        for weights in pieces:
            filling.add(WeightedRows(rows, weights))
        batch, expected = filling.batch(), np.concatenate(pieces)
        assert filling.weight() == expected.sum()
        assert (batch.weights is None) == (expected == 1).all()
        if batch.weights is not None:
            assert device.get(batch.weights).tolist() == expected.tolist()
        filling.cut(0)


class TestConsolidation:
    """Centers are united as they are on the host."""

    @staticmethod
    def both(device, centers, weights, origin, capacity=40):
        rng = np.random.default_rng(len(centers))
        host = Summary.of(capacity, centers, weights, rng.random(len(centers)))
        there = DeviceSummary(device, host, origin.astype(np.float32), 64 * 20, Scale().fits)
        mapping = there.consolidate(), host.consolidate()
        assert mapping[0].dtype == np.int32
        assert np.array_equal(*mapping)
        found = there.summary()
        np.testing.assert_allclose(found.weights, host.weights, rtol=1e-12)
        np.testing.assert_allclose(found.scatter, host.scatter, rtol=1e-5)
        scale = np.abs(host.sums).max()
        np.testing.assert_allclose(found.sums, host.sums, rtol=1e-5, atol=1e-6 * scale)
        np.testing.assert_allclose(found.centers, host.centers, rtol=1e-5, atol=1e-5)
        assert there.n_centers == len(host) == 34
        return there

    @pytest.mark.parametrize("d", [1, 5, 70])
    def test_by_their_weights_and_distances(self, device, d):
        rng = np.random.default_rng(d)
        centers = rng.normal(3, 1, (57, d)).astype(np.float32)
        self.both(device, centers, rng.integers(1, 1000, 57).astype(float), centers.mean(axis=0))

    def test_where_weights_differ_by_all_that_they_may(self, device):
        rng = np.random.default_rng(5)
        centers = rng.normal(size=(57, 3)).astype(np.float32)
        self.both(device, centers, 10.0 ** rng.uniform(-40, 6, 57), centers.mean(axis=0))

    def test_where_some_are_the_same(self, device):
        rng = np.random.default_rng(6)
        centers = np.repeat(rng.normal(size=(19, 3)), 3, axis=0).astype(np.float32)
        self.both(device, centers, np.ones(57), centers.mean(axis=0))

    def test_far_from_the_origin_where_products_tell_nothing(self, device):
        rng = np.random.default_rng(7)
        centers = (1000 + rng.normal(size=(57, 4))).astype(np.float32)
        self.both(device, centers, rng.integers(1, 9, 57).astype(float), np.zeros(4))

    def test_one_that_is_far_from_all(self, device):
        rng = np.random.default_rng(8)
        centers = rng.normal(size=(57, 4)).astype(np.float32)
        centers[33] = 1e6
        there = self.both(device, centers, np.ones(57), np.zeros(4))
        assert there.summary().centers.max() == np.float32(1e6)


class TestTf32:
    """Products in fewer bits, of 64 features and more."""

    @staticmethod
    def summary(device, offset):
        rng = np.random.default_rng(3)
        centers = rng.normal(size=(20, 64)).astype(np.float32)
        rows = (centers[rng.integers(20, size=300)] + 0.3 * rng.normal(size=(300, 64))).astype("f")
        centers[:, 0] += offset
        rows[:, 0] += offset
        host = Summary.of(20, centers, np.ones(20), np.zeros(20))
        host.service_cost = 1e30  # nothing opens
        on_device = DeviceSummary(device, host, np.zeros(64, np.float32), 300 * 32, Scale().fits)
        assert on_device.tf32
        batch = DeviceBatch(device.put(rows))
        found, _ = on_device.absorb(batch, Coins(1, 0), 1.0, device.new_report())
        apart = ((rows[:, None].astype(float) - centers) ** 2).sum(axis=2)
        return on_device, device.get(found.labels), apart.argmin(axis=1)

    def test_they_are_used_where_they_find_the_closest_centers(self, device):
        on_device, labels, expected = self.summary(device, 0)
        assert on_device.tf32
        assert (labels == expected).mean() > 0.99

    def test_they_are_not_where_rows_are_far_from_the_origin(self, device):
        on_device, labels, expected = self.summary(device, 300)
        assert not on_device.tf32
        assert (labels == expected).mean() > 0.99
