"""Centers that are too many for a GPU's memory come a slice at a time: results are the same."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster import device_finish, device_model, device_plan
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.core_set import CoreSet
from onepass.cluster.device_finish import DeviceWorkshop
from onepass.cluster.device_model import DeviceModel, SlicedModel, model_on
from onepass.cluster.device_plan import SlicePlan, plan, plan_search, plan_slices
from onepass.cluster.device_slices import SlicedRows, SlicedSearch
from onepass.cluster.kernels import cpu, gpu
from onepass.cluster.kernels.gpu import NoGpuError
from onepass.cluster.model import KMeansModel
from onepass.cluster.trials import TrialSettings
from onepass.cluster.ward import cheapest_partners
from onepass.data.batches import BatchReader
from onepass.data.sources import whole_files
from onepass.formats.record_writer import write_rows
from onepass.training import device_tasks, tasks


def normal(n, d, seed=0):
    return np.random.default_rng([n, d, seed]).normal(100, 5, (n, d)).astype(np.float32)


def sliced(device, d, *, rows=50, centers=32):
    return SlicedSearch(device, d, SlicePlan(rows, 2**10, centers, 0))


@pytest.mark.parametrize(("n", "k", "d"), [(120, 100, 3), (50, 32, 70), (1, 33, 1), (0, 5, 2)])
def test_the_closest_centers_are_those_of_the_processor(device, n, k, d):
    rows, centers = normal(n, d), normal(k, d, 1)
    expected = cpu.nearest_centers(rows, centers)
    for search in (sliced(device, d).nearest, sliced(device, d).among):
        found = search(rows, centers)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.sq_distances, expected.sq_distances, rtol=1e-4)


def test_of_equally_close_centers_the_first_is_found(device):
    centers = np.repeat(normal(1, 3), 100, axis=0)
    centers[:40] += 50
    found = sliced(device, 3).nearest(centers[40:45], centers)
    np.testing.assert_array_equal(found.labels, np.full(5, 40))
    assert not found.sq_distances.any()


@pytest.mark.parametrize(("k", "d"), [(130, 3), (64, 70), (2, 2)])
def test_partners_are_those_of_the_processor(device, k, d):
    centers, weights = normal(k, d), np.random.default_rng(5).exponential(size=k) ** 3
    centers[k // 2] = centers[0]
    some = np.random.default_rng(6).permutation(k)[: max(1, k - 7)]
    expected = cheapest_partners(centers, weights, some)
    found = cheapest_partners(centers, weights, some, sliced(device, d, rows=40).partners)
    np.testing.assert_array_equal(found.partner, expected.partner)
    np.testing.assert_allclose(found.price, expected.price, rtol=1e-9)


def test_no_center_is_its_own_partner(device):
    centers, some = normal(100, 4), np.arange(99, -1, -3)
    shares = np.full(100, 0.5, np.float32)
    found = sliced(device, 4, rows=20).partners(centers, shares, some)
    np.testing.assert_array_equal(found, cpu.partners(centers, shares, some))


def test_of_equally_cheap_partners_the_first_is_found(device):
    centers = np.random.default_rng(1).permutation(100).astype(np.float32)[:, None]
    shares, every = np.full(100, 0.5, np.float32), np.arange(100)
    found = sliced(device, 1).partners(centers, shares, every)
    places = np.argsort(centers[:, 0])
    first = np.minimum(places[:-2], places[2:])  # of the two neighbours of each
    np.testing.assert_array_equal(found[places[1:-1]], first)


def test_rows_to_start_from_are_searched_among_rows(device):
    rows, which = normal(90, 4), np.arange(3, 80, 2)
    labels, sq_distances = SlicedRows(sliced(device, 4), rows).nearest_rows(which)
    expected = cpu.nearest_centers(rows, rows[which])
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_allclose(sq_distances, expected.sq_distances, rtol=1e-4, atol=1e-4)


def test_memory_is_freed_until_it_is_needed_again(emulated):
    held, search = emulated().held, sliced(gpu.Gpu(), 3)
    before = search.nearest(normal(9, 3), normal(40, 3))
    search.leave()
    assert held.free() == 2**34
    np.testing.assert_array_equal(search.nearest(normal(9, 3), normal(40, 3)).labels, before.labels)


class TestPlan:
    """Slices are as large as there is room for, and no larger than is of use."""

    def test_all_centers_where_they_fit(self):
        planned = plan_slices(1000, 500, 400, 2**34)
        assert planned[:3] == (1000, 2**26, 512)

    @pytest.mark.parametrize("gib", [0.5, 1, 4, 8])
    def test_what_there_is_room_for(self, gib):
        planned = plan_slices(5000, 400_000, 3000, int(gib * 2**30))
        assert planned.n_bytes <= 0.9 * gib * 2**30
        assert planned.n_centers % 256 == 0
        more = planned.n_bytes + 256 * 8 * 3001
        assert more > 0.9 * gib * 2**30 or planned.n_centers == planned.n_products // 64

    def test_a_card_without_room_for_the_least_is_refused(self):
        with pytest.raises(NoGpuError) as caught:
            plan_slices(5000, 400_000, 3000, 2**28)
        assert str(caught.value) == (
            "it has 0.25 GiB free, and 256 centers of 3000 features at a time, with the smallest "
            "batch of rows, take 0.35 GiB"
        )


@pytest.fixture
def card(emulated, monkeypatch):
    """A GPU that has room for slices of 32 centers; tells what is held of it."""
    cupy = emulated(memory=2**20)
    monkeypatch.setattr("onepass.cluster.devices.visible_gpus", lambda: 1)
    for name, value in {
        "_LEAST_ROWS": 100,
        "_ROW_VALUES": 1,
        "_OTHER": 0,
        "_SLOTS": 0,
        "_PRODUCTS": 2**12,
        "_LEAST_PRODUCTS": 2**12,
        "_LEAST_SLICE": 32,
    }.items():
        monkeypatch.setattr(device_plan, name, value)
    monkeypatch.setattr("onepass.cluster.device_rows.PRODUCTS", 2**12)
    monkeypatch.setattr(device_model, "_WORTH", 1)
    return cupy.held


PARTED = {"center_factor": 8, "batch_size": 400, "n_init": 2, "reservoir_bytes": 2**17}


def test_a_stream_learns_what_it_learns_on_the_processor(card, caplog):
    rows = normal(2500, 40)
    ours, theirs = KMeans(60, **PARTED), KMeans(60, device="cpu", **PARTED)
    with pytest.raises(NoGpuError):
        plan(ours.checked_parameters(), 40, 2**20)
    with caplog.at_level(logging.INFO):
        for start in range(0, 2500, 700):
            ours.partial_fit(rows[start : start + 700])
            theirs.partial_fit(rows[start : start + 700])
    [told] = caplog.messages
    assert told.startswith("searching on GPU 0, a slice of the centers at a time: it has 0.00 GiB")
    assert 0 < card.peak[0] <= plan_slices(400, 544, 40, 2**20).n_bytes
    for kmeans in (ours, theirs):
        kmeans.flush()
    of_ours, of_theirs = (kmeans._stream._stream.summary for kmeans in (ours, theirs))
    np.testing.assert_array_equal(of_ours.centers, of_theirs.centers)
    np.testing.assert_array_equal(of_ours.weights, of_theirs.weights)
    assert ours.finalize().msd_ == pytest.approx(theirs.finalize().msd_, rel=0.02)
    assert card.free() == 2**20
    ours.partial_fit(rows[:800]).finalize()
    assert ours.n_samples_seen_ == 3300


def test_a_stream_that_is_split_can_be_pickled_and_merged(card):
    first, second = (
        KMeans(60, **PARTED).partial_fit(normal(1200, 40, seed)).flush() for seed in (1, 2)
    )
    second = pickle.loads(pickle.dumps(second))  # noqa: S301 - our own
    merged = first.merge(second).finalize()
    assert merged.n_samples_seen_ == 2400
    assert merged._stream._stream.total_weight == 2400
    assert card.peak[0] <= 0.9 * 2**20


def test_where_not_even_a_slice_fits_the_processor_takes_over(card, monkeypatch, caplog):
    monkeypatch.setattr(device_plan, "_OTHER", 2**20)
    rows = normal(3000, 40)
    ours = KMeans(60, **PARTED).partial_fit(rows).finalize()
    theirs = KMeans(60, device="cpu", **PARTED).partial_fit(rows).finalize()
    np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
    assert "computing on the CPU: GPU 0, an emulation, is too small" in caplog.text
    assert not card.peak[0]


def test_first_centers_that_do_not_fit_are_chosen_in_slices(card, monkeypatch):
    monkeypatch.setattr("onepass.cluster.device_stream._WORTH_STARTING", 1)
    monkeypatch.setattr("onepass.cluster.device_stream._WORTH_CHOOSING", 1)
    rows = normal(2200, 40)
    ours = KMeans(60, **PARTED).partial_fit(rows[:1600])
    assert 0 < card.peak[0] <= 0.9 * 2**20
    theirs = KMeans(60, device="cpu", **PARTED).fit(rows)
    assert ours.partial_fit(rows[1600:]).finalize().msd_ == pytest.approx(theirs.msd_, rel=0.03)


def test_answers_to_files(card):
    centers, rows = normal(1500, 40), normal(700, 40, 2)
    with pytest.raises(NoGpuError):
        plan_search(1500, 40, 2**20)
    ours, theirs = model_on(gpu.Gpu(), KMeansModel(centers)), KMeansModel(centers)
    assert isinstance(ours, SlicedModel)
    found, expected = ours.assign(rows), theirs.assign(rows)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)
    huge = rows[:20] * np.float32(1e30)
    np.testing.assert_array_equal(ours.predict(huge), theirs.predict(huge))
    assert 0 < card.peak[0] <= plan_slices(100, 1500, 40, 2**20).n_bytes


def test_a_model_that_fits_is_there_whole(card):
    assert isinstance(model_on(gpu.Gpu(), KMeansModel(normal(50, 40))), DeviceModel)
    del card


def test_further_epochs_and_scores(card, monkeypatch, tmp_path):
    rows, model = normal(900, 40, 3), KMeansModel(normal(1500, 40))
    (tmp_path / "some").write_bytes(write_rows(rows[:500]) + write_rows(rows[500:], sparse=True))
    monkeypatch.setattr("onepass.cluster.devices.visible_gpus", lambda: 1)

    def reader():
        return BatchReader(whole_files([tmp_path / "some"]), 40, 70)

    told = []
    ours = device_tasks.step("gpu", model, reader(), told.append)
    theirs = tasks.step(model, reader(), lambda _: None)
    assert told[-1].n_rows == 900
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    np.testing.assert_allclose(ours.sums, theirs.sums, rtol=1e-9)
    assert ours.inertia == pytest.approx(theirs.inertia, rel=1e-6)
    score = device_tasks.score("gpu", model, reader(), lambda _: None)
    assert score.n_rows == 900
    assert score.ssd == pytest.approx(theirs.inertia, rel=1e-6)
    assert 0 < card.peak[0] <= plan_slices(100, 1500, 40, 2**20).n_bytes


def test_a_last_step_that_does_not_fit_is_made_by_the_processor(emulated, monkeypatch):
    held = emulated(memory=2**16).held
    for name in ("_WORTH_TRIALS", "_WORTH_REFINING"):
        monkeypatch.setattr(device_finish, name, 0)
    rows = WeightedRows(normal(900, 40), np.ones(900))
    settings = TrialSettings(5, "k-means++", 2, 20, 1e-4, 1)
    workshop, rngs = DeviceWorkshop(gpu.Gpu()), [np.random.default_rng(i) for i in (1, 2)]
    assert workshop.trials(rows, settings, rngs).best[0].centers.shape == (5, 40)
    refinement = workshop.refinement(CoreSet(rows, np.zeros(900, np.int32)), rows.rows, settings)
    assert refinement.run(rows.rows[:5], np.inf).centers.shape == (5, 40)
    assert not held.peak[0]
