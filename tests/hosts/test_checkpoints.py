"""A job of several hosts that is killed goes on where it was."""

from __future__ import annotations

import re
import signal
import time

import pytest

from onepass.artifact.state_file import load_state


@pytest.fixture
def job(hosts, many):
    def make(distribution, checkpoints=True, **more):
        made = hosts(many, distribution, copies=12, k="50", checkpoint_interval_s="0", **more)
        for host in made:
            if checkpoints:
                (host.base / "checkpoints").mkdir()
        return made

    return make


def run(made):
    for host in reversed(made):
        host.start()
    assert [host.wait() for host in made] == [0] * len(made), made[0].log


def wait_for_checkpoints(made):
    deadline = time.monotonic() + 60
    while any(not list((host.base / "checkpoints").glob("shard*")) for host in made):
        assert all(host.process.poll() is None for host in made), made[0].log
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key"])
def test_hosts_that_are_killed_go_on_and_make_the_same_model(job, distribution):
    made = job(distribution)
    for host in reversed(made):
        host.start()
    wait_for_checkpoints(made)
    for host in made:
        host.kill()
    run(made)
    assert load_state(made[0].base / "model").facts["n_taken"] == 6_000_000
    resumed = made[0].model_file.read_bytes()
    gone_on = re.findall(
        r"INFO \d+\] (\S+) has gone on from a checkpoint of (\d+) rows", made[0].log
    )
    assert sorted(name for name, _ in gone_on) == [host.name for host in made]
    assert all(0 < int(n) <= 3_000_000 for _, n in gone_on)
    for host in made:
        for path in (host.base / "checkpoints").iterdir():
            path.unlink()
    run(made)
    assert made[0].model_file.read_bytes() == resumed
    assert "checkpoint of" not in made[0].log


def test_hosts_that_are_stopped_leave_a_model_and_go_on(job):
    made = job("ShardedByS3Key")
    for host in reversed(made):
        host.start()
    wait_for_checkpoints(made)
    for host in made:
        host.process.send_signal(signal.SIGTERM)
    assert [host.wait() for host in made] == [0, 0], made[0].log
    n_stopped = load_state(made[0].base / "model").facts["n_taken"]
    run(made)
    assert "has gone on from a checkpoint of" in made[0].log
    assert n_stopped < load_state(made[0].base / "model").facts["n_taken"] == 6_000_000
