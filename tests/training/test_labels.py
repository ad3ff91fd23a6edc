"""``output_labels``: the clusters of the training data, written by the job that has made them."""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import signal
import subprocess

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from onepass.artifact.model_file import load_model
from onepass.errors import UserError
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.hyperparameters import parse_hyperparameters
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress
from onepass.training.stopping import Stopping

PATIENCE_S = 30
WANTED = {"k": "3", "feature_dim": "3", "mini_batch_size": "100", "output_labels": "true"}
PIPE = {"TrainingInputMode": "Pipe"}


@pytest.fixture
def run(opt_ml, caplog):
    """Run a job; return the labels and the distances it has written, with NaN for gaps."""

    def run(described=None, progress=None, stopping=None, **hyperparameters):
        opt_ml.configure(**WANTED | hyperparameters)
        opt_ml.write_config("inputdataconfig", {"train": described or {}})
        caplog.set_level(logging.INFO)
        caplog.clear()
        paths = Paths(opt_ml.base)
        job = read_configuration(paths)
        progress = progress or LogProgress(job.host, job.hyperparameters.epochs)
        train(job, paths, progress, stopping)
        return labels_in(opt_ml)

    return run


def files_in(opt_ml):
    """All that is there of labels, hidden files included."""
    folder = opt_ml.base / "output/data"
    return sorted(path for path in folder.glob("*") if "labels" in path.name)


def labels_in(opt_ml):
    tables = [
        parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
        for path in files_in(opt_ml)
    ]
    if not tables:
        return None
    assert {tuple(table.column_names) for table in tables} == {("cluster", "distance")}
    return np.concatenate([np.column_stack([np.float64(c) for c in t.columns]) for t in tables])


def check(opt_ml, rows, found):
    """Each row's label and distance are those of the model, in the order of the rows."""
    truth = load_model(opt_ml.archive).assign(rows)
    assert np.array_equal(found[:, 0], truth.labels)
    assert np.array_equal(found[:, 1].astype(np.float32), truth.distances)


def as_text(rows):
    return "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()


def as_parquet(rows):
    file = io.BytesIO()
    parquet.write_table(pa.table(dict(zip("xyz", rows.T.copy(), strict=True))), file)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("n_workers", ["1", "2"])
@pytest.mark.parametrize(
    ("write", "content_type"),
    [
        (write_rows, "application/x-recordio-protobuf"),
        (lambda rows: gzip.compress(write_rows(rows), 0), "application/x-recordio-protobuf"),
        (as_text, "text/csv"),
        (as_parquet, "application/x-parquet"),
    ],
)
def test_labels_are_those_of_the_model_in_the_order_of_the_rows(
    opt_ml, run, blobs, kind, n_workers, write, content_type
):
    for i, part in enumerate(np.split(blobs, 3)):
        opt_ml.put(write(part), name=f"{i}")
    found = run({"ContentType": content_type}, num_workers=n_workers, output_labels=kind)
    check(opt_ml, blobs, found)
    names = [path.name for path in files_in(opt_ml)]
    assert names == [f"labels-{i:06}-algo-1.{kind}" for i in range(int(n_workers))]


def test_they_are_what_predict_answers(opt_ml, run, blobs):
    path = opt_ml.put(blobs)
    found = run()
    command = [*opt_ml.command[:3], "predict", opt_ml.archive, path, "--accept", "text/csv"]
    answer = subprocess.run([*command, "--device", "cpu"], capture_output=True, check=True).stdout
    assert np.array_equal(
        found.astype(np.float32), np.loadtxt(io.BytesIO(answer), np.float32, delimiter=",")
    )


def test_a_file_is_text_that_anyone_can_read(opt_ml, run, blobs):
    opt_ml.put(blobs)
    run()
    [path] = files_in(opt_ml)
    header, *lines = path.read_text().splitlines()
    assert header == "cluster,distance"
    assert len(lines) == 600
    assert all(re.fullmatch(r"[012],\d+\.\d+(e-\d+)?", line) for line in lines)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_of_sparse_records(opt_ml, run, n_workers):
    rows = np.zeros((900, 64), np.float32)
    rows[np.arange(900), np.arange(900) % 3] = np.arange(1, 901)
    opt_ml.put(write_rows(rows, sparse=True))
    found = run(feature_dim="64", force_dense="false", num_workers=n_workers)
    truth = load_model(opt_ml.archive).assign(rows)
    assert np.array_equal(found[:, 0], truth.labels)
    np.testing.assert_allclose(found[:, 1], truth.distances, rtol=1e-5)


def test_of_files_that_are_opened_once(opt_ml, run, blobs):
    for i, part in enumerate(np.split(blobs, 6)):
        opt_ml.put(part, name=f"{i}")
    check(opt_ml, blobs, run({"TrainingInputMode": "FastFile"}, num_workers="2"))


@pytest.mark.parametrize("epochs", ["1", "3"])
def test_of_a_pipe_they_take_the_next_one(opt_ml, run, blobs, epochs, monkeypatch):
    """Passes end when no center has moved: the pass of the labels has the number behind them."""
    monkeypatch.setattr("onepass.data.pipe_stream.PATIENCE_S", 5)
    opt_ml.feed(*[write_rows(blobs)] * (int(epochs) + 1))
    check(opt_ml, blobs, run(PIPE, epochs=epochs))


def test_after_epochs_they_are_those_of_the_last_centers(opt_ml, run):
    rows = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    opt_ml.put(rows)
    check(opt_ml, rows, run(epochs="3", k="20"))


def test_labels_of_an_earlier_job_are_removed(opt_ml, run, blobs):
    opt_ml.put(blobs)
    run(num_workers="2", output_labels="parquet")
    assert len(files_in(opt_ml)) == 2
    foreign = opt_ml.base / "output/data/my-labels.csv"
    foreign.write_text("cluster,distance\n0,1\n")
    run()
    names = [path.name for path in files_in(opt_ml)]
    assert names == ["labels-000000-algo-1.csv", "my-labels.csv"]


def test_unasked_there_are_none(opt_ml, run, blobs):
    opt_ml.put(blobs)
    assert run(output_labels="false") is None


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_a_bad_record_has_a_line_without_values(opt_ml, run, blobs, kind, n_workers):
    places = [0, 1, 300, 603, 604]  # at both ends, beside one another, in the middle
    lines = as_text(blobs).splitlines(keepends=True)
    for place in places:
        lines.insert(place, b"1,x,2\n")
    opt_ml.put(b"x,y,z\n" + b"".join(lines))  # the header is no row
    found = run(
        {"ContentType": "text/csv"}, num_workers=n_workers, max_bad_records="5", output_labels=kind
    )
    empty = np.isnan(found).all(axis=1)
    assert np.flatnonzero(empty).tolist() == places
    assert len(found) == 605
    check(opt_ml, blobs, found[~empty])


@pytest.mark.parametrize(
    ("given", "meant"),
    [("true", "csv"), ("True", "csv"), (True, "csv"), ("false", "false"), ("parquet", "parquet")],
)
def test_what_is_accepted(given, meant):
    wanted = {"k": "3", "feature_dim": "3", "output_labels": given}
    assert parse_hyperparameters(wanted).output_labels == meant


@pytest.mark.parametrize("given", ["yes", "json", "", "1"])
def test_what_is_not(given):
    with pytest.raises(UserError, match="output_labels must be false, true, csv or parquet"):
        parse_hyperparameters({"k": "3", "feature_dim": "3", "output_labels": given})


class Asking(LogProgress):
    """Asks a job to stop once rows of a pass have been read."""

    def __init__(self, stopping, what):
        super().__init__("algo-1", 2)
        self.stopping, self.when = stopping, what

    def advance(self, n_bytes, n_rows, msd=0.0):
        super().advance(n_bytes, n_rows, msd)
        if self._what == self.when and n_rows:
            self.stopping.ask()


@pytest.mark.parametrize("n_workers", ["1", "2"])
@pytest.mark.parametrize("when", ["one pass over the data", "labels"])
def test_a_job_that_is_stopped_leaves_them_out_and_says_so(
    opt_ml, run, blobs, caplog, n_workers, when
):
    first = opt_ml.put(np.tile(blobs, (1000, 1)), name="00")
    for i in range(1, 8):
        os.link(first, first.with_name(f"{i:02}"))
    stopping = Stopping()
    found = run(
        progress=Asking(stopping, when), stopping=stopping, num_workers=n_workers,
        mini_batch_size="5000",
    )  # fmt: skip
    assert found is None
    assert files_in(opt_ml) == []
    assert "stopped by SIGTERM: no labels are written" in caplog.messages
    assert load_model(opt_ml.archive).n_clusters == 3


def test_sigterm_while_labels_wait_for_a_pipe_ends_the_job_with_its_model(opt_ml, blobs):
    opt_ml.configure(**WANTED)
    opt_ml.write_config("inputdataconfig", {"train": PIPE})
    folder = opt_ml.base / "input/data"
    folder.mkdir()
    for epoch in range(2):
        os.mkfifo(folder / f"train_{epoch}")
    process = subprocess.Popen(opt_ml.command, stderr=subprocess.PIPE, text=True)
    (folder / "train_0").write_bytes(write_rows(blobs))
    writer = os.open(folder / "train_1", os.O_RDWR)
    os.write(writer, write_rows(blobs))
    for line in process.stderr:
        if "saved" in line:
            break
    while not files_in(opt_ml):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=PATIENCE_S)
    os.close(writer)
    assert (process.returncode, opt_ml.failure) == (0, None), log
    assert "stopped by SIGTERM: no labels are written" in log
    assert files_in(opt_ml) == []
    assert load_model(opt_ml.archive).n_clusters == 3


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_a_disk_that_is_full_costs_the_labels_and_not_the_model(
    opt_ml, small_disk, kind, n_workers
):
    opt_ml.put(np.random.default_rng(0).normal(size=(60_000, 3)).astype(np.float32))
    opt_ml.configure(**WANTED | {"output_labels": kind, "num_workers": n_workers})
    folder = opt_ml.base / "output/data"
    small_disk(folder, 128)
    done = opt_ml.run()
    assert done.returncode == 3, done.stderr
    assert opt_ml.failure == (
        f"AlgorithmError: cannot write labels to {folder} on algo-1: "
        "No space left on device; the model is saved"
    )
    assert load_model(opt_ml.archive).n_clusters == 3
    assert files_in(opt_ml) == []
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
