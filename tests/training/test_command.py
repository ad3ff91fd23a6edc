"""The real command ``onepass train`` in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.artifact.state_file import load_state
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.metrics import METRIC_DEFINITIONS

TIMESTAMP = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) \d+\] "
PATIENCE_S = 30


def run_at_a_terminal(opt_ml, **environment):
    """Run the command with a terminal for its output; return its exit code and what it showed."""
    ours, its = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "TRAINING_JOB_NAME"}
    process = subprocess.Popen(
        opt_ml.command, stdout=its, stderr=its, env={**variables, "TERM": "xterm", **environment}
    )
    os.close(its)
    shown = b""
    try:
        while select.select([ours], [], [], PATIENCE_S)[0]:
            piece = os.read(ours, 65536)
            shown += piece
    except OSError:
        pass  # how Linux reports that the other end was closed
    finally:
        os.close(ours)
    return process.wait(PATIENCE_S), shown.decode()


def nothing_was_made(opt_ml):
    return not opt_ml.model_file.exists() and not opt_ml.archive.exists()


def test_a_job_exits_with_0_and_leaves_a_model_and_no_failure(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", force_dense="True")
    opt_ml.put(blobs)
    done = opt_ml.run()
    assert done.returncode == 0, done.stderr
    assert load_model(opt_ml.archive).centers.shape == (3, 3)
    assert opt_ml.failure is None
    assert done.stdout == ""


def test_hyperparameters_may_be_options_without_any_file(opt_ml, blobs):
    opt_ml.put(blobs)
    done = opt_ml.run("-s", "k=9", "--set", "feature_dim=3", "-s", "k=5")
    assert done.returncode == 0, done.stderr
    assert load_model(opt_ml.archive).centers.shape == (5, 3)  # the last word counts


def test_an_option_goes_before_the_file_and_the_file_before_a_variable(opt_ml, blobs):
    opt_ml.put(blobs)
    opt_ml.configure(k="3", feature_dim="3", seed="1")
    done = opt_ml.run("-s", "k=4", ONEPASS_K="5", ONEPASS_SEED="6", ONEPASS_EPOCHS="2")
    assert done.returncode == 0, done.stderr
    [configuration] = re.findall("Final configuration: (.*)", done.stderr)
    for said in ("'k': 4,", "'seed': 1,", "'epochs': 2,"):
        assert said in configuration


def test_what_is_wrong_with_options_is_told_as_of_the_file(opt_ml, blobs):
    opt_ml.put(blobs)
    done = opt_ml.run("-s", "k=0", "-s", "mini_batch_siz=1", ONEPASS_SEED="one")
    assert done.returncode == 2
    for said in (
        "No value(s) were specified for 'feature_dim'",
        "k='0' is not accepted: k must be auto or a whole number from 1 to",
        "('mini_batch_siz' was unexpected); did you mean 'mini_batch_size'?",
        "ONEPASS_SEED='one' is not accepted: seed must be a whole number from 0",
    ):
        assert said in opt_ml.failure


@pytest.mark.parametrize("option", ["k", "=3", ""])
def test_an_option_that_is_no_name_and_value_is_a_slip_of_the_pen(opt_ml, blobs, option):
    opt_ml.put(blobs)
    done = opt_ml.run("-s", option)
    assert done.returncode == 2
    assert f"{option!r} must be NAME=VALUE, such as k=10" in done.stderr
    assert opt_ml.failure is None  # no job has begun


@pytest.mark.parametrize(
    ("options", "variables", "named"),
    [(["-s", "seed=1"], {}, "seed (-s)"), ([], {"ONEPASS_SEED": "1"}, "seed (environment)")],
)
def test_several_hosts_take_the_file_alone(opt_ml, blobs, options, variables, named):
    opt_ml.put(blobs)
    opt_ml.configure(k="3", feature_dim="3")
    hosts = {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}
    opt_ml.write_config("resourceconfig", hosts)
    assert opt_ml.run(*options, **variables).returncode == 2
    assert f"{named}: a job of several hosts takes hyperparameters from " in opt_ml.failure


def test_what_has_been_made_is_told_in_json_and_nothing_else_is(opt_ml, blobs):
    opt_ml.put(blobs)
    opt_ml.put(blobs[:100], "test")
    done = opt_ml.run("-s", "k=3", "-s", "feature_dim=3", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["n_clusters"], told["n_rows"], told["n_features"]) == (3, 600, 3)
    assert told["model_file"] == str(opt_ml.model_file)
    assert f"train msd <loss>={told['msd']}" in done.stderr
    assert f"test msd <loss>={told['scores']['msd']}" in done.stderr
    assert opt_ml.run("-s", "k=0", "--json").stdout == ""


def test_every_log_line_has_the_originals_form(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", eval_metrics='["msd","ssd"]')
    opt_ml.put(blobs)
    opt_ml.put(blobs, "test")
    lines = opt_ml.run().stderr.splitlines()
    after_metrics = [i + 1 for i, line in enumerate(lines) if line.startswith("#metrics {")]
    assert len(after_metrics) == 2
    assert [lines[i] for i in after_metrics] == ["", ""]
    others = [line for line in lines if line and not line.startswith("#metrics {")]
    assert [line for line in others if not re.match(TIMESTAMP, line)] == []
    for definition in METRIC_DEFINITIONS:
        values = [found[1] for line in lines if (found := re.search(definition["Regex"], line))]
        assert len(values) == 1, definition
        assert float(values[0]) > 0


def test_the_same_job_twice_gives_the_same_bytes_even_with_other_threads(opt_ml, blobs):
    opt_ml.configure(k="5", feature_dim="3", mini_batch_size="100")
    opt_ml.put(blobs)
    made = []
    for n_threads in ("1", "2"):
        assert opt_ml.run(OPENBLAS_NUM_THREADS=n_threads).returncode == 0
        state = load_state(opt_ml.archive)
        for entry in (state.facts, *state.facts["lineage"]):
            del entry["written"]  # the dates alone differ
        arrays = {name: array.tobytes() for name, array in state.arrays.items()}
        made.append((opt_ml.model_file.read_bytes(), state.facts, arrays))
    assert made[0] == made[1]


def test_the_log_names_the_job(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/flights"
    log = opt_ml.run(TRAINING_JOB_NAME="flights", TRAINING_JOB_ARN=arn).stderr
    assert f"Training job flights {arn}\n" in log
    [entry] = load_state(opt_ml.model_file.with_name("state_algo-1")).facts["lineage"]
    assert (entry["job"], entry["arn"]) == ("flights", arn)
    described = subprocess.run(
        [*opt_ml.command[:3], "describe", opt_ml.model_file],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\njob        flights, 20" in described.stdout


def test_the_level_of_the_log_is_a_hyperparameter(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", _log_level="error")
    opt_ml.put(blobs)
    done = opt_ml.run()
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_failure_of_an_earlier_run_is_removed(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    opt_ml.failure_file.parent.mkdir()
    opt_ml.failure_file.write_text("ClientError: an old one")
    assert opt_ml.run().returncode == 0
    assert opt_ml.failure is None


def test_a_failure_of_an_earlier_run_gives_way_to_a_new_one(opt_ml):
    opt_ml.configure(k="3")
    opt_ml.failure_file.parent.mkdir()
    opt_ml.failure_file.write_text("ClientError: an old one")
    assert opt_ml.run().returncode == 2
    assert "'feature_dim'" in opt_ml.failure


def test_people_at_a_terminal_see_a_bar_and_a_summary(opt_ml, blobs):
    few = {"mini_batch_size": "100", "extra_center_factor": "4"}  # centers: rows are off them
    opt_ml.configure(k="3", feature_dim="3", **few)
    opt_ml.put(blobs)
    code, shown = run_at_a_terminal(opt_ml)
    assert code == 0
    assert "one pass over the data" in shown
    assert "100%" in shown
    assert re.search(r"rows/s  0\.00 GB/s  msd 0\.\d+ so far", shown)
    assert "3 clusters of 600 rows x 3 features" in shown
    assert re.search(r"train msd +0\.\d+", shown)
    assert str(opt_ml.archive) in shown
    assert "#quality_metric" not in shown


def test_a_training_job_at_a_terminal_writes_a_log_and_no_bar(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    code, shown = run_at_a_terminal(opt_ml, TRAINING_JOB_NAME="kmeans-2026-01-01")
    assert code == 0
    assert "#quality_metric: host=algo-1, train msd <loss>=" in shown
    assert "rows/s" not in shown
    assert "\x1b" not in shown
    assert re.sub(r"\r\n", "", shown).count("\r") == 0


def test_people_at_a_terminal_see_why_a_job_fails(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="4")
    opt_ml.put(blobs)
    code, shown = run_at_a_terminal(opt_ml)
    assert code == 2
    assert "the record has 3 features, expected 4" in shown
    assert "Traceback" not in shown


def test_a_pass_that_fails_at_a_terminal_gives_the_line_and_the_cursor_back(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", mini_batch_size="100")
    opt_ml.put(write_rows(blobs)[:-1])
    code, shown = run_at_a_terminal(opt_ml)
    assert code == 2
    assert "one pass over the data" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    *_, error = shown.splitlines()
    assert "ClientError" in error
    assert "one pass over the data" not in error


@pytest.fixture(params=["1", "3"])
def long_job(opt_ml, request):
    """A job in the middle of its pass: a file of 64 MiB that is read again and again."""
    opt_ml.configure(k="50", feature_dim="8", mini_batch_size="1000", num_workers=request.param)
    rows = np.random.default_rng(0).normal(size=(1_000_000, 8)).astype(np.float32)
    first = opt_ml.put(rows, name="matrix_00.pbr")
    for i in range(1, 40):
        os.link(first, first.with_name(f"matrix_{i:02}.pbr"))
    # A shell's background jobs ignore SIGINT, and so would a job of tests that run in one.
    command = ["env", "--default-signal=INT", *opt_ml.command]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait(PATIENCE_S)
    process.stderr.close()


def workers_of(process):
    """The processes that share the job's data, the job's own where it is alone."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children] or [process.pid]


def is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_it_reads(process):
    """Wait until a process has read more than its own code, some 100 MB; returns all workers."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        workers = workers_of(process)
        if int(Path(f"/proc/{workers[0]}/io").read_text().split()[1]) > 100e6:
            return workers
        time.sleep(0.01)
    raise AssertionError("the job has not begun to read")


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]])
def test_sigterm_ends_a_job_with_a_model_of_what_it_has_read(opt_ml, long_job, signals):
    workers = wait_until_it_reads(long_job)
    stopped = time.monotonic()
    for number in signals:
        long_job.send_signal(number)
    _, log = long_job.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - stopped < 10
    assert (long_job.returncode, opt_ml.failure) == (0, None)
    [n_rows] = re.findall("stopped by SIGTERM: this is the model of the ([0-9]+) rows read", log)
    assert f"processed a total of {n_rows} examples" in log
    assert 0 < int(n_rows) < 40_000_000
    assert load_model(opt_ml.model_file).n_clusters == 50
    assert "Traceback" not in log
    assert not any(is_running(pid) for pid in workers)


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_sigterm_to_a_job_that_has_hardly_begun_leaves_a_model_too(opt_ml, blobs, n_workers):
    opt_ml.configure(k="3", feature_dim="3", num_workers=n_workers)
    opt_ml.put(blobs)
    process = subprocess.Popen(opt_ml.command, stderr=subprocess.PIPE, text=True)
    while not catches_sigterm(process):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, opt_ml.failure) == (0, None), log
    assert "stopped by SIGTERM: this is the model of the" in log
    assert load_model(opt_ml.model_file).n_clusters == 3


def catches_sigterm(process):
    """Whether a process would not die of it any more."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"^SigCgt:\s+(\w+)", status, re.MULTILINE)[1], 16) >> 14 & 1


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("long_job", ["3"], indirect=True)
def test_workers_end_with_the_job_that_is_killed(long_job, suspended):
    """One of them does nothing meanwhile, as one that has read its shard."""
    workers = wait_until_it_reads(long_job)
    if suspended:
        os.kill(workers[0], signal.SIGSTOP)
    long_job.kill()
    long_job.wait(PATIENCE_S)
    if suspended:
        os.kill(workers[0], signal.SIGCONT)
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in workers)


@pytest.mark.parametrize("long_job", ["3"], indirect=True)
def test_a_worker_that_is_killed_ends_the_job_with_a_reason_and_no_model(opt_ml, long_job):
    workers = wait_until_it_reads(long_job)
    os.kill(workers[1], signal.SIGKILL)
    _, log = long_job.communicate(timeout=PATIENCE_S)
    assert long_job.returncode == 3
    assert opt_ml.failure.startswith("AlgorithmError: a process was killed, most likely for want")
    assert "Traceback" not in log
    assert nothing_was_made(opt_ml)
    assert not any(is_running(pid) for pid in workers)


@pytest.mark.parametrize("long_job", ["3"], indirect=True)
def test_workers_end_when_the_job_is_killed(long_job):
    workers = wait_until_it_reads(long_job)
    long_job.kill()
    long_job.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker goes on for nobody"
        time.sleep(0.05)


def test_sigint_ends_a_job_with_130_a_reason_and_no_model(opt_ml, long_job):
    wait_until_it_reads(long_job)
    long_job.send_signal(signal.SIGINT)
    _, log = long_job.communicate(timeout=PATIENCE_S)
    assert long_job.returncode == 130
    assert opt_ml.failure.startswith("AlgorithmError: interrupted")
    assert "Traceback" not in log
    assert nothing_was_made(opt_ml)


def missing_k(job, rows):
    job.configure(feature_dim="3")
    job.put(rows)
    return "No value(s) were specified for 'k'"


def unknown_name(job, rows):
    job.configure(k="3", feature_dim="3", mini_batch_siz="10")
    job.put(rows)
    return "('mini_batch_siz' was unexpected); did you mean 'mini_batch_size'?"


def width_off_by_one(job, rows):
    job.configure(k="3", feature_dim="4")
    path = job.put(rows)
    return f"{path}, record 0 at byte 0: the record has 3 features, expected 4"


def absurd_feature_dim(job, rows):
    job.configure(k="3", feature_dim="2147483647")
    path = job.put(rows)
    return (
        f"feature_dim=2147483647 does not fit the data: {path}, record 0 at byte 0: "
        "the record has 3 features, expected 2147483647"
    )


def absurd_k(job, rows):
    job.configure(k="1000000000", feature_dim="3")
    job.put(rows)
    return "channel 'train' has 21600 bytes, fewer rows than k=1000000000 clusters"


def truncated_file(job, rows):
    job.configure(k="3", feature_dim="3")
    path = job.put(write_rows(rows)[:-1])
    return f"{path}, record 599 at byte 21564: the data ends inside this record"


def not_a_number(job, rows):
    job.configure(k="3", feature_dim="3")
    broken = rows.copy()
    broken[123, 2] = np.nan
    path = job.put(broken)
    return f"{path}, record 123 at byte 4428: feature 2 is NaN or infinite"


def empty_channel(job, rows):
    job.configure(k="3", feature_dim="3")
    job.put(rows, name="_hidden")
    return "channel 'train' has no data: there is no file in it"


def missing_channel(job, rows):
    job.configure(k="3", feature_dim="3")
    job.put(rows, channel="training")
    return "the channel 'train' is required; the job has: training"


def more_clusters_than_rows(job, rows):
    job.configure(k="601", feature_dim="3")
    job.put(rows)
    return "channel 'train' has 600 rows, fewer than k=601 clusters"


def unknown_mode(job, rows):
    job.configure(k="3", feature_dim="3")
    job.put(rows)
    job.write_config("inputdataconfig", {"train": {"TrainingInputMode": "Stream"}})
    return "channel 'train': TrainingInputMode='Stream' is not known"


def unknown_content(job, rows):
    job.configure(k="3", feature_dim="3")
    job.put(rows)
    job.write_config("inputdataconfig", {"train": {"ContentType": "text/libsvm"}})
    return "channel 'train': No iterator has been registered for ContentType 'text/libsvm'"


def records_for_csv(job, rows):
    job.configure(k="3", feature_dim="3")
    job.put(rows)
    job.write_config("inputdataconfig", {"train": {"ContentType": "text/csv"}})
    return "RecordIO records; ContentType must be application/x-recordio-protobuf for these"


def csv_data(job, rows):
    del rows
    job.configure(k="3", feature_dim="3")
    path = job.put(b"1,2,3\n4,5,6\n")
    return f"{path}, record 0 at byte 0: no RecordIO record starts here"


def broken_json(job, rows):
    job.write_config("hyperparameters", '{"k": "3"')
    job.put(rows)
    return "hyperparameters.json is not valid JSON"


def other_width_of_test_data(job, rows):
    job.configure(k="3", feature_dim="3")
    job.put(rows)
    path = job.put(rows[:, :2], "test")
    return f"{path}, record 0 at byte 0: the record has 2 features, expected 3"


@pytest.mark.parametrize(
    "make",
    [
        missing_k,
        unknown_name,
        width_off_by_one,
        absurd_feature_dim,
        absurd_k,
        truncated_file,
        not_a_number,
        empty_channel,
        missing_channel,
        more_clusters_than_rows,
        unknown_mode,
        unknown_content,
        records_for_csv,
        csv_data,
        broken_json,
        other_width_of_test_data,
    ],
)
def test_what_the_user_can_mend_is_refused_with_2_and_a_reason(opt_ml, blobs, make):
    reason = make(opt_ml, blobs)
    done = opt_ml.run()
    assert done.returncode == 2
    assert opt_ml.failure.startswith("ClientError: ")
    assert reason in opt_ml.failure
    assert done.stderr.splitlines()[-1].endswith(opt_ml.failure)
    assert "Traceback" not in done.stderr
    assert nothing_was_made(opt_ml)


def test_the_failure_file_has_no_more_than_the_platform_shows(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", **{f"unknown_{i:03}": "1" for i in range(100)})
    opt_ml.put(blobs)
    done = opt_ml.run()
    assert done.returncode == 2
    assert len(opt_ml.failure) == 1024
    assert "unknown_099" not in opt_ml.failure
    assert "unknown_099" in done.stderr


def test_a_job_without_anything_says_what_is_missing(opt_ml):
    assert opt_ml.run().returncode == 2
    assert "hyperparameters.json is missing" in opt_ml.failure


def test_a_model_that_cannot_be_written_is_an_error_of_the_platform(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    (opt_ml.base / "model").write_text("a file in the place of the directory")
    done = opt_ml.run()
    assert done.returncode == 3
    assert opt_ml.failure.startswith(f"AlgorithmError: cannot write {opt_ml.model_file}: ")
    assert "Traceback" not in done.stderr


def test_where_no_failure_file_can_be_written_the_log_says_why_and_the_code_stays(opt_ml, blobs):
    opt_ml.configure(k="0", feature_dim="3")
    opt_ml.put(blobs)
    (opt_ml.base / "output").write_text("a file in the place of the directory")
    done = opt_ml.run()
    assert done.returncode in (2, 3)
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_whose_name_is_no_text_can_be_named_in_the_failure(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="4")
    opt_ml.put(blobs, name=os.fsdecode(b"\xff.pbr"))
    assert opt_ml.run().returncode == 2
    assert "\\udcff.pbr, record 0 at byte 0" in opt_ml.failure


def test_the_base_may_be_relative(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    command = [*opt_ml.command[:-1], opt_ml.base.name]
    done = subprocess.run(command, cwd=opt_ml.base.parent, capture_output=True, check=False)
    assert done.returncode == 0
    assert opt_ml.archive.exists()


def test_at_a_terminal_a_pass_over_a_pipe_has_a_bar_without_an_end(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.write_config("inputdataconfig", {"train": {"TrainingInputMode": "Pipe"}})
    opt_ml.feed(write_rows(blobs))
    code, shown = run_at_a_terminal(opt_ml)
    assert code == 0, shown
    assert "one pass over the data" in shown
    assert "3 clusters of 600 rows x 3 features" in shown
