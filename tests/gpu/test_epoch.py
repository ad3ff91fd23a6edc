"""Further epochs and scores on a GPU sum what the processor sums."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.cluster import devices
from onepass.cluster.arrays import Weighted, WeightedRows
from onepass.cluster.device_epoch import DeviceEpoch
from onepass.cluster.epoch import sum_shard
from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.data.sources import whole_files
from onepass.formats.record_writer import write_rows
from onepass.sparse import SparseRows
from onepass.training import device_tasks, record_feed, tasks


def data_of(n, d, k, seed=0):
    rng = np.random.default_rng([n, d, k, seed])
    centers = rng.normal(20, 4, (k, d)).astype(np.float32)
    rows = (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)
    return WeightedRows(rows, rng.random(n) + 0.25), KMeansModel(centers)


def agree(ours, theirs):
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-9)
    np.testing.assert_allclose(ours.sums, theirs.sums, rtol=1e-6, atol=1e-4)
    assert ours.inertia == pytest.approx(theirs.inertia, rel=1e-5)


@pytest.fixture
def small(monkeypatch):
    """Let batches be of 100 rows."""
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 100)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("n", "d", "k"), [(350, 3, 4), (100, 70, 5), (77, 5, 1)])
def test_sums_are_those_of_the_processor(device, n, d, k):
    data, model = data_of(n, d, k)
    epoch = DeviceEpoch(device, model)
    for start in range(0, n, 130):
        part = slice(start, start + 130)
        epoch.push(WeightedRows(data.rows[part], data.weights[part]))
    agree(epoch.step(), sum_shard(model, [data]))


@pytest.mark.usefixtures("small")
def test_what_float32_cannot_square_and_what_is_sparse_is_left_to_the_processor(device):
    data, model = data_of(250, 3, 4)
    huge = WeightedRows(data.rows[:20] * np.float32(1e30), data.weights[:20])
    sparse = Weighted(SparseRows.of_dense(data.rows[:50]), data.weights[:50])
    epoch = DeviceEpoch(device, model)
    for part in (data, huge, sparse):
        epoch.push(part)
    theirs = sum_shard(model, [data, huge, sparse])
    ours = epoch.step()
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-9)
    assert ours.inertia == pytest.approx(theirs.inertia, rel=1e-9)


@pytest.mark.usefixtures("small")
class TestRecords:
    """The rows of files, as they lie there."""

    @pytest.fixture(autouse=True)
    def on_device(self, device, monkeypatch):
        assert device.name
        monkeypatch.setattr(devices, "visible_gpus", lambda: 1)
        monkeypatch.setattr(record_feed, "_BLOCK_BYTES", 5000)
        monkeypatch.setattr(record_feed, "_FEWEST_DECODED", 20)
        monkeypatch.setattr(record_feed, "_LOOKED_AT", 50)

    @staticmethod
    def reader(folder, *contents):
        paths = [folder / str(i) for i in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return BatchReader(whole_files(paths), 3, 100, max_bad_records=1)

    def test_they_are_summed_and_scored(self, tmp_path):
        (rows, _), model = data_of(1500, 3, 4)
        odd = write_rows(np.float32([[0, 5, 0]]), sparse=True)
        contents = (
            write_rows(rows[:800]) + odd + write_rows(rows[800:1100]),
            write_rows(rows[1100:]),
        )
        told = []
        reader = self.reader(tmp_path, *contents)
        step = device_tasks.step("gpu", model, reader, told.append)
        agree(step, tasks.step(model, self.reader(tmp_path, *contents), lambda _: None))
        assert (reader.n_rows, told[-1].n_rows, step.weights.sum()) == (1501, 1501, 1501)
        score = device_tasks.score("gpu", model, self.reader(tmp_path, *contents), lambda _: None)
        assert (score.n_rows, score.ssd) == (1501, step.inertia)

    def test_bad_ones_and_huge_ones_too(self, tmp_path):
        (rows, _), model = data_of(900, 3, 4)
        rows[[380, 700]] = 1e25
        rows[400, 1] = np.nan
        reader = self.reader(tmp_path, write_rows(rows))
        step = device_tasks.step("gpu", model, reader, lambda _: None)
        other = self.reader(tmp_path, write_rows(rows))
        theirs = tasks.step(model, other, lambda _: None)
        assert (reader.bad.n, reader.bad.first) == (1, other.bad.first)
        np.testing.assert_allclose(step.weights, theirs.weights)
        assert step.inertia == pytest.approx(theirs.inertia, rel=1e-9)

    def test_sparse_ones_are_left_to_the_processor(self, tmp_path):
        (rows, _), model = data_of(300, 3, 4)
        content = write_rows(rows, sparse=True)
        step = device_tasks.step("gpu", model, self.reader(tmp_path, content), lambda _: None)
        agree(step, tasks.step(model, self.reader(tmp_path, content), lambda _: None))
