"""The SageMaker Python SDK's local mode, which runs the image through docker-compose."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows

pytestmark = [pytest.mark.image, pytest.mark.oracle]

SCRIPTS = {"sagemaker": "sdk_local_mode.py", "sagemaker3": "sdk3_local_mode.py"}
ARCHIVES = {"sagemaker": "out", "sagemaker3": "containers/compressed_artifacts"}
QUIET = """
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
"""


@pytest.fixture
def local_mode(image, oracle_python, rows, tmp_path):
    """Run a script in a folder; returns what it has shown."""
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose, which the SDK's local mode runs, is not installed")
    for folder in ("train", "lines", "records", "out", "containers", "transformed"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "train/rows.pbr").write_bytes(write_rows(rows))
    (tmp_path / "records/rows.pbr").write_bytes(write_rows(rows[:20]))
    np.savetxt(tmp_path / "lines/rows.csv", rows[:20], fmt="%.9g", delimiter=",")
    (tmp_path / "config.yaml").write_text(QUIET)
    settings = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "config.yaml"),
    }

    def run(sdk: str, *given: str) -> str:
        script = Path(__file__).with_name(SCRIPTS[sdk])
        done = subprocess.run(
            [oracle_python(sdk), "-W", "ignore", script, tmp_path, image.name, *given],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | settings,
            check=False,
        )
        shown = done.stdout + done.stderr
        assert done.returncode == 0, shown
        archive = f"{ARCHIVES[sdk]}/model.tar.gz"
        subprocess.run(["tar", "-xf", archive], cwd=tmp_path, check=True)
        return shown

    return run


@pytest.fixture
def check(rows, tmp_path):
    """Compare clusters and distances with those of the centers in the archive."""

    def compare(found):
        centers = load_model(tmp_path / "model_algo-1").centers.astype(np.float64)
        apart = np.sqrt(((rows[:20, None] - centers) ** 2).sum(axis=2))
        expected = np.column_stack([apart.argmin(axis=1), apart.min(axis=1)])
        np.testing.assert_allclose(np.array(found, np.float64), expected, rtol=1e-5, atol=1e-6)

    return compare


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def pairs(predictions):
    return [(one["closest_cluster"], one["distance_to_cluster"]) for one in predictions]


def test_fit_deploy_predict_and_transform(local_mode, check, rows, tmp_path):
    shown = local_mode("sagemaker", "1", free_port())
    assert f"processed a total of {len(rows)} examples" in shown
    told = json.loads((tmp_path / "told.json").read_text())
    assert sorted(told) == ["csv", "csv to json", "json", "record"]
    check(told["record"])
    check(told["csv"])
    check(pairs(told["csv to json"]["predictions"]))
    check(pairs(told["json"]["predictions"]))
    for name in ("lines/rows.csv.out", "records/rows.pbr.out"):
        lines = (tmp_path / "transformed" / name).read_text().splitlines()
        check(pairs(map(json.loads, lines)))


def test_two_instances_train_one_model(local_mode, rows, tmp_path):
    shown = local_mode("sagemaker", "2")
    assert load_model(tmp_path / "model_algo-1").n_clusters == 8
    assert f"processed a total of {len(rows)} examples" in shown
    shares = re.findall(r"host algo-(\d)-\w+ has read (\d+) records", shown)
    assert [place for place, _ in shares] == ["1", "2"]
    assert sum(int(count) for _, count in shares) == len(rows)
    assert f"all hosts have read {len(rows)} records" in shown
    assert re.search(r"host algo-1-\w+ has saved the model", shown)


def test_the_third_version_trains_with_two_instances_and_hosts(local_mode, check, rows, tmp_path):
    shown = local_mode("sagemaker3", "2", free_port())
    assert f"all hosts have read {len(rows)} records" in shown
    check(pairs(json.loads((tmp_path / "told.json").read_text())["predictions"]))
