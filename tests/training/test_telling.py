"""``metrics.jsonl`` and ``metrics.json``: what a job tells programs."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest

from onepass.errors import UserError
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress
from onepass.training.telling import Metrics


@pytest.fixture
def run(opt_ml, caplog):
    """Run a job and return what it has done; its log is in caplog."""

    def run(progress=None, **hyperparameters):
        opt_ml.configure(**{"k": "3", "feature_dim": "3"} | hyperparameters)
        caplog.set_level(logging.INFO)
        paths = Paths(opt_ml.base)
        job = read_configuration(paths)
        return train(job, paths, progress or LogProgress(job.host, job.hyperparameters.epochs))

    return run


def events(opt_ml, kind=None):
    lines = (opt_ml.base / "output/data/metrics.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [event["time"] for event in told] == sorted(event["time"] for event in told)
    return [event for event in told if kind in (None, event["event"])]


def summary(opt_ml):
    return json.loads((opt_ml.base / "output/data/metrics.json").read_text())


def test_what_happens_is_told_in_its_order(opt_ml, run, blobs):
    opt_ml.put(blobs)
    opt_ml.put(blobs[:100], "test")
    trained = run(
        epochs="2", mini_batch_size="50", extra_center_factor="4", eval_metrics='["msd","ssd"]'
    )
    told = events(opt_ml)
    assert [event.get("stage", event["event"]) for event in told] == [
        *("start", "progress", "read and summarise", "epoch", "trials", "final centers"),
        *("exact msd", "further epochs", "epoch", "score", "save", "score", "score", "score"),
        *("report", "end"),
    ]
    assert told[0]["hyperparameters"]["k"] == 3
    first, second = events(opt_ml, "epoch")
    for epoch in (first, second):
        assert (epoch["n_rows"], epoch["n_bytes"], epoch["n_batches"]) == (600, 21_600, 12)
        assert epoch["rows_per_s"] == pytest.approx(600 / epoch["seconds"])
    assert (first["epoch"], second["epoch"]) == (0, 1)
    assert first["long_term_msd"] > 0
    assert "long_term_msd" not in second
    scores = {e["name"]: e["value"] for e in told if e["event"] == "score" and "name" in e}
    assert scores.pop("train msd") == trained.msd
    assert scores == {f"test {name}": value for name, value in trained.scores.items()}
    stages = {event["stage"]: event["seconds"] for event in events(opt_ml, "stage")}
    assert stages == trained.seconds


def test_how_far_a_pass_is_is_told_as_the_log_tells_it(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    run(mini_batch_size="50", extra_center_factor="4")
    [event] = events(opt_ml, "progress")
    [line] = [line for line in caplog.messages if line.startswith("Iter 10: ")]
    msds = [float(value) for value in re.findall(r"msd (\d+\.\d+)", line)]
    assert [event["short_term_msd"], event["long_term_msd"]] == pytest.approx(msds, abs=1e-6)
    assert (event["n_rows"], event["n_batches"], event["epoch"]) == (500, 10, 0)


def test_and_time_and_again(opt_ml, run, blobs, monkeypatch):
    monkeypatch.setattr("onepass.training.log.REPORT_EVERY_S", 0.0)
    opt_ml.put(blobs)
    run(mini_batch_size="50", epochs="2")
    rows = [(event["epoch"], event["n_rows"]) for event in events(opt_ml, "progress")]
    assert rows == [(epoch, n) for epoch in range(2) for n in range(50, 601, 50)]


def test_it_can_be_read_meanwhile(opt_ml, run, blobs):
    seen = []

    class Looking(LogProgress):
        def start(self, what, n_bytes):
            super().start(what, n_bytes)
            seen.append([event["event"] for event in events(opt_ml)])

    opt_ml.put(blobs)
    run(Looking("algo-1", 2), epochs="2")
    assert seen == [["start"], ["start", "stage", "epoch", "trials", "stage"]]


def test_the_summary_is_what_the_job_has_done(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3", max_bad_records="1", epochs="2")
    opt_ml.put(write_rows(blobs) + write_rows(np.full((1, 3), np.nan, np.float32)))
    opt_ml.put(blobs[:100], "test")
    assert opt_ml.run(TRAINING_JOB_NAME="flights", TRAINING_JOB_ARN="arn:1").returncode == 0
    found = summary(opt_ml)
    assert (found["job"], found["arn"], found["hosts"]) == ("flights", "arn:1", ["algo-1"])
    assert (found["k"], found["n_features"], found["n_rows"]) == (3, 3, 600)
    assert found["n_bytes"] == 36 * 601
    assert found["n_bad_records"] == {"train": 1, "test": 0}
    assert found["scores"]["msd"] == events(opt_ml, "score")[-1]["value"]
    assert found["msd"] == events(opt_ml, "score")[0]["value"] > 0
    assert (found["msd_error"], found["stopped"]) == (0, False)
    assert sorted(found["seconds"]) == [
        *("final centers", "further epochs", "read and summarise", "report", "save", "score"),
    ]
    assert found["hyperparameters"]["max_bad_records"] == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["versions"]["onepass"])


def test_what_an_earlier_job_has_left_is_removed(opt_ml, run, blobs):
    opt_ml.put(blobs)
    run()
    run()
    assert len(events(opt_ml, "start")) == 1
    opt_ml.put(write_rows(blobs)[:-1])
    with pytest.raises(UserError):
        run()
    assert [event["event"] for event in events(opt_ml)] == ["start"]
    assert not (opt_ml.base / "output/data/metrics.json").exists()


def test_where_it_cannot_be_written_the_job_goes_on(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    folder = opt_ml.base / "output/data"
    folder.parent.mkdir()
    folder.write_text("a file where a directory should be")
    done = opt_ml.run()
    assert (done.returncode, opt_ml.failure) == (0, None)
    said = re.findall(r"cannot write (\S+):", done.stderr)
    assert said == [f"{folder}/{name}" for name in ("metrics.jsonl", "report.html", "metrics.json")]
    assert opt_ml.archive.exists()


def test_a_disk_that_is_full_does_not_end_the_job(opt_ml, blobs, small_disk):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    folder = opt_ml.base / "output/data"
    small_disk(folder, 8)
    (folder / "other").write_bytes(bytes(8192))
    done = opt_ml.run()
    assert (done.returncode, opt_ml.failure) == (0, None)
    assert done.stderr.count("metrics.jsonl: No space left on device; the job goes on") == 1
    assert done.stderr.count("metrics.json: No space left on device; the model is saved") == 1
    assert not (folder / "metrics.json").exists()


def test_what_is_not_finite_is_null(tmp_path):
    report = Metrics(tmp_path)
    report.begin()
    report.tell("score", value=np.inf)
    report.sum_up({"msd": float("nan"), "scores": {"ssd": float("inf"), "msd": 1.5}})
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["value"] is None
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == {"msd": None, "scores": {"ssd": None, "msd": 1.5}}
