"""What several rooms of tests share."""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def oracle_python():
    """Name the interpreter of another project's environment, or skip with the reason."""

    def find(name: str) -> Path:
        home = os.environ.get("ONEPASS_ORACLES", "")
        python = Path(home, name, "bin", "python")
        if not home:
            pytest.skip(f"ONEPASS_ORACLES names no folder of environments ({name} is needed)")
        if not python.exists():
            pytest.skip(f"there is no {python}")
        return python

    return find


@pytest.fixture(scope="session")
def test_data():
    """Name the folder of real data sets, or skip with the reason."""
    folder = os.environ.get("ONEPASS_TEST_DATA", "")
    if not folder:
        pytest.skip("ONEPASS_TEST_DATA names no folder of real data sets")
    return Path(folder)


@pytest.fixture
def small_disk():
    """Make a directory a file system of so many KiB, where this user may mount one."""
    mounted = []

    def make(folder: Path, n_kib: int = 64) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        options = ("-o", f"size={n_kib}k", "none", str(folder))
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *options], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no small disk can be made: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def sagemaker_models(test_data):
    """Two models that Amazon SageMaker made of the ACS table, with what it answered."""
    return json.loads((test_data / "sagemaker_models.json").read_text())["models"]


@pytest.fixture(scope="session")
def acs_rows(test_data, sagemaker_models):
    """The ACS table as the two models were trained on it: 3,218 rows of 7 components."""
    with (test_data / "acs2015_county.csv").open(newline="", encoding="utf-8") as file:
        _, *lines = csv.reader(file)
    table = np.array([line[3:] for line in lines if all(line)], np.float64)
    table -= table.min(axis=0)
    table /= table.max(axis=0)
    table -= table.mean(axis=0)
    axes = np.linalg.svd(table, full_matrices=False)[2][:7]
    return _with_the_models_signs(table @ axes.T, sagemaker_models[0]).astype(np.float32)


def _with_the_models_signs(components, model):
    """Turn each component the way that gives the clusters the sizes that were printed."""
    centers = np.array(model["centers"])
    for signs in np.ndindex(*[2] * components.shape[1]):
        turned = components * (1 - 2 * np.array(signs))
        gaps = turned[:, None, :] - centers
        counts = np.bincount((gaps**2).sum(axis=2).argmin(axis=1), minlength=len(centers))
        if counts.tolist() == model["counts"]:
            return turned
    raise AssertionError("no signs give the printed sizes")


@pytest.fixture(scope="session")
def s3_endpoint():
    """Name the address of an S3 of our own, or skip with the reason."""
    pytest.importorskip("boto3", reason="boto3 (the extra s3) is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def bucket(s3_endpoint, monkeypatch):
    """An empty bucket that the environment leads to: its boto3 resource."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    resource = boto3.resource("s3")
    made = resource.Bucket("data")
    made.create()
    yield made
    for upload in made.multipart_uploads.all():
        upload.abort()
    made.objects.delete()
    made.delete()
    resource.meta.client.close()
