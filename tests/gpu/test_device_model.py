"""Answers to files of rows from a GPU are those of the processor."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from onepass.artifact.model_file import save_model
from onepass.cli.main import main
from onepass.cluster import device_model, devices
from onepass.cluster.device_model import DeviceModel
from onepass.cluster.model import KMeansModel
from onepass.sparse import SparseRows


@pytest.fixture
def small(monkeypatch):
    """Let a device be worth its while for one row, and batches be of 100."""
    monkeypatch.setattr(device_model, "_WORTH", 1)
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 100)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)


def centers_of(k, d):
    return np.random.default_rng([k, d]).normal(100, 5, (k, d)).astype(np.float32)


def rows_of(n, d):
    return np.random.default_rng([n, d]).normal(100, 6, (n, d)).astype(np.float32)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("n", "k", "d"), [(250, 7, 3), (100, 1, 1), (330, 20, 70)])
def test_clusters_and_distances_are_the_same(device, n, k, d):
    ours, theirs = DeviceModel(centers_of(k, d), device), KMeansModel(centers_of(k, d))
    rows = rows_of(n, d)
    found, expected = ours.assign(rows), theirs.assign(rows)
    assert (found.labels == expected.labels).mean() > 0.99
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)
    assert (found.labels.dtype, found.distances.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(ours.distances(rows), theirs.distances(rows))
    np.testing.assert_array_equal(ours.predict(rows), found.labels)


@pytest.mark.usefixtures("small")
def test_what_the_device_cannot_do_is_done_by_the_processor(device):
    ours, theirs = DeviceModel(centers_of(4, 3), device), KMeansModel(centers_of(4, 3))
    rows = rows_of(50, 3)
    for given in (rows * np.float32(1e30), SparseRows.of_dense(rows), rows.astype(float), rows[:0]):
        found, expected = ours.assign(given), theirs.assign(given)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)


def test_few_rows_do_not_go_there(device, monkeypatch):
    model = DeviceModel(centers_of(4, 3), device)
    monkeypatch.setattr(device_model._There, "nearest", None)
    assert len(model.assign(rows_of(50, 3)).labels) == 50


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n_gpus", [0, 1])
def test_files_are_scored_there_where_there_is_one(emulated, monkeypatch, tmp_path, n_gpus):
    emulated(n_gpus=n_gpus)
    monkeypatch.setattr(devices, "visible_gpus", lambda: n_gpus)
    save_model(KMeansModel(centers_of(4, 3)), tmp_path)
    np.save(tmp_path / "rows.npy", rows_of(450, 3))
    asked = []
    nearest = device_model._There.nearest
    monkeypatch.setattr(
        device_model._There, "nearest", lambda *given: asked.append(1) or nearest(*given)
    )
    given = ["predict", str(tmp_path / "model_algo-1"), str(tmp_path / "rows.npy")]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expected = KMeansModel(centers_of(4, 3)).assign(rows_of(450, 3))
    assert [answer["closest_cluster"] for answer in answers] == expected.labels.tolist()
    assert bool(asked) == bool(n_gpus)
    done = CliRunner().invoke(main, [*given, "--device", "gpu"])
    assert done.exit_code == (0 if n_gpus else 2)
    assert n_gpus or "device=gpu: there is no GPU" in done.stderr
    assert CliRunner().invoke(main, [*given, "--device", "tpu"]).exit_code == 2
