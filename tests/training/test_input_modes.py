"""The same rows by every way in: one model, byte for byte."""

from __future__ import annotations

import gzip
import io
import logging
import os
import signal
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from onepass import KMeans
from onepass.artifact.model_file import load_model
from onepass.data.batches import BatchReader
from onepass.data.sources import whole_files
from onepass.errors import PlatformError, UserError
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import frame
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress
from onepass.training.tasks import summarise

PATIENCE_S = 30
HYPERPARAMETERS = {"k": "3", "feature_dim": "3", "mini_batch_size": "100"}


@pytest.fixture
def run(opt_ml, caplog):
    """Run a job with channels of some description; return the bytes of its model."""

    def run(train_channel=None, test_channel=None, **hyperparameters):
        opt_ml.configure(**HYPERPARAMETERS | hyperparameters)
        channels = {"train": train_channel or {}}
        if test_channel is not None:
            channels["test"] = test_channel
        opt_ml.write_config("inputdataconfig", channels)
        caplog.set_level(logging.INFO)
        caplog.clear()
        paths = Paths(opt_ml.base)
        job = read_configuration(paths)
        train(job, paths, LogProgress(job.host, job.hyperparameters.epochs))
        return opt_ml.model_file.read_bytes()

    return run


@pytest.fixture
def expected(opt_ml, run, blobs):
    path = opt_ml.put(blobs)
    model = run()
    path.unlink()
    return model


PIPE = {"TrainingInputMode": "Pipe"}


def test_by_pipe(opt_ml, run, blobs, expected, caplog):
    thread = opt_ml.feed(write_rows(blobs))
    assert run(PIPE) == expected
    thread.join(PATIENCE_S)
    directory = opt_ml.base / "input/data/train"
    assert f"The channel 'train' is in pipe input mode under {directory}." in caplog.messages


def test_by_a_pipe_that_comes_late(opt_ml, run, blobs, expected):
    opt_ml.feed(write_rows(blobs), late_s=0.5)
    assert run(PIPE) == expected


def test_objects_in_a_pipe_are_one_stream(opt_ml, run, blobs, expected):
    opt_ml.feed(write_rows(blobs[:77]) + write_rows(blobs[77:]))
    assert run(PIPE) == expected


def test_by_a_pipe_that_wraps_objects(opt_ml, run, blobs, expected):
    parts = [write_rows(blobs[:200]), gzip.compress(write_rows(blobs[200:])), b""]
    opt_ml.feed(b"".join(map(frame, parts)))
    assert run(PIPE | {"RecordWrapperType": "RecordIO"}) == expected


def test_compressed(opt_ml, run, blobs, expected):
    data = write_rows(blobs)
    opt_ml.put(gzip.compress(data[: 36 * 100]), name="a.gz")
    opt_ml.put(data[36 * 100 : 36 * 250], name="b")
    opt_ml.put(gzip.compress(data[36 * 250 :]), name="c")
    assert run() == expected


def test_compressed_in_a_pipe(opt_ml, run, blobs, expected):
    opt_ml.feed(gzip.compress(write_rows(blobs)))
    assert run(PIPE) == expected


def test_from_files_that_are_opened_once(opt_ml, run, blobs, expected):
    opt_ml.put(blobs[:300], name="a")
    opt_ml.put(blobs[300:], name="b")
    assert run({"TrainingInputMode": "FastFile"}) == expected


@pytest.mark.parametrize("mode", ["File", "FastFile"])
@pytest.mark.parametrize("content_type", ["application/x-recordio-protobuf", "text/csv"])
def test_thousands_of_small_files_make_the_model_of_one(opt_ml, run, blobs, mode, content_type):
    rows = np.random.default_rng(8).permutation(np.tile(blobs, (10, 1)))
    write = as_text if content_type == "text/csv" else write_rows
    channel = {"TrainingInputMode": mode, "ContentType": content_type}
    path = opt_ml.put(write(rows))
    one = run(channel, num_workers="1")
    path.unlink()
    ends = np.sort(np.random.default_rng(9).choice(np.arange(1, len(rows)), 1999, replace=False))
    for i, part in enumerate(np.split(rows, ends)):
        opt_ml.put(write(part), name=f"{i // 100:02}/{i:04}")
    assert run(channel, num_workers="1") == one


def test_a_small_compressed_file_may_hold_many_rows(opt_ml, run):
    opt_ml.put(gzip.compress(write_rows(np.ones((50_000, 3), np.float32))))
    run(k="3000", extra_center_factor="1")


CSV = {"ContentType": "text/csv"}


def as_text(rows, label=""):
    return "".join(label + ",".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()


@pytest.mark.parametrize(
    ("text", "described"),
    [
        (as_text, CSV),
        (lambda rows: b"x,y,z\n" + as_text(rows), CSV),
        (lambda rows: as_text(rows, "7,"), CSV),
        (lambda rows: as_text(rows, "a,b,"), {"ContentType": "text/csv;label_size=2"}),
        (lambda rows: gzip.compress(as_text(rows)), {"ContentType": "text/csv; label_size=0"}),
        (as_text, CSV | {"TrainingInputMode": "FastFile"}),
    ],
)
def test_as_comma_separated_values(opt_ml, run, blobs, expected, text, described):
    opt_ml.put(text(blobs), name="data.csv")
    assert run(described) == expected


@pytest.mark.parametrize("name", ["parquet", "npy"])
def test_as_parquet_and_as_a_matrix(opt_ml, run, blobs, expected, name):
    file = io.BytesIO()
    if name == "parquet":
        parquet.write_table(pa.table(dict(zip("xyz", blobs.T.copy(), strict=True))), file)
    else:
        np.save(file, blobs)
    opt_ml.put(file.getvalue(), name=f"data.{name}")
    assert run({"ContentType": f"application/x-{name}"}) == expected


def test_as_a_matrix_in_a_pipe_that_wraps_objects(opt_ml, run, blobs, expected):
    parts = []
    for part in (blobs[:9], blobs[9:]):
        file = io.BytesIO()
        np.save(file, part)
        parts.append(frame(file.getvalue()))
    opt_ml.feed(b"".join(parts))
    described = {"ContentType": "application/x-npy", "RecordWrapperType": "RecordIO"}
    assert run(PIPE | described) == expected


def test_as_values_in_a_pipe(opt_ml, run, blobs, expected):
    opt_ml.feed(as_text(blobs))
    assert run(CSV | PIPE) == expected


def test_as_wrapped_objects_of_values_of_which_one_lacks_its_last_end_of_line(
    opt_ml, run, blobs, expected
):
    parts = [as_text(blobs[:200])[:-1], b"x,y,z\n" + as_text(blobs[200:])]
    opt_ml.feed(b"".join(map(frame, parts)))
    assert run(CSV | PIPE | {"RecordWrapperType": "RecordIO"}) == expected


def test_several_workers_share_a_file_of_values(opt_ml, run, blobs):
    opt_ml.put(as_text(blobs), name="data.csv")
    run(CSV, num_workers="3")
    text = as_text(blobs).replace(b"\n", b"\nnan,1,2\n", 400).replace(b"nan", b"0", 399)
    opt_ml.put(text, name="data.csv")
    with pytest.raises(
        UserError, match=r"data.csv, row 800 at byte \d+, column 1: a value that is NaN"
    ):
        run(CSV, num_workers="3")


def test_a_column_too_many_is_said_with_feature_dim(opt_ml, run, blobs):
    opt_ml.put(as_text(blobs, "1,2,"), name="data.csv")
    with pytest.raises(UserError, match=r"^feature_dim=3 does not fit the data: .*5 columns; exp"):
        run(CSV)


def test_every_pass_has_a_pipe(opt_ml, run, blobs):
    path = opt_ml.put(blobs)
    expected = run(epochs="3")
    path.unlink()
    data = write_rows(blobs)
    opt_ml.feed(data, data, data)
    assert run(PIPE, epochs="3") == expected


def test_the_test_channel_may_be_a_pipe(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    opt_ml.put(blobs, "test")
    run({}, {})
    scores = [line for line in caplog.messages if "test msd" in line]
    opt_ml.feed(write_rows(blobs), channel="test")
    run({}, PIPE)
    assert scores
    assert [line for line in caplog.messages if "test msd" in line] == scores


def test_several_workers_share_compressed_and_fast_files(opt_ml, run, blobs):
    for i, part in enumerate(np.split(blobs, 6)):
        opt_ml.put(part, name=f"part-{i}")
    whole = run({"TrainingInputMode": "FastFile"}, num_workers="3")
    for i, part in enumerate(np.split(blobs, 6)):
        opt_ml.put(gzip.compress(write_rows(part), 0), name=f"part-{i}")
    assert run(num_workers="3") == whole


@pytest.mark.parametrize("described", [{}, {"TrainingInputMode": "FastFile"}])
def test_one_file_that_is_not_cut_has_one_worker(opt_ml, run, blobs, expected, caplog, described):
    opt_ml.put(gzip.compress(write_rows(blobs), 0), name="data.gz")
    assert run(described, num_workers="3") == expected
    assert not any("processes share the data" in line for line in caplog.messages)


def test_a_shard_ends_its_last_batch_where_it_is(opt_ml, blobs):
    reader = BatchReader(whole_files([opt_ml.put(blobs)]), 3, 100)
    kmeans = summarise(KMeans(3, batch_size=7), reader, lambda _: None)
    assert kmeans._stream._stream.n_taken == 600
    assert not len(kmeans._stream._stream._buffer)


def test_what_breaks_in_a_worker_is_named(opt_ml, run, blobs):
    opt_ml.put(blobs, name="a")
    path = opt_ml.put(gzip.compress(write_rows(blobs), 0)[:-9], name="b")
    with pytest.raises(UserError, match=f"{path}, compressed byte .* cut short"):
        run(num_workers="2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (write_rows(np.ones((9, 4), np.float32)), "feature_dim=3 does not fit the data: .*train_0"),
        (write_rows(np.ones((9, 3), np.float32))[:-1], "train_0, record 8 at byte 288: the data e"),
        (write_rows(np.ones((2, 3), np.float32)), "channel 'train' has 2 rows, fewer than k=3"),
        (b"", "channel 'train' has 0 rows, fewer than k=3 clusters"),
        (b"1,2,3\n", "train_0, record 0 at byte 0: no RecordIO record starts here"),
    ],
)
def test_what_is_wrong_in_a_pipe_is_named(opt_ml, run, content, message):
    opt_ml.feed(content)
    with pytest.raises(UserError, match=message):
        run(PIPE)
    assert not opt_ml.model_file.exists()


def test_a_pipe_that_never_comes_is_an_error_of_the_platform(run, monkeypatch):
    monkeypatch.setattr("onepass.data.pipe_stream.PATIENCE_S", 0.2)
    with pytest.raises(PlatformError, match="train_0 has not appeared"):
        run(PIPE)


@contextmanager
def job_of_a_pipe(opt_ml, content=None, *, is_there=True):
    """Start a job on a pipe that gets some bytes and stalls; without any, it has no writer."""
    opt_ml.configure(**HYPERPARAMETERS)
    opt_ml.write_config("inputdataconfig", {"train": PIPE})
    process = subprocess.Popen(opt_ml.command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "pipe input mode" in line:
            break
    path = opt_ml.base / "input/data/train_0"
    path.parent.mkdir(exist_ok=True)
    if is_there:
        os.mkfifo(path)
    writer = None if content is None else os.open(path, os.O_RDWR)
    if content:
        os.write(writer, content)
    time.sleep(0.3)
    yield process
    if writer is not None:
        os.close(writer)


def stop(process):
    """Send SIGTERM, and return the log of the rest."""
    process.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    _, log = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - stopped < 4, "the thread is not waited for in vain"
    assert "Traceback" not in log
    return log


@pytest.mark.parametrize("content", [None, b"", write_rows(np.ones((2, 3), np.float32))])
def test_sigterm_ends_the_wait_for_a_pipe(opt_ml, content):
    with job_of_a_pipe(opt_ml, content) as process:
        stop(process)
    assert process.returncode == 143
    n_rows = 2 if content else 0
    assert opt_ml.failure == (
        f"AlgorithmError: stopped by SIGTERM when {n_rows} rows had been read, fewer than k=3"
    )


def test_sigterm_ends_the_wait_for_a_pipe_that_is_not_there(opt_ml):
    with job_of_a_pipe(opt_ml, is_there=False) as process:
        stop(process)
    assert process.returncode == 143


@pytest.mark.parametrize("n_bytes_of_the_next", [0, 20])
def test_what_a_pipe_that_stalls_has_given_is_not_lost_at_sigterm(
    opt_ml, blobs, expected, n_bytes_of_the_next
):
    content = write_rows(blobs)
    with job_of_a_pipe(opt_ml, content + content[:n_bytes_of_the_next]) as process:
        log = stop(process)
    assert (process.returncode, opt_ml.failure) == (0, None)
    assert f"stopped by SIGTERM: this is the model of the {len(blobs)} rows read" in log
    assert opt_ml.model_file.read_bytes() == expected


def test_a_further_epoch_over_a_pipe_that_stalls_is_given_up_at_sigterm(opt_ml):
    rows = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    opt_ml.configure(**HYPERPARAMETERS, epochs="2")
    opt_ml.write_config("inputdataconfig", {"train": PIPE})
    process = subprocess.Popen(opt_ml.command, stderr=subprocess.PIPE, text=True)
    folder = opt_ml.base / "input/data"
    folder.mkdir(exist_ok=True)
    for epoch in range(2):
        os.mkfifo(folder / f"train_{epoch}")
    (folder / "train_0").write_bytes(write_rows(rows))
    writer = os.open(folder / "train_1", os.O_RDWR)
    os.write(writer, write_rows(rows))
    for line in process.stderr:
        if "processed a total of 1000" in line:
            break
    time.sleep(0.5)
    log = stop(process)
    os.close(writer)
    assert (process.returncode, opt_ml.failure) == (0, None)
    assert "stopped by SIGTERM: epoch 2 is given up" in log
    assert load_model(opt_ml.model_file).n_clusters == 3
