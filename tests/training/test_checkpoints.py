"""A job that is stopped or killed goes on where it was."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.artifact.state_file import load_state

N_FILES, N_ROWS = 4, 200_000


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(6).standard_t(4, (N_ROWS, 8)).astype(np.float32)


def lay_out(opt_ml, rows, **wanted):
    opt_ml.configure(
        **{"k": "20", "feature_dim": "8", "checkpoint_interval_s": "0", "num_workers": "1"} | wanted
    )
    for i in range(N_FILES):
        opt_ml.put(rows[i::N_FILES], name=f"{i}.pbr")
    (opt_ml.base / "checkpoints").mkdir()


def add_much(opt_ml):
    """Have the job last a while."""
    for name in range(40):
        path = opt_ml.base / f"input/data/train/more-{name}.pbr"
        path.hardlink_to(opt_ml.base / "input/data/train/0.pbr")


def checkpoints(opt_ml):
    return sorted((opt_ml.base / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def expected(rows, tmp_path_factory):
    """What each kind of job makes without a break."""
    made = {}

    def make(opt_ml_type, **wanted):
        key = tuple(sorted(wanted.items()))
        if key not in made:
            job = opt_ml_type(tmp_path_factory.mktemp("whole") / "ml")
            lay_out(job, rows, **wanted)
            (job.base / "checkpoints").rmdir()
            done = job.run()
            assert done.returncode == 0, done.stderr
            made[key] = job.model_file.read_bytes()
        return made[key]

    return make


def start(opt_ml):
    with (opt_ml.base / "log").open("w") as file:
        return subprocess.Popen(opt_ml.command, stdout=file, stderr=file)


def log(opt_ml):
    return (opt_ml.base / "log").read_text()


def wait_for_checkpoint(opt_ml, process, n=1, pattern="[!.]*"):
    while process.poll() is None:
        if len(list((opt_ml.base / "checkpoints").glob(pattern))) >= n:
            return
        time.sleep(0.002)


def two_generations(opt_ml):
    """Have a job be killed that has kept both; a slow disk lets it end with one, now and then."""
    for _ in range(20):
        for path in checkpoints(opt_ml):
            path.unlink()
        process = start(opt_ml)
        wait_for_checkpoint(opt_ml, process, n=2, pattern="shard*")
        process.kill()
        process.wait()
        for path in (opt_ml.base / "checkpoints").glob("job*"):
            path.unlink()
        kept = list((opt_ml.base / "checkpoints").glob("shard*"))
        if len(kept) == 2:
            return kept
    pytest.fail("no job has kept two generations")


JOBS = [{}, {"num_workers": "2"}, {"epochs": "3"}, {"half_life_time_size": "50000"}]


@pytest.mark.parametrize("wanted", JOBS, ids=str)
@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.15])
def test_a_job_that_is_killed_goes_on_and_makes_the_same_model(
    opt_ml, rows, expected, wanted, pause_s
):
    lay_out(opt_ml, rows, **wanted)
    for _ in range(2):
        process = start(opt_ml)
        wait_for_checkpoint(opt_ml, process)
        time.sleep(pause_s)
        process.kill()
        process.wait()
    process = start(opt_ml)
    assert process.wait() == 0, log(opt_ml)
    assert "going on from checkpoint" in log(opt_ml)
    assert opt_ml.model_file.read_bytes() == expected(type(opt_ml), **wanted)
    assert load_state(opt_ml.archive).facts["n_taken"] == N_ROWS


def test_a_job_that_is_stopped_leaves_a_model_and_goes_on(opt_ml, rows):
    lay_out(opt_ml, rows)
    add_much(opt_ml)
    process = start(opt_ml)
    wait_for_checkpoint(opt_ml, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, log(opt_ml)
    n_rows = int(re.search(r"this is the model of the (\d+) rows read", log(opt_ml))[1])
    assert n_rows < N_ROWS + 40 * N_ROWS // N_FILES
    assert len(load_model(opt_ml.model_file).centers) == 20
    stopped = opt_ml.model_file.read_bytes()
    process = start(opt_ml)
    assert process.wait() == 0, log(opt_ml)
    assert f"{n_rows} rows read" in log(opt_ml)
    assert load_state(opt_ml.archive).facts["n_taken"] == N_ROWS + 40 * N_ROWS // N_FILES
    resumed = opt_ml.model_file.read_bytes()
    assert resumed != stopped
    for path in checkpoints(opt_ml):
        path.unlink()
    assert start(opt_ml).wait() == 0
    assert opt_ml.model_file.read_bytes() == resumed


def test_a_job_that_was_done_is_done_at_once(opt_ml, rows, expected):
    lay_out(opt_ml, rows)
    assert start(opt_ml).wait() == 0
    opt_ml.model_file.unlink()
    assert start(opt_ml).wait() == 0
    assert re.search(r"going on from checkpoint \S+job-\S+: all 200000 rows read", log(opt_ml))
    assert opt_ml.model_file.read_bytes() == expected(type(opt_ml))


@pytest.mark.parametrize("damage", ["cut", "turn", "empty"])
def test_one_that_is_torn_is_passed_over_for_the_one_before(opt_ml, rows, damage):
    lay_out(opt_ml, rows)
    add_much(opt_ml)
    latest = max(two_generations(opt_ml), key=lambda p: load_state(p).facts["serial"])
    data = bytearray(latest.read_bytes())
    data[len(data) // 2] ^= 1
    latest.write_bytes({"cut": data[: len(data) // 2], "turn": data, "empty": b""}[damage])
    assert start(opt_ml).wait() == 0, log(opt_ml)
    assert f"a checkpoint is passed over: {latest}" in log(opt_ml)
    assert "going on from checkpoint" in log(opt_ml)
    resumed = opt_ml.model_file.read_bytes()
    for path in checkpoints(opt_ml):
        path.unlink()
    assert start(opt_ml).wait() == 0
    assert opt_ml.model_file.read_bytes() == resumed


@pytest.mark.parametrize("change", [{"k": "21"}, {"seed": "9"}, {"feature_dim": "8", "n": 1}])
def test_those_of_another_job_are_left_alone(opt_ml, rows, change):
    lay_out(opt_ml, rows)
    assert start(opt_ml).wait() == 0
    before = [path.read_bytes() for path in checkpoints(opt_ml)]
    names = checkpoints(opt_ml)
    if change.pop("n", None):
        opt_ml.put(rows[:5], name="more.pbr")
    opt_ml.configure(
        **{"k": "20", "feature_dim": "8", "checkpoint_interval_s": "0", "num_workers": "1"} | change
    )
    assert start(opt_ml).wait() == 0
    assert "going on from checkpoint" not in log(opt_ml)
    assert "begins anew" in log(opt_ml)
    assert [path.read_bytes() for path in names] == before


@pytest.mark.parametrize("wanted", [{}, {"report": "false"}, {"output_labels": "true"}])
def test_one_whose_directory_is_elsewhere_goes_on(opt_ml, rows, tmp_path, wanted):
    """As where each job is given one of its own, with what was kept for the one before."""
    lay_out(opt_ml, rows)
    assert start(opt_ml).wait() == 0
    model = opt_ml.model_file.read_bytes()
    moved = type(opt_ml)(tmp_path / "elsewhere")
    lay_out(moved, rows, **wanted)
    shutil.copytree(opt_ml.base / "checkpoints", moved.base / "checkpoints", dirs_exist_ok=True)
    assert start(moved).wait() == 0, log(moved)
    assert "going on from checkpoint" in log(moved)
    assert moved.model_file.read_bytes() == model


def test_without_the_directory_nothing_is_kept(opt_ml, rows):
    lay_out(opt_ml, rows)
    (opt_ml.base / "checkpoints").rmdir()
    assert start(opt_ml).wait() == 0
    assert not (opt_ml.base / "checkpoints").exists()


def test_a_disk_that_is_full_of_them_does_not_end_the_job(opt_ml, rows, small_disk):
    lay_out(opt_ml, rows)
    small_disk(opt_ml.base / "checkpoints")
    assert start(opt_ml).wait() == 0, log(opt_ml)
    assert re.search(r"no checkpoint is kept: cannot write \S+: No space left", log(opt_ml))
    assert not list(checkpoints(opt_ml))
    assert len(load_model(opt_ml.model_file).centers) == 20


def test_a_job_that_is_stopped_again_and_again_leaves_a_model(opt_ml, rows):
    lay_out(opt_ml, rows)
    add_much(opt_ml)
    process = start(opt_ml)
    wait_for_checkpoint(opt_ml, process)
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.003)
    assert process.returncode == 0, log(opt_ml)
    assert "this is the model of the" in log(opt_ml)
    assert len(load_model(opt_ml.archive).centers) == 20
    assert load_state(opt_ml.archive).facts["n_taken"] > 0
    assert opt_ml.failure is None
