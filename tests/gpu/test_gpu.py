"""Kernels on a GPU do what their short forms in NumPy do."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels import gpu, reference
from onepass.cluster.kernels import on_device as there
from onepass.cluster.kernels.on_device import (
    Chance,
    Coins,
    DeviceBatch,
    DeviceHoldings,
    Drawn,
    Found,
    RecordLayout,
    Room,
    Terms,
)
from onepass.cluster.kernels.results import Holdings
from onepass.cluster.summary import LEAST_WEIGHT

SHAPES = [(1, 1, 1), (5, 3, 2), (70, 33, 15), (200, 100, 40), (65, 7, 130)]


def drawn(n, k, d, seed=0):
    rng = np.random.default_rng([n, k, d, seed])
    return (rng.normal(size=(m, d)).astype(np.float32) for m in (n, k))


def search(device, rows, centers, room=None, *, tf32=False, **named):
    """Lay out, multiply, settle."""
    n, d = rows.shape
    room = room or len(centers)
    factors, squares = device.empty((room, d), np.float32), device.empty(room, np.float32)
    products = device.empty((n, room), np.float32)
    on_device, among = device.put(rows), device.put(centers)
    device.lay_out(among, len(centers), factors, squares)
    device.multiply(on_device, factors, products, tf32=tf32)
    found = device.new_found(n, **named)
    device.settle(products, squares, on_device, among, found)
    return on_device, found


def test_something_is_subtracted_from_all_rows(device):
    rows, origins = drawn(37, 1, 9)
    there = device.put(rows)
    device.subtract(there, device.put(origins[0]))
    np.testing.assert_array_equal(device.get(there), rows - origins[0])
    device.subtract(there[5:8], device.put(np.ones(9, np.float32)))
    np.testing.assert_array_equal(
        device.get(there)[4:6], (rows - origins[0])[4:6] - np.float32([[0], [1]])
    )


def summed(device, batch, found, k):
    sums = device.new_sums(k, batch.rows.shape[1])
    device.sum_up(device.add(batch, found, k), sums)
    return device.get(sums)


def sq_distances(rows, centers):
    return ((rows[:, None].astype(float) - centers) ** 2).sum(axis=2)


@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
@pytest.mark.parametrize("spare", [0, 5])
@pytest.mark.parametrize("tf32", [False, True])
def test_the_closest_centers_are_found(device, n, k, d, spare, tf32):
    rows, centers = drawn(n, k, d)
    _, found = search(device, rows, centers, k + spare, tf32=tf32, others=True, norms=True)
    apart = sq_distances(rows, centers)
    labels = device.get(found.labels)
    chosen = apart[np.arange(n), labels]
    assert ((labels >= 0) & (labels < k)).all()
    if not tf32:
        np.testing.assert_allclose(chosen, apart.min(axis=1), rtol=1e-5, atol=1e-6)
    else:  # a few rows amid two centers may go to the farther one
        assert chosen.sum() <= apart.min(axis=1).sum() * 1.001
    np.testing.assert_allclose(device.get(found.sq_distances), chosen, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(device.get(found.norms), (rows**2).sum(axis=1), rtol=1e-5)
    if k > 1 and not tf32:
        second = np.sort(apart, axis=1)[:, 1]
        np.testing.assert_allclose(device.get(found.others), second, rtol=1e-4)
    elif k == 1:
        assert np.isinf(device.get(found.others)).all()


def test_of_equal_centers_the_lowest_wins(device):
    rng = np.random.default_rng(4)
    different = rng.integers(-9, 9, (30, 3)).astype(np.float32)
    centers = different[rng.integers(0, 30, 100)]
    rows = rng.integers(-9, 9, (200, 3)).astype(np.float32)
    _, found = search(device, rows, centers)
    labels = device.get(found.labels)
    assert labels.tolist() == sq_distances(rows, centers).argmin(axis=1).tolist()


def test_of_two_that_products_confuse_the_closer_one_is_taken(device):
    """In TF32 both are 128, so that products are the same: the shorter one seems closer."""
    centers = np.full((2, 64), 128, np.float32)
    centers[0] += np.float32(0.01)
    rows = centers[[0, 1, 0]]
    _, found = search(device, rows, centers, tf32=True)
    assert device.get(found.labels).tolist() == [0, 1, 0]
    assert device.get(found.sq_distances).tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_head", [0, 16, 17, 18, 19])
def test_values_are_taken_out_of_records(device, n_head):
    rng = np.random.default_rng(n_head)
    n, d, n_tail = 50, 9, 6
    rows = rng.normal(size=(n, d)).astype(np.float32)
    n_bytes = -(-(n_head + 4 * d + n_tail) // 4) * 4
    records = np.tile(rng.integers(0, 256, n_bytes).astype(np.uint8), (n, 1))
    records[:, n_head : n_head + 4 * d] = rows.view(np.uint8).reshape(n, -1)
    records[:, n_head + 4 * d + 2] = rng.integers(0, 256, n)  # which may be anything
    mask = np.full(n_bytes, 255, np.uint8)
    mask[n_head : n_head + 4 * d] = mask[n_head + 4 * d + 2] = 0
    layout = RecordLayout(
        n_bytes // 4,
        device.put(records[0].view(np.uint32)),
        device.put(mask.view(np.uint32)),
        n_head // 4,
        8 * (n_head % 4),
    )
    origin = rng.normal(size=d).astype(np.float32)

    def unpacked(records):
        out, report = device.empty((n, d), np.float32), device.new_report()
        words = device.put(np.ascontiguousarray(records).view(np.uint32).reshape(-1))
        device.unpack(words, layout, Room(out, device.put(origin), 0), report)
        return device.get(out), device.read(report)

    out, told = unpacked(records)
    assert out.tobytes() == (rows - origin).tobytes()
    assert (told["first_other"], told["first_bad"]) == (there._NOWHERE, there._NOWHERE)
    assert np.uint32(told["peak"]).view(np.float32) == np.abs(rows).max()
    for at in [*range(n_head), n_head + 4 * d, n_head + 4 * d + 1, n_bytes - 1]:
        if mask[at]:
            other = records.copy()
            other[[7, 30], at] ^= 16
            assert unpacked(other)[1]["first_other"] == 7
    for bad in (np.nan, np.inf, -np.inf):
        values = rows.copy()
        values[[41, 12], [0, d - 1]] = bad
        other = records.copy()
        other[:, n_head : n_head + 4 * d] = values.view(np.uint8).reshape(n, -1)
        told = unpacked(other)[1]
        assert (told["first_bad"], told["first_other"]) == (12, there._NOWHERE)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "d"),
    [
        *((1, 1, 1), (127, 2, 3), (128, 1, 2), (129, 1, 200)),
        *((1000, 7, 5), (5000, 300, 20), (4096, 2000, 3)),
    ],
)
def test_rows_are_added_up_by_label(device, n, k, d, weighted):
    rng = np.random.default_rng([n, k, d])
    rows = rng.normal(size=(n, d)).astype(np.float32)
    labels = (k * rng.random(n) ** 3).astype(np.int32)
    labels[labels == k // 2] = 0  # one has none
    sq_distances = rng.random(n).astype(np.float32)
    weights = rng.random(n) if weighted else None
    batch = DeviceBatch(device.put(rows), None if weights is None else device.put(weights))
    found = Found(device.put(labels), device.put(sq_distances))
    sums = summed(device, batch, found, k)
    expected = reference.accumulate(rows, labels, k, weights)
    np.testing.assert_allclose(sums[:, :d], expected.sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums[:, d], expected.weights, rtol=1e-12)
    costs = np.bincount(labels, sq_distances * (1 if weights is None else weights), k)
    np.testing.assert_allclose(sums[:, d + 1], costs, rtol=1e-12)


def test_rows_of_a_label_are_added_up_in_their_order(device):
    """To the last bit: values of many sizes, whose sum depends on it."""
    rng = np.random.default_rng(6)
    rows = (rng.normal(size=(120, 3)) * 2.0 ** rng.integers(-40, 40, (120, 1))).astype(np.float32)
    labels = rng.integers(0, 4, 120).astype(np.int32)
    found = Found(device.put(labels), device.zeros(120, np.float32))
    sums = summed(device, DeviceBatch(device.put(rows)), found, 4)
    expected = np.zeros((4, 3))
    for row, label in zip(rows, labels, strict=True):
        expected[label] += row
    np.testing.assert_array_equal(sums[:, :3], expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), [(40, 3, 2), (700, 30, 40), (300, 2, 300)])
def test_centers_move_as_those_of_numpy(device, n, k, d, weighted):
    rng = np.random.default_rng([n, k, d])
    weights = rng.random(n) + 0.5 if weighted else np.ones(n)
    first, rows = (rng.normal(3, 1, (m, d)).astype(np.float32) for m in (k, n))
    held = Holdings(first.copy(), np.zeros((k, d)), np.zeros(k), np.zeros(k))
    on_device, service = DeviceHoldings(*map(device.put, held)), device.zeros(1, np.float64)
    costs = 0.0
    for part in np.array_split(np.arange(n), 3):
        _, found = search(device, rows[part], held.centers)
        labels, apart = device.get(found.labels), device.get(found.sq_distances)
        reference.move(WeightedRows(rows[part], weights[part]), labels, apart, held)
        report = device.new_report()
        given = device.put(weights[part]) if weighted else None
        added = device.add(DeviceBatch(device.put(rows[part]), given), found, k)
        device.move(added, on_device, 1.0, service, report)
        assert device.read(report)["cost"] == pytest.approx(apart @ weights[part], rel=1e-9)
        costs += apart.astype(float) @ weights[part]
    assert device.get(service)[0] == pytest.approx(costs, rel=1e-9)
    for ours, theirs in zip(map(device.get, on_device), held, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


def test_what_is_held_fades(device):
    rows = np.float32([[1, 1], [3, 1], [9, 9]])
    held = DeviceHoldings(
        *map(device.put, (rows.copy(), 4.0 * rows.astype(float), np.full(3, 4.0), np.ones(3)))
    )
    found = Found(device.put(np.int32([0])), device.put(np.float32([4])))
    added = device.add(DeviceBatch(device.put(np.float32([[1, 3]]))), found, 3)
    service = device.put(np.array([100.0]))
    device.move(added, held, 0.25, service, device.new_report())
    assert device.get(service).tolist() == [29.0]
    centers, sums, weights, scatter = map(device.get, held)
    assert centers.tolist() == [[1, 2], [3, 1], [9, 9]]
    assert weights.tolist() == [2, 1, 1]
    assert sums.tolist() == [[2, 4], [3, 1], [9, 9]]
    # A quarter of the scatter, and two rows one away from their mean.
    assert scatter.tolist() == [0.25 + 2, 0.25, 0.25]
    device.move(added, held, 1e-200, service, device.new_report())
    centers, _, weights, _ = map(device.get, held)
    assert weights.tolist() == [1, LEAST_WEIGHT, LEAST_WEIGHT]
    assert centers.tolist() == [[1, 3], [3, 1], [9, 9]]


def room_for(device, n):
    return Drawn(device.empty(n, np.int32), *(device.empty(n, np.float64) for _ in range(3)))


def coins_of(device, n, seed, before=0):
    """Learn the coins of rows: in a draw of equal chances, keys are their logarithms."""
    found = Found(device.zeros(n, np.int32), device.zeros(n, np.float32))
    batch = DeviceBatch(device.zeros((n, 1), np.float32))
    coins = Coins(seed, before)
    chance = Chance(device.zeros(1, np.float64), 1.0, 0.0, np.inf)
    drawn = room_for(device, n)
    device.draw(batch, found, coins, chance, drawn, device.new_report())
    return np.exp2(device.get(drawn.keys))


def test_coins_are_those_of_the_row_wherever_batches_begin(device):
    coins = coins_of(device, 3000, seed=5)
    assert ((coins > 0) & (coins <= 1)).all()
    assert coins.mean() == pytest.approx(0.5, abs=0.02)
    assert np.quantile(coins, 0.1) == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(coins_of(device, 500, seed=5, before=700), coins[700:1200])
    assert abs(np.corrcoef(coins, coins_of(device, 3000, seed=6))[0, 1]) < 0.05


def openings(device, rows, centers, price, room, weights=None, seed=3, before=11):
    """Open on the device, and by the rule as it is written for NumPy."""
    n = len(rows)
    on_device, found = search(device, rows, centers, norms=True)
    batch = DeviceBatch(on_device, None if weights is None else device.put(weights))
    report = device.new_report()
    terms = Terms(device.put(np.array([7 * price])), 7, room)
    opened = device.open_far(batch, found, Coins(seed, before), terms, report)
    told = device.read(report)
    chosen = device.get(opened)[: told["n_opened"]]
    weights = np.ones(n) if weights is None else weights
    coins, apart = coins_of(device, n, seed, before), device.get(found.sq_distances)
    cost = apart * weights
    asked = np.flatnonzero(cost > coins * price)
    flooded = len(asked) > room
    if flooded:
        worth = np.float32(cost[asked] / price / coins[asked])
        least = np.sort(worth)[-room]
        price, asked = price * float(least), asked[worth >= least][:room]
    left = apart[asked].astype(float)
    expected = asked[
        reference.open_far(WeightedRows(rows[asked], weights[asked]), left, coins[asked], price)
    ]
    return chosen.tolist(), bool(told["flooded"]), expected.tolist(), flooded and len(expected) > 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("price", "room"), [(1e9, 10), (300.0, 300), (60.0, 300), (3.0, 20)])
@pytest.mark.parametrize("n", [7, 1200])
def test_rows_open_centers_as_if_they_came_one_by_one(device, n, price, room, weighted):
    rows, centers = drawn(n, 5, 12)
    rows *= 3
    weights = np.random.default_rng(0).random(n) + 0.5 if weighted else None
    ours, flooded, expected, expected_flooded = openings(
        device, rows, centers, price, room, weights
    )
    assert ours == expected
    assert flooded == expected_flooded
    assert (price > 1e6) == (not ours) or n == 7
    assert len(ours) <= room


@pytest.mark.parametrize("scale", [2.0**-200, 2.0**133, 2.0**300])
def test_weights_of_any_size_open_the_same_centers(device, scale):
    rows, centers = drawn(400, 5, 12)
    weights = np.random.default_rng(0).random(400) + 0.5
    usual, flooded, _, _ = openings(device, rows, centers, 1.0, 20, weights)
    assert flooded
    ours, _, _, _ = openings(device, rows, centers, scale, 20, weights * scale)
    assert ours == usual


def test_rounding_opens_no_centers(device):
    rows = np.full((100, 3), 1e6, np.float32) + np.arange(100)[:, None].astype(np.float32) % 2
    ours, _, _, _ = openings(device, rows, rows[:1], 1e-9, 50)
    assert ours == []


def test_rows_go_to_fresh_centers_that_are_closer(device):
    rows, centers = drawn(400, 10, 6)
    on_device, found = search(device, rows, centers)
    before = device.get(found.labels), device.get(found.sq_distances)
    opened = np.int32([17, 5, 300])
    room = device.empty((13, 6), np.float32)
    room[:10] = device.put(centers)
    device.settle_down(on_device, device.put(opened), room, 10, found)
    fresh = device.get(room)[10:]
    assert fresh.tobytes() == rows[opened].tobytes()
    factors, squares = device.empty((4, 6), np.float32), device.empty(4, np.float32)
    products = device.empty((400, 4), np.float32)
    device.lay_out(device.put(fresh), 3, factors, squares)
    device.multiply(on_device, factors, products, tf32=False)
    device.adopt(products, squares, on_device, device.put(fresh), 10, found)
    labels, apart = device.get(found.labels), device.get(found.sq_distances)
    assert labels[opened].tolist() == [10, 11, 12]
    assert apart[opened].tolist() == [0, 0, 0]
    among_all = sq_distances(rows, np.concatenate([centers, fresh]))
    np.testing.assert_allclose(apart, among_all.min(axis=1), rtol=1e-4, atol=1e-6)
    stayed = labels < 10
    assert 0 < stayed.sum() < 390
    np.testing.assert_array_equal(labels[stayed], before[0][stayed])
    np.testing.assert_array_equal(apart[stayed], before[1][stayed])


def test_a_sample_is_drawn_by_keys(device):
    n, d = 2500, 4
    rng = np.random.default_rng(8)
    rows, weights = rng.normal(size=(n, d)).astype(np.float32), rng.random(n) + 0.5
    labels, apart = rng.integers(0, 50, n).astype(np.int32), rng.random(n).astype(np.float32)
    batch = DeviceBatch(device.put(rows), device.put(weights))
    found = Found(device.put(labels), device.put(apart))
    report = device.new_report()
    log2_age, threshold = 0.25, -2.0
    chance = Chance(device.put(np.array([150.0])), 300.0, log2_age, threshold)
    drawn = room_for(device, n)
    device.draw(batch, found, Coins(9, 100), chance, drawn, report)
    coins = coins_of(device, n, 9, 100)
    log2_chances = np.log2(weights * (0.5 + apart.astype(float))) + log2_age
    keys = np.log2(coins) - log2_chances
    expected = np.flatnonzero(keys < threshold)
    n_drawn = device.read(report)["n_sampled"]
    assert 0 < n_drawn < n
    got = [device.get(column)[:n_drawn] for column in drawn]
    np.testing.assert_array_equal(got[0], expected)
    np.testing.assert_allclose(got[1], keys[expected], rtol=1e-12)
    np.testing.assert_allclose(
        got[2], np.log2(weights[expected]) + log2_age, rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(got[3], log2_chances[expected], rtol=1e-12, atol=1e-15)
    taken = device.zeros((n, d), np.float32), device.zeros(n, np.int32)
    device.take(batch.rows, found.labels, drawn.which, report, taken)
    assert device.get(taken[0])[:n_drawn].tobytes() == rows[expected].tobytes()
    assert device.get(taken[1])[:n_drawn].tolist() == labels[expected].tolist()
    assert not device.get(taken[0])[n_drawn:].any()


def test_rows_move_into_the_places_of_others(device):
    rows = np.arange(60, dtype=np.float32).reshape(12, 5)
    store = device.put(rows)
    device.fill_holes(store, device.put(np.int32([3, 0])), device.put(np.int32([11, 7])))
    expected = rows.copy()
    expected[[3, 0]] = rows[[11, 7]]
    assert device.get(store).tolist() == expected.tolist()


def test_of_equal_fresh_centers_the_lowest_wins(device):
    rows, centers = drawn(40, 3, 5)
    on_device, found = search(device, rows, centers)
    fresh = rows[[7, 8, 7, 8]]
    products, squares = device.empty((40, 4), np.float32), device.empty(4, np.float32)
    factors = device.empty((4, 5), np.float32)
    device.lay_out(device.put(fresh), 4, factors, squares)
    device.multiply(on_device, factors, products, tf32=False)
    device.adopt(products, squares, on_device, device.put(fresh), 3, found)
    labels = device.get(found.labels)
    assert labels[[7, 8]].tolist() == [3, 4]
    assert labels.max() == 4


class TestNoGpu:
    def test_without_cupy_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr("builtins.__import__", refusing("cupy"))
        gpu.cuda.cache_clear()
        with pytest.raises(gpu.NoGpuError, match=r"No module named 'cupy'.*onepass-kmeans\[gpu\]"):
            gpu.count_gpus()
        gpu.cuda.cache_clear()

    def test_none_is_told(self, emulated):
        emulated(n_gpus=0)
        with pytest.raises(gpu.NoGpuError, match="there is no GPU"):
            gpu.Gpu()

    def test_without_a_driver_it_says_so(self, emulated):
        def fail():
            raise RuntimeError("cudaErrorInsufficientDriver")

        emulated().cuda.runtime.getDeviceCount = fail
        with pytest.raises(gpu.NoGpuError, match="no GPU can be used: cudaErrorInsufficientDriver"):
            gpu.Gpu()

    def test_too_old_a_card_is_refused(self, emulated):
        emulated(major=6)
        with pytest.raises(gpu.NoGpuError, match=r"too old: compute capability 6.0, 7.0 is needed"):
            gpu.Gpu()

    def test_what_it_is_is_told(self, emulated):
        emulated(memory=2**33)
        device = gpu.Gpu()
        assert (device.name, device.n_bytes, device.free_bytes()) == ("an emulation", 2**33, 2**33)


def refusing(refused):
    """Return an import that does not find one module."""
    real = __import__

    def importing(name, *given, **named):
        if name == refused:
            raise ImportError(f"No module named {name!r}")
        return real(name, *given, **named)

    return importing
