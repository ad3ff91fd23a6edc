"""What happens to a job of several hosts when one of them fails: every test is named after that."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time

import pytest

from onepass.artifact.model_file import load_model

N_COPIES = 24
END_S = 60


@pytest.fixture
def job(hosts, many):
    """A job of two hosts in the middle of its pass, which takes some five seconds."""

    def start(distribution="FullyReplicated", **hyperparameters):
        made = hosts(many, distribution, copies=N_COPIES, k="100", **hyperparameters)
        for host in made:
            host.start()
        made[1].wait_until_it_reads()
        return made

    return start


def all_read(leader):
    """How many records the leader has counted."""
    return int(re.search(r"all hosts have read (\d+) records", leader.log)[1])


def end_of(hosts, since):
    """Wait for all hosts; returns their exit codes."""
    codes = [host.wait() for host in hosts]
    assert time.monotonic() - since < END_S
    for host in hosts:
        assert not any(worker.is_running() for worker in host.started)
        assert "Traceback" not in host.log, host.log
    return codes


def kill_a_worker(host):
    host.started = host.workers()
    host.started[0].kill()
    return time.monotonic()


def test_a_worker_that_is_killed_has_its_shard_read_again_by_another(job, many):
    made = job()
    made[0].started = made[0].workers()
    since = kill_a_worker(made[1])
    assert end_of(made, since) == [0, 0], made[0].log
    assert all_read(made[0]) == N_COPIES * len(many)
    assert load_model(made[0].model_file).n_clusters == 100


def test_a_worker_that_is_killed_ends_the_job_if_no_other_host_has_its_data(job):
    made = job("ShardedByS3Key")
    made[0].started = made[0].workers()
    since = kill_a_worker(made[1])
    assert end_of(made, since) == [3, 3], made[0].log
    for host in made:
        assert host.failure.startswith(f"AlgorithmError: host {made[1].name} has lost a worker")
        assert "no other host has its data" in host.failure
        assert not host.model_file.exists()
    assert time.monotonic() - since < 15


def test_a_host_that_is_killed_has_its_shard_read_again_by_another(job, many):
    made = job()
    for host in made:
        host.started = host.workers()
    made[1].kill()
    since = time.monotonic()
    assert end_of(made, since) == [0, -signal.SIGKILL], made[0].log
    assert all_read(made[0]) == N_COPIES * len(many)


def test_a_host_that_is_killed_ends_the_job_if_no_other_has_its_data(job):
    made = job("ShardedByS3Key")
    for host in made:
        host.started = host.workers()
    made[1].kill()
    since = time.monotonic()
    assert end_of(made, since) == [3, -signal.SIGKILL], made[0].log
    assert f"host {made[1].name} has lost a worker" in made[0].failure
    assert not made[0].model_file.exists()


def test_the_leader_that_is_killed_ends_the_job(job):
    made = job()
    for host in made:
        host.started = host.workers()
    made[0].process.kill()
    since = time.monotonic()
    assert end_of(made, since) == [-signal.SIGKILL, 3], made[1].log
    assert made[1].failure.startswith(
        f"AlgorithmError: host {made[0].name}, which leads, is lost: "
    )
    assert not made[0].model_file.exists()


def test_a_host_that_never_comes_ends_the_job(hosts, blobs):
    made = hosts(blobs, n=3, host_timeout_s="5")
    for host in made:
        host.started = []
    since = time.monotonic()
    for host in made[:2]:
        host.start()
    assert end_of(made[:2], since) == [3, 3], made[0].log
    for host in made[:2]:
        assert (
            host.failure
            == f"AlgorithmError: host {made[2].name} did not come within host_timeout_s=5"
        )


def test_a_leader_that_never_comes_ends_the_job(hosts, blobs):
    made = hosts(blobs, host_timeout_s="3")
    made[1].started = []
    since = time.monotonic()
    made[1].start()
    assert end_of(made[1:], since) == [3], made[1].log
    assert made[1].failure.startswith(
        f"AlgorithmError: host {made[0].name}, which leads, has not answered in host_timeout_s=3"
    )


def test_a_host_that_comes_late_and_is_slow_is_waited_for(hosts, many):
    """It begins 3 seconds after the leader, and stands still for most of the time."""
    made = hosts(many, copies=20, k="100")
    made[0].start()
    time.sleep(3)
    made[1].start()
    made[1].wait_until_it_reads()
    for host in made:
        host.started = host.workers()
    since = time.monotonic()
    for _ in range(3):
        made[1].started[0].suspend()
        time.sleep(1.5)
        made[1].started[0].resume()
        time.sleep(0.2)
    assert end_of(made, since) == [0, 0], made[0].log
    assert all_read(made[0]) == 20 * len(many)


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key"])
def test_sigterm_to_all_ends_the_job_with_a_model_of_what_was_read(job, many, distribution):
    made = job(distribution)
    for host in made:
        host.started = host.workers()
        host.process.send_signal(signal.SIGTERM)
    since = time.monotonic()
    assert end_of(made, since) == [0, 0], made[0].log
    n = all_read(made[0])
    assert 0 < n < N_COPIES * len(many) / (1 if distribution == "FullyReplicated" else 2)
    assert f"stopped by SIGTERM: this is the model of the {n} rows read" in made[0].log
    assert load_model(made[0].model_file).n_clusters == 100
    assert [host.failure for host in made] == [None, None]
    assert time.monotonic() - since < 10


def test_sigterm_to_hosts_whose_pipes_stall_loses_nothing(hosts, blobs):
    made = hosts(blobs, "ShardedByS3Key")
    writers, writing = [], []
    for i, host in enumerate(made):
        folder = host.base / "input/data/train"
        content = (folder / "part-00.pbr").read_bytes()
        shutil.rmtree(folder)
        os.mkfifo(host.base / "input/data/train_0")
        channel = {"S3DistributionType": "ShardedByS3Key", "TrainingInputMode": "Pipe"}
        host.configure("inputdataconfig", {"train": channel})
        host.start()
        path = host.base / "input/data/train_0"
        writers.append(os.open(path, os.O_RDWR))
        writing.append(threading.Thread(target=os.write, args=(writers[i], content), daemon=True))
        writing[i].start()
    for thread in writing:
        thread.join()
    time.sleep(1)  # what a pipe still holds is read at once
    for host in made:
        host.started = host.workers()
        host.process.send_signal(signal.SIGTERM)
    since = time.monotonic()
    assert end_of(made, since) == [0, 0], made[0].log
    assert "stopped by SIGTERM: this is the model of the 60000 rows read" in made[0].log
    assert load_model(made[0].model_file).n_clusters == 3
    assert time.monotonic() - since < 10
    for writer in writers:
        os.close(writer)


def test_sigterm_before_all_have_come_ends_the_job(hosts, blobs):
    made = hosts(blobs)
    made[0].start()
    made[0].wait_for(f"waiting for host {made[1].name}")
    made[0].process.send_signal(signal.SIGTERM)
    assert made[0].wait() == 143, made[0].log
    assert made[0].failure == (
        f"AlgorithmError: stopped by SIGTERM before all hosts had come: host {made[1].name} had not"
    )
