"""A job that wants a GPU."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from onepass.errors import UserError
from onepass.resources import visible_gpus
from onepass.sagemaker.paths import Paths
from onepass.training import algorithm
from onepass.training import job as jobs
from onepass.training.configuration import read_configuration
from onepass.training.progress import LogProgress


def run(opt_ml, **hyperparameters):
    opt_ml.configure(k="3", feature_dim="3", **hyperparameters)
    paths = Paths(opt_ml.base)
    job = read_configuration(paths)
    return jobs.train(job, paths, LogProgress(job.host, 1))


@pytest.mark.skipif(visible_gpus() > 0, reason="there is a GPU")
def test_a_gpu_that_is_demanded_must_be_there(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", device="gpu")
    opt_ml.put(blobs)
    done = opt_ml.run()
    assert done.returncode == 2
    assert "CuPy cannot be imported" in opt_ml.failure or "GPU" in opt_ml.failure
    assert "Traceback" not in done.stdout + done.stderr
    assert not opt_ml.model_file.exists()


def test_wanting_a_gpu_and_none_is_refused(opt_ml, blobs):
    opt_ml.put(blobs)
    with pytest.raises(UserError, match="device=gpu and _num_gpus=0: leave one of them out"):
        run(opt_ml, device="gpu", _num_gpus="0")


@pytest.mark.parametrize("given", [{"device": "cpu"}, {"_num_gpus": "0"}])
def test_without_a_gpu_nobody_looks_for_one(opt_ml, blobs, caplog, monkeypatch, given):
    asked = []
    monkeypatch.setattr(algorithm, "find_gpus", lambda wanted, _: asked.append(wanted) or [])
    caplog.set_level(logging.INFO)
    opt_ml.put(blobs)
    run(opt_ml, **given)
    assert asked == ["cpu"]
    assert "Number of GPUs being used: 0" in caplog.messages


def test_the_log_names_the_gpu_which_one_process_feeds(opt_ml, blobs, caplog, monkeypatch):
    card = SimpleNamespace(index=0, name="a card", n_bytes=2**33, free_bytes=lambda: 2**33)
    monkeypatch.setattr(algorithm, "find_gpus", lambda _, most: [card] * min(most, 1))
    for room in ("kmeans", "scaled"):  # which goes on without, where there is none
        monkeypatch.setattr(f"onepass.cluster.{room}.find_gpu_for", lambda *_: None)
    caplog.set_level(logging.INFO)
    opt_ml.put(blobs)
    run(opt_ml, _num_gpus="4", num_workers="2")
    assert "Number of GPUs being used: 1" in caplog.messages
    assert "Using a card, of 8 GiB" in caplog.messages
    assert "_num_gpus=4: 1 can be used" in caplog.messages
    assert not any("processes share the data" in message for message in caplog.messages)
