"""Containers on a network of their own train one model, as SageMaker starts them."""

from __future__ import annotations

import json
import os
import re
import time

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows

pytestmark = pytest.mark.image

SUBNET, ADDRESSES = "172.31.213.0/24", ("172.31.213.11", "172.31.213.12")
NAMES = ("algo-1", "algo-2")
PATIENCE_S = 90


class Containers:
    """The hosts of a job, each a container with its own /opt/ml."""

    def __init__(self, docker, image, network, jobs):
        self.docker, self.image, self.network, self.jobs = docker, image.name, network, jobs
        self.ids: list[str] = []

    def start(self):
        for job, name, address in zip(self.jobs, NAMES, ADDRESSES, strict=True):
            options = ("--network", self.network, "--ip", address, "--network-alias", name)
            mount = ("-v", f"{job.base}:/opt/ml")
            started = self.docker("run", "--detach", *options, *mount, self.image, "train")
            assert started.returncode == 0, started.stderr.decode()
            self.ids.append(started.stdout.decode().strip())

    def log(self, i):
        done = self.docker("logs", self.ids[i])
        return (done.stdout + done.stderr).decode()

    def wait_for(self, i, text):
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.log(i):
            assert time.monotonic() < deadline, self.log(i)
            time.sleep(0.1)

    def end(self):
        """Wait for all; returns their exit codes."""
        done = self.docker("wait", *self.ids, timeout_s=PATIENCE_S)
        return [int(code) for code in done.stdout.split()]

    def remove(self):
        if self.ids:
            self.docker("rm", "--force", *self.ids)


@pytest.fixture
def containers(docker, image, new_job):
    """Make a job of two hosts, whose network is removed at the end."""
    network = f"onepass-{os.getpid()}"
    made = docker("network", "create", "--subnet", SUBNET, network)
    if made.returncode:
        pytest.skip(f"no network of containers can be made: {made.stderr.decode().strip()}")
    group = []

    def make(rows, copies=1, **hyperparameters):
        jobs = []
        for name in NAMES:
            job = new_job(name)
            job.configure(feature_dim=rows.shape[1], num_workers=1, **hyperparameters)
            job.put(write_rows(rows))
            first = job.base / "input/data/train/part-0.pbr"
            for i in range(1, copies):
                os.link(first, first.with_name(f"part-0-{i}.pbr"))
            host = {
                "current_host": name,
                "hosts": list(NAMES),
                "network_interface_name": "eth0",
            }
            (job.base / "input/config/resourceconfig.json").write_text(json.dumps(host))
            jobs.append(job)
        group.append(Containers(docker, image, network, jobs))
        return group[0]

    yield make
    for one in group:
        one.remove()
    docker("network", "rm", network)


@pytest.fixture(scope="module")
def many():
    return np.random.default_rng(0).normal(size=(500_000, 8)).astype(np.float32)


def n_read(log):
    return int(re.search(r"all hosts have read (\d+) records", log)[1])


def test_two_containers_train_one_model(containers, rows):
    pair = containers(rows, k=8)
    pair.start()
    assert pair.end() == [0, 0], pair.log(0) + pair.log(1)
    assert n_read(pair.log(0)) == len(rows)
    assert load_model(pair.jobs[0].model / "model_algo-1").n_clusters == 8
    assert not list(pair.jobs[1].model.iterdir())
    assert "host algo-1 has saved the model" in pair.log(1)


def test_a_network_that_is_cut_for_20_seconds_and_healed_changes_nothing(docker, containers, many):
    pair = containers(many, copies=30, k=100)
    pair.start()
    pair.wait_for(0, "2 workers of 2 hosts share the data")
    docker("network", "disconnect", pair.network, pair.ids[1])
    time.sleep(20)
    healed = docker(
        "network", "connect", "--ip", ADDRESSES[1], "--alias", NAMES[1], pair.network, pair.ids[1]
    )
    assert healed.returncode == 0, healed.stderr.decode()
    assert pair.end() == [0, 0], pair.log(0) + pair.log(1)
    assert n_read(pair.log(0)) == 30 * len(many)


def test_a_container_that_is_killed_has_its_shard_read_by_the_other(docker, containers, many):
    pair = containers(many, copies=30, k=100)
    pair.start()
    pair.wait_for(0, "2 workers of 2 hosts share the data")
    docker("kill", pair.ids[1])
    assert pair.end() == [0, 137], pair.log(0)
    assert n_read(pair.log(0)) == 30 * len(many)


def test_a_leading_container_that_is_killed_ends_the_other(docker, containers, many):
    pair = containers(many, copies=30, k=100)
    pair.start()
    pair.wait_for(0, "2 workers of 2 hosts share the data")
    docker("kill", pair.ids[0])
    since = time.monotonic()
    assert pair.end() == [137, 3], pair.log(1)
    assert time.monotonic() - since < 60
    assert "host algo-1, which leads, is lost" in pair.jobs[1].failure


def test_containers_that_are_stopped_leave_a_model(docker, containers, many):
    pair = containers(many, copies=60, k=100)
    pair.start()
    pair.wait_for(0, "2 workers of 2 hosts share the data")
    time.sleep(1)
    since = time.monotonic()
    docker("stop", "--time", "120", *pair.ids)
    assert time.monotonic() - since < 20
    assert pair.end() == [0, 0], pair.log(0)
    assert 0 < n_read(pair.log(0)) < 60 * len(many)
    assert load_model(pair.jobs[0].model / "model_algo-1").n_clusters == 100
