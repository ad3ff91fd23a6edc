"""What is taken of a GPU's memory is planned, and is no more than was planned."""

from __future__ import annotations

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster import device_plan
from onepass.cluster.device_plan import plan, plan_search, plan_slices_for, with_room
from onepass.cluster.kernels import gpu
from onepass.cluster.kernels.gpu import NoGpuError
from onepass.cluster.record_intake import N_SLOTS
from onepass.errors import PlatformError, UserError
from onepass.training import record_feed


def parameters(k=500, **named):
    return KMeans(k, **named).checked_parameters()


def test_with_memory_enough_all_is_as_liked():
    planned = plan(parameters(), 400, 80 * 2**30)
    assert planned[:2] == (2**24 // 400, 2**26)
    assert planned.n_bytes < 3 * 2**30
    assert plan(parameters(10), 26, 16 * 2**30).batch_rows == 2**18


def test_rows_of_a_batch_that_fades_are_a_part_of_the_half_life():
    sizes = {
        half_life: device_plan.batch_rows(parameters(10, half_life=half_life), 26)
        for half_life in (0, 1e9, 400_000, 20_000, 100)
    }
    assert sizes == {0: 2**18, 1e9: 2**18, 400_000: 100_000, 20_000: 5000, 100: 5000}


def test_blocks_on_their_way_are_planned_for():
    assert device_plan._SLOTS == N_SLOTS * record_feed._BLOCK_BYTES


@pytest.mark.parametrize(("k", "d"), [(500, 400), (10, 26), (10_000, 784), (2, 100_000)])
def test_with_less_memory_less_is_held_at_once_and_no_more_than_there_is(k, d):
    wanted = parameters(k, reservoir_bytes=2**26)
    fits, fails = 80 * 2**30, 0
    before = plan(wanted, d, fits)
    while fits - fails > 1:
        free = (fits + fails) // 2
        try:
            planned = plan(wanted, d, free)
        except NoGpuError:
            fails = free
            continue
        fits = free
        assert planned.n_bytes <= 0.9 * free
        assert planned.batch_rows <= before.batch_rows
        assert planned.n_products <= before.n_products
        before = planned
    assert device_plan._LEAST_ROWS <= before.batch_rows < 2 * device_plan._LEAST_ROWS
    assert before.n_products < 2 * max(device_plan._LEAST_PRODUCTS, 5 * wanted.n_centers)


def test_what_does_not_fit_is_refused_with_figures():
    with pytest.raises(NoGpuError) as caught:
        plan(parameters(100_000), 3000, 2**34)
    assert str(caught.value) == (
        "it has 16.00 GiB free, and 400000 centers of 3000 features with a sample of 200000 rows "
        "take 42.99 GiB"
    )


class TestTooSmallACard:
    """Nothing begins on one: the processor takes over, or the job is refused."""

    @pytest.fixture
    def cards(self, emulated, monkeypatch):
        """Three of them: of 768 MiB, of half of that, and of a quarter."""
        emulated(memory=3 * 2**28, n_gpus=3)
        monkeypatch.setattr("onepass.cluster.devices.visible_gpus", lambda: 3)
        return [gpu.Gpu(i) for i in range(3)]

    def test_where_it_is_demanded(self, cards):
        why = "device=gpu: GPU 2, an emulation, is too small: it has 0.19 GiB free, and .*; device"
        with pytest.raises(UserError, match=why):
            with_room(cards[2:], parameters(device="gpu"), 400)
        why = "device=gpu:2: GPU 2, an emulation, is too small"
        with pytest.raises(UserError, match=why):
            KMeans(500, device="gpu:2").partial_fit(np.zeros((10, 400), np.float32))

    def test_where_it_is_not(self, cards, caplog):
        assert not with_room(cards[2:], parameters(), 400)
        [told] = caplog.messages
        assert told.startswith(
            "computing on the CPU: GPU 2, an emulation, is too small: it has 0.1"
        )

    @pytest.mark.parametrize("device", ["auto", "gpu"])
    def test_where_others_are_left(self, cards, caplog, device):
        wanted = parameters(10, device=device, reservoir_bytes=2**20)
        found = with_room(cards, wanted, 26)
        assert [card.index for card in found] == [0]
        assert [told[:22] for told in caplog.messages] == [
            "not used: GPU 1, an em",
            "not used: GPU 2, an em",
        ]

    def test_slices_are_for_where_no_card_has_room_for_all(self, cards, monkeypatch, caplog):
        monkeypatch.setattr(device_plan, "_OTHER", 2**26)
        wanted = parameters(20_000, device="gpu", reservoir_bytes=2**20)
        with pytest.raises(NoGpuError):
            plan(wanted, 400, 3 * 2**28)
        assert with_room(cards, wanted, 400) == cards
        wanted = parameters(500, device="gpu", reservoir_bytes=2**20)
        assert with_room(cards, wanted, 400) == cards[:2]
        assert [told[:15] for told in caplog.messages] == ["not used: GPU 2"]

    def test_a_search_needs_room_too(self):
        assert plan_search(500, 400, 2**34).n_products == 2**26
        assert plan_search(500, 400, 2**29).n_products < 2**24
        with pytest.raises(NoGpuError, match=r"500 centers of 400 features take 0\.4"):
            plan_search(500, 400, 2**28)

    def test_a_stream_whose_memory_has_gone_goes_on_without(self, emulated, monkeypatch, caplog):
        emulated()
        monkeypatch.setattr("onepass.cluster.devices.visible_gpus", lambda: 1)
        monkeypatch.setattr(device_plan, "_LEAST_ROWS", 100)
        monkeypatch.setattr(device_plan, "_ROW_VALUES", 1)
        monkeypatch.setattr("onepass.cluster.device_stream.plan", lambda *_: plan(*_[:2], 0))
        monkeypatch.setattr(
            "onepass.cluster.device_slices.plan_slices_for", lambda *_: plan_slices_for(*_[:2], 0)
        )
        rows = np.random.default_rng(3).normal(size=(2000, 3)).astype(np.float32)
        how = {"center_factor": 6, "batch_size": 300, "n_init": 2}
        ours = KMeans(4, **how).partial_fit(rows).finalize()
        theirs = KMeans(4, device="cpu", **how).partial_fit(rows).finalize()
        np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
        [told] = caplog.messages
        assert told.startswith("computing on the CPU: it has 0.00 GiB free")


def test_memory_that_has_gone_meanwhile_is_an_error_of_the_surroundings(emulated):
    cupy = emulated()
    card = gpu.Gpu()

    def none_left(*_):
        raise cupy.cuda.memory.OutOfMemoryError("out of memory")

    cupy.empty = cupy.zeros = none_left
    for take in (card.empty, card.zeros):
        with pytest.raises(PlatformError, match="an emulation has no memory left"):
            take(10, np.float32)
    with pytest.raises(PlatformError, match="an emulation has no memory left"):
        card.put(np.zeros(3))


@pytest.mark.parametrize(("k", "d"), [(40, 70), (100, 5)])
def test_a_stream_takes_no_more_than_was_planned(emulated, monkeypatch, k, d):
    for name, value in {"_LEAST_ROWS": 100, "_ROW_VALUES": 1, "_OTHER": 0, "_SLOTS": 0}.items():
        monkeypatch.setattr(device_plan, name, value)
    monkeypatch.setattr(device_plan, "_PRODUCTS", 2**14)
    monkeypatch.setattr(device_plan, "_LEAST_PRODUCTS", 2**12)
    monkeypatch.setattr("onepass.cluster.devices.visible_gpus", lambda: 1)
    wanted = {"batch_size": 400, "n_init": 2, "reservoir_bytes": 2**17}
    planned = plan(parameters(k, **wanted), d, 2**34)
    held = emulated(memory=int(planned.n_bytes / 0.9) + 1).held
    rows = np.random.default_rng([k, d]).normal(size=(5000, d)).astype(np.float32)
    KMeans(k, device="gpu", **wanted).partial_fit(rows).finalize()
    assert planned.n_bytes / 4 < held.peak[0] <= planned.n_bytes
