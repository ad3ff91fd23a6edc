"""``onepass describe``."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from onepass import KMeansModel, save_model
from onepass.artifact.archive import pack
from onepass.artifact.state_file import load_state, save_state
from onepass.cluster.kmeans import KMeans
from onepass.cluster.state import State

COMMAND = (sys.executable, "-m", "onepass.cli.main", "describe")


def describe(*arguments):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def folder(tmp_path):
    rows = np.random.default_rng(0).normal(size=(9_000, 4)).astype(np.float32)
    kmeans = KMeans(3, device="cpu", half_life=3_000).partial_fit(rows).finalize()
    entry = {"written": "2026-01-02T03:04:05+00:00", "version": "0.1.0", "k": 3, "msd": 2.5}
    entry |= {"n_new_rows": 9_000, "n_rows": 9_000, "msd_error": 0.01}
    about: dict = {"cluster_sizes": [float(i) for i in range(20)]}
    about |= {"lineage": [entry] * 12, "hyperparameters": {"k": 3, "seed": 1, "tls_ca_file": ""}}
    save_state(kmeans.state(), tmp_path / "model/state_algo-1", about)
    save_model(kmeans.to_model(), tmp_path / "model")
    pack(tmp_path / "model", tmp_path / "model.tar.gz")
    return tmp_path


@pytest.mark.parametrize("where", ["model", "model/model_algo-1", "model.tar.gz"])
def test_it_tells_what_is_known(folder, where):
    done = describe(folder / where)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["clusters"].startswith("3 of 4 features")
    assert lines["rows"].startswith("9,000 seen, which weigh ")
    assert lines["msd"] == "2.5 +- 0.01"
    assert "of the sample; format 1, written 20" in lines["state"]
    assert lines["sizes"] == "19 18 17 16 15 14 (8 between) 5 4 3 2 1 0"
    assert lines["config"] == "k=3, seed=1"
    assert lines["job"] == (
        "2026-01-02T03:04:05+00:00: 9,000 new rows, k=3, msd 2.5, Onepass 0.1.0"
    )
    assert "job        ... and 2 before" in done.stdout


def test_as_json(folder):
    done = describe(folder / "model", "--json")
    told = json.loads(done.stdout)
    assert (told["k"], told["n_features"], told["state"]["n_taken"]) == (3, 4, 9_000)
    assert len(told["state"]["lineage"]) == 12


@pytest.mark.parametrize(
    ("about", "code", "said"),
    [
        ({"lineage": "all"}, 2, "has a lineage of 'all'"),
        ({"lineage": [7, {}, {"written": "x"}]}, 0, "rows       9,000 seen"),
        ({"cluster_sizes": ["many", 3.0]}, 0, "sizes      3\n"),
        ({"cluster_sizes": {"a": 1}}, 2, "has a cluster_sizes of {'a': 1}"),
        ({"hyperparameters": ["k"]}, 2, "has a hyperparameters of ['k']"),
    ],
)
def test_a_state_that_others_have_written(folder, about, code, said):
    state = load_state(folder / "model")
    save_state(State(state.facts | about, state.arrays), folder / "model/state_algo-1", {})
    done = describe(folder / "model")
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stdout + done.stderr


def test_centers_alone(tmp_path):
    save_model(KMeansModel(np.eye(3, dtype=np.float32)), tmp_path)
    done = describe(tmp_path)
    assert done.returncode == 0
    assert "3 of 3 features, with values from 0 to 1" in done.stdout
    assert "none: the centers are all that is known" in done.stdout


@pytest.mark.data
def test_the_originals_models(sagemaker_models, tmp_path):
    centers = np.array(sagemaker_models[0]["centers"], np.float32)
    save_model(KMeansModel(centers), tmp_path)
    assert f"{len(centers)} of 7 features" in describe(tmp_path / "model_algo-1").stdout


def test_what_is_no_model_is_told(tmp_path):
    done = describe(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no model in" in done.stderr
    (tmp_path / "model_algo-1").write_bytes(b"nothing")
    done = describe(tmp_path)
    assert done.returncode == 2
    assert "model_algo-1" in done.stderr
    assert "Traceback" not in done.stderr
