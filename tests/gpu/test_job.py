"""A whole job on a GPU."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.cluster import devices
from onepass.cluster.kernels import gpu
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.paths import Paths
from onepass.training.job import read_configuration, train
from onepass.training.progress import LogProgress


@pytest.mark.parametrize("given", [{"device": "gpu"}, {"device": "auto"}])
def test_it_trains_and_tells_so(emulated, monkeypatch, tmp_path, caplog, given):
    emulated()
    monkeypatch.setattr(devices, "visible_gpus", lambda: 1)
    monkeypatch.setattr("onepass.cluster.device_stream._LEAST_ROWS", 1)
    monkeypatch.setattr("onepass.cluster.device_stream._ROW_VALUES", 1)
    monkeypatch.setattr(gpu, "_ONE_BLOCK", 96)
    caplog.set_level(logging.INFO)
    rng = np.random.default_rng(3)
    means = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]])
    rows = (means[rng.integers(3, size=2500)] + rng.normal(0, 0.5, (2500, 3))).astype(np.float32)
    paths = Paths(tmp_path)
    wanted = {"k": "3", "feature_dim": "3", "mini_batch_size": "500", "extra_center_factor": "8"}
    paths.hyperparameters.parent.mkdir(parents=True)
    paths.hyperparameters.write_text(json.dumps(wanted | given))
    for channel in ("train", "test"):
        folder = tmp_path / "input/data" / channel
        folder.mkdir(parents=True)
        (folder / "part.pbr").write_bytes(write_rows(rows))
    job = read_configuration(paths)
    trained = train(job, paths, LogProgress(job.host, 1))
    centers = load_model(trained.model_file).centers
    assert np.abs(np.sort(centers.sum(axis=1)) - [0, 10, 10]).max() < 0.2
    assert trained.n_rows == 2500
    assert trained.msd == pytest.approx(0.75, rel=0.1)
    assert trained.scores["msd"] == pytest.approx(trained.msd, rel=0.05)
    assert "Number of GPUs being used: 1" in caplog.messages
    assert "The pass is computed on an emulation, all else by the processor" in caplog.messages
