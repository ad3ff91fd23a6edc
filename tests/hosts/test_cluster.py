"""``onepass train --scheduler``: the workers of a cluster of the user's own do a job."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from distributed import LocalCluster

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows

PATIENCE_S = 60


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as made:
        yield made


@pytest.fixture
def job(hosts):
    """Make a job of one host."""

    def make(rows, **named):
        [host] = hosts(rows, n=1, num_workers="auto", **named)
        wanted = json.loads((host.base / "input/config/hyperparameters.json").read_text())
        wanted.pop("num_workers")
        host.configure("hyperparameters", wanted | named.get("wanted", {}))
        return host

    return make


def start(host, address, *options, **named):
    command = (sys.executable, "-m", "onepass.cli.main", "train", "--scheduler", address)
    return subprocess.Popen(
        [*command, "--base", str(host.base), *options], stderr=subprocess.PIPE, text=True, **named
    )


def run(host, address, *options):
    """Run it to its end; returns the exit code and the log."""
    process = start(host, address, *options)
    _, log = process.communicate(timeout=PATIENCE_S)
    return process.returncode, log


def test_its_workers_share_the_data(cluster, job, blobs):
    host = job(blobs, test=blobs[:500], epochs="2")
    code, log = run(host, cluster.scheduler_address)
    assert code == 0, log
    assert "there are 2 workers at tcp://" in log
    assert "2 workers of the cluster share the data" in log
    counts = re.findall(r"worker (\S+) has read (\d+) records", log)
    assert sum(int(n) for _, n in counts) == 2 * 60_000 + 500
    assert "all workers have read 60000 records" in log
    assert "test msd" in log
    assert load_model(host.model_file).n_clusters == 3
    assert len(cluster.scheduler.workers) == 2  # it goes on


def test_hyperparameters_may_be_options(cluster, job, blobs):
    host = job(blobs)
    (host.base / "input/config/hyperparameters.json").unlink()
    code, log = run(host, cluster.scheduler_address, "-s", "k=4", "-s", "feature_dim=3")
    assert code == 0, log
    assert load_model(host.model_file).n_clusters == 4


def test_a_worker_that_is_killed_has_its_shard_read_again(cluster, job, many):
    host = job(many, copies=30, k="100")
    process = start(host, cluster.scheduler_address)
    for line in process.stderr:
        if "share the data" in line:
            break
    time.sleep(0.7)
    [*workers] = cluster.workers.values()
    os.kill(workers[0].pid, signal.SIGKILL)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, log
    assert f"all workers have read {30 * len(many)} records" in log


def test_sigterm_ends_the_job_with_a_model(cluster, job, many):
    host = job(many, copies=60, k="100")
    process = start(host, cluster.scheduler_address)
    for line in process.stderr:
        if "share the data" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, log
    assert 0 < int(re.search(r"all workers have read (\d+) records", log)[1]) < 60 * len(many)
    assert load_model(host.model_file).n_clusters == 100
    for path in (host.base / "input/data/train").iterdir():
        path.unlink()
    (host.base / "input/data/train/few.pbr").write_bytes(write_rows(many[:5000]))
    code, log = run(host, cluster.scheduler_address)  # which nobody stops
    assert code == 0, log
    assert "all workers have read 5000 records" in log


def test_a_bad_record_is_named(cluster, job, blobs):
    host = job(blobs)
    path = host.base / "input/data/train/part-00.pbr"
    data = bytearray(path.read_bytes())
    size = len(data) // len(blobs)
    data[50_000 * size : 50_000 * size + 4] = b"oops"
    path.write_bytes(data)
    code, log = run(host, cluster.scheduler_address)
    assert code == 2
    assert f"record 50000 at byte {50_000 * size}: no RecordIO record" in host.failure
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("address", "code", "reason"),
    [
        ("tcp://127.0.0.1:9", 3, "the scheduler at tcp://127.0.0.1:9 does not answer"),
        ("nonsense://x", 2, "--scheduler=nonsense://x is not accepted"),
    ],
)
def test_one_that_is_not_there(job, blobs, address, code, reason):
    host = job(blobs, wanted={"host_timeout_s": "2"})
    ended, log = run(host, address)
    assert ended == code, log
    assert reason in host.failure
    assert "Traceback" not in log


def test_pipes_and_hosts_are_refused(cluster, hosts, blobs):
    [host] = hosts(blobs, n=1)
    host.configure("inputdataconfig", {"train": {"TrainingInputMode": "Pipe"}})
    assert run(host, cluster.scheduler_address)[0] == 2
    assert "a pipe is read by one process, not by a cluster" in host.failure
    host.configure("inputdataconfig", {})
    host.configure("resourceconfig", {"current_host": "a", "hosts": ["a", "b"]})
    assert run(host, cluster.scheduler_address)[0] == 2
    assert "the job has 2 hosts: --scheduler is for a job of one" in host.failure


def test_a_cluster_that_is_gone_ends_the_job(job, many):
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as small:
        host = job(many, copies=30, k="100")
        process = start(host, small.scheduler_address)
        for line in process.stderr:
            if "share the data" in line:
                break
        time.sleep(0.7)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, log
    assert "the workers that read the data have gone" in host.failure
    assert "Traceback" not in log


def test_labels_are_refused_before_data_is_read(job, blobs):
    host = job(blobs, output_labels="true", feature_dim="4")
    assert run(host, "tcp://127.0.0.1:9")[0] == 2
    assert "output_labels=csv: the workers of a cluster write no files" in host.failure
