"""Jobs of several hosts: each is a process of its own, at an address of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from onepass.formats.record_writer import write_rows

COMMAND = (sys.executable, "-m", "onepass.cli.main", "train", "--base")
PATIENCE_S = 60
NET = 1 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
"""Of the addresses that this process of the tests uses: another may run such jobs beside it."""


class Host:
    """One host of a job: its directories, and its process once it has been started."""

    def __init__(self, base: Path, name: str) -> None:
        self.base, self.name = base, name
        self.model_file = base / "model/model_algo-1"
        self.log_file = base / "log"
        self.process: subprocess.Popen | None = None
        (base / "input/config").mkdir(parents=True)
        (base / "input/data/train").mkdir(parents=True)

    def configure(self, name, content):
        (self.base / f"input/config/{name}.json").write_text(json.dumps(content))

    def start(self, before=()):
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [*before, *COMMAND, str(self.base)], stdout=log, stderr=log, env=os.environ
            )
        return self

    @property
    def log(self):
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def failure(self):
        path = self.base / "output/failure"
        return path.read_text() if path.exists() else None

    def workers(self):
        """Return the processes of its workers."""
        return [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def wait_for(self, pattern, patience_s=PATIENCE_S):
        """Wait for a line of the log; returns the groups of the pattern."""
        deadline = time.monotonic() + patience_s
        while not (found := re.search(pattern, self.log)):
            assert self.process.poll() is None, f"it has ended: {self.log}"
            assert time.monotonic() < deadline, f"{pattern!r} is not in {self.log}"
            time.sleep(0.05)
        return found.groups()

    def wait_until_it_reads(self):
        """Wait until a worker has read 20 MB of the data."""
        deadline = time.monotonic() + PATIENCE_S
        first: dict[int, int] = {}
        while time.monotonic() < deadline:
            for worker in self.workers() if "share the data" in self.leader_log() else ():
                n_read = int(Path(f"/proc/{worker.pid}/io").read_text().split()[1])
                if n_read - first.setdefault(worker.pid, n_read) > 20e6:
                    return
            time.sleep(0.02)
        raise AssertionError(f"no worker has begun to read: {first}, {self.leader_log()}")

    def leader_log(self):
        return (self.base.parent / "0/log").read_text()

    def kill(self):
        """End it, and all it has started, at once."""
        if self.process is None:
            return
        children = []
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
        for process in (self.process, *children):
            if process.poll() is None if process is self.process else process.is_running():
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


@pytest.fixture
def hosts(tmp_path):
    """Make the hosts of a job, which are killed at the end."""
    made = []

    def make(rows, distribution="FullyReplicated", n=2, copies=1, test=None, wanted=None, **more):
        """Deal rows out to n hosts; each file may be there many times."""
        names = [f"127.0.{NET}.{i + 1}" for i in range(n)]
        d = rows.shape[1]
        given = {"k": "3", "feature_dim": str(d), "num_workers": "1"} | more
        given |= wanted or {}
        channels = {"train": {"S3DistributionType": distribution}}
        for i, name in enumerate(names):
            host = Host(tmp_path / str(i), name)
            made.append(host)
            host.configure("hyperparameters", given)
            host.configure("resourceconfig", {"current_host": name, "hosts": names})
            part = rows if distribution == "FullyReplicated" else np.array_split(rows, n)[i]
            first = host.base / "input/data/train/part-00.pbr"
            first.write_bytes(write_rows(part))
            for j in range(1, copies):
                os.link(first, first.with_name(f"part-{j:02}.pbr"))
            if test is not None:
                (host.base / "input/data/test").mkdir()
                (host.base / "input/data/test/a.pbr").write_bytes(write_rows(test))
                channels["test"] = {"S3DistributionType": "FullyReplicated"}
            host.configure("inputdataconfig", channels)
        return made

    yield make
    for host in made:
        host.kill()


@pytest.fixture(scope="session")
def blobs():
    """60,000 rows around (0, 0, 0), (10, 0, 0) and (0, 10, 0), in random order."""
    rng = np.random.default_rng(3)
    centers = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]])
    rows = np.repeat(centers, 20_000, axis=0) + rng.normal(0, 0.5, (60_000, 3))
    return rng.permutation(rows).astype(np.float32)


@pytest.fixture(scope="session")
def many():
    """500,000 rows of 8 features that are not clustered at all."""
    return np.random.default_rng(0).normal(size=(500_000, 8)).astype(np.float32)
