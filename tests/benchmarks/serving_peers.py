"""Servers of k-means that `serving.py` compares: ours, Flask as people write it, MLServer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onepass import KMeansModel, save_model
from onepass.resources import available_cpus

FLASK_APP = """
import io, sys
import numpy as np
from flask import Flask, jsonify, request
from sklearn.cluster import KMeans

centers = np.load("centers.npy")
model = KMeans(len(centers), n_init=1, max_iter=1).fit(centers)
model.cluster_centers_ = centers
app = Flask("peer")

@app.get("/ping")
def ping():
    return ""

@app.post("/invocations")
def invocations():
    if request.mimetype == "text/csv":
        rows = np.loadtxt(io.BytesIO(request.get_data()), np.float32, delimiter=",", ndmin=2)
    elif request.mimetype == "application/json":
        instances = request.get_json()["instances"]
        rows = np.array([instance["features"] for instance in instances], np.float32)
    elif request.mimetype == "application/x-recordio-protobuf":
        from sagemaker.amazon.common import read_records
        records = read_records(io.BytesIO(request.get_data()))
        values = [record.features["values"].float32_tensor.values for record in records]
        rows = np.array(values, np.float32)
    else:
        rows = np.load(io.BytesIO(request.get_data()), allow_pickle=False)
    return jsonify(predictions=model.predict(rows).tolist())
"""

# In the environment of MLServer, which wants a model as joblib writes it.
MLSERVER_MODEL = """
import joblib, numpy as np
from sklearn.cluster import KMeans
centers = np.load("centers.npy")
model = KMeans(len(centers), n_init=1, max_iter=1).fit(centers)
model.cluster_centers_ = centers
joblib.dump(model, "model.joblib")
"""

PACKAGES = {
    "flask": ("flask", "gunicorn", "scikit-learn", "numpy", "sagemaker<3", "scipy"),
    "mlserver": ("mlserver", "mlserver-sklearn"),
}


class Usage(NamedTuple):
    """What the processes of a server use.

    Attributes
    ----------
    cpu_s : float
        Processor time since they began.
    pss_mib : float
        Memory, what they share counted once.
    """

    cpu_s: float
    pss_mib: float


class Peer(NamedTuple):
    """A server that runs.

    Attributes
    ----------
    name : str
    port : int
    group : int
        Of its processes.
    start_s : float
        From its start to the first 200 of its health check.
    """

    name: str
    port: int
    group: int
    start_s: float

    def usage(self) -> Usage:
        """Sum over its processes."""
        ticks, pss = 0, 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) != self.group:
                    continue
                ticks += int(fields[11]) + int(fields[12])
                rollup = (stat.parent / "smaps_rollup").read_text()
                pss += int(rollup.split("Pss:")[1].split()[0])
            except (OSError, IndexError):  # it has ended meanwhile
                continue
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), pss / 1024)


def python_of(peer: str, cache: Path) -> Path:
    """Return the Python of a peer's environment, which is made when it is missing."""
    home = cache / "environments" / f"serving-{peer}"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin/pip", "install", "--quiet", *PACKAGES[peer]], check=True)
        (home / "ready").touch()
    return home / "bin/python"


@contextmanager
def running(
    peer: str, centers: np.ndarray, port: int, *, home: Path, cache: Path
) -> Iterator[Peer]:
    """Run a server of centers, with a worker for each processor, until the block ends."""
    home.mkdir(parents=True)
    command, health = _prepare(peer, centers, port, home, cache)
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with (home / "log").open("wb") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=home, stdout=log, stderr=log, env={**os.environ, **quiet}, process_group=0
        )
        try:
            _wait(port, health, process, home / "log")
            yield Peer(peer, port, process.pid, time.monotonic() - started)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _prepare(
    peer: str, centers: np.ndarray, port: int, home: Path, cache: Path
) -> tuple[list[str], str]:
    """Write what a server needs; return its command and the path of its health check."""
    n_workers = str(available_cpus())
    np.save(home / "centers.npy", centers)
    if peer == "onepass":
        save_model(KMeansModel(centers), home / "model")
        serve = ["-m", "onepass.cli.main", "serve", "--base", str(home), "--port", str(port)]
        return [sys.executable, *serve], "/ping"
    python = python_of(peer, cache)
    if peer == "flask":
        (home / "peer.py").write_text(FLASK_APP)
        options = ["--bind", f"127.0.0.1:{port}", "--workers", n_workers, "--threads", "4"]
        return [str(python), "-m", "gunicorn", *options, "--worker-class", "gthread", "peer:app"], (
            "/ping"
        )
    subprocess.run([python, "-c", MLSERVER_MODEL], cwd=home, check=True)
    model = {
        "name": "kmeans",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": int(n_workers),
        "debug": False,
    }
    (home / "model-settings.json").write_text(json.dumps(model))
    (home / "settings.json").write_text(json.dumps(settings))
    return [str(python.with_name("mlserver")), "start", "."], "/v2/models/kmeans/ready"


def _wait(port: int, path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            if process.poll() is not None:
                break
        finally:
            connection.close()
        time.sleep(0.01)
    raise RuntimeError(f"no answer on port {port}:\n{log.read_text()[-2000:]}")
