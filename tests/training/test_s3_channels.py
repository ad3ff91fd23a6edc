"""Channels that are read from S3: listed once, and read in ranges by whoever has a part."""

from __future__ import annotations

import gzip
import io
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onepass import KMeans
from onepass.data.s3_client import Client
from onepass.data.s3_path import list_objects
from onepass.data.s3_stream import S3Stream
from onepass.data.sources import opened_anywhere
from onepass.errors import PlatformError, UserError
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.paths import Paths
from onepass.training import readers
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress


@pytest.fixture(autouse=True)
def forget():
    """Let each test list objects anew."""
    readers._objects_of.cache_clear()
    yield
    readers._objects_of.cache_clear()


@pytest.fixture
def run(opt_ml):
    """Run a job whose channels are in S3."""

    def run(uri="s3://data/train/", content_type=None, test=None, **hyperparameters):
        opt_ml.configure(**{"k": "3", "feature_dim": "3"} | hyperparameters)
        channels = {
            "train": {"S3Uri": uri} | ({"ContentType": content_type} if content_type else {})
        }
        if test:
            channels["test"] = {"S3Uri": test}
        opt_ml.write_config("inputdataconfig", channels)
        job = read_configuration(Paths(opt_ml.base))
        return train(job, Paths(opt_ml.base), LogProgress(job.host, 1))

    return run


@pytest.mark.parametrize("n_workers", ["1", "3"])
def test_records_are_read_in_ranges(bucket, run, opt_ml, blobs, n_workers):
    bucket.put_object(Key="train/a.pbr", Body=write_rows(blobs[:450]))
    bucket.put_object(Key="train/sub/b.pbr", Body=write_rows(blobs[450:]))
    bucket.put_object(Key="train/_SUCCESS", Body=b"")
    bucket.put_object(Key="tests.pbr", Body=write_rows(blobs[:100]))
    trained = run(test="s3://data/tests.pbr", num_workers=n_workers, epochs="2")
    assert (trained.n_rows, trained.scores.keys()) == (600, {"msd"})
    assert opt_ml.model_file.exists()
    n_workers = int(n_workers)
    if n_workers == 1:
        centers = KMeans(3, batch_size=5000).fit(blobs).refine([blobs])
        assert trained.msd <= centers * 1.01


def as_csv(rows):
    return "\n".join(",".join(map(repr, row.tolist())) for row in rows).encode()


def as_parquet(rows):
    sink = io.BytesIO()
    pq.write_table(pa.table({str(i): rows[:, i] for i in range(rows.shape[1])}), sink)
    return sink.getvalue()


def as_npy(rows):
    sink = io.BytesIO()
    np.save(sink, rows)
    return sink.getvalue()


@pytest.mark.parametrize("n_workers", ["1", "2"])
@pytest.mark.parametrize(
    ("content_type", "write"),
    [
        ("text/csv", as_csv),
        ("text/csv", lambda rows: gzip.compress(as_csv(rows))),
        ("application/x-parquet", as_parquet),
        ("application/x-npy", as_npy),
        ("application/x-recordio-protobuf", lambda rows: gzip.compress(write_rows(rows))),
    ],
)
def test_any_format_is_read(bucket, run, blobs, content_type, write, n_workers):
    for i, part in enumerate(np.split(blobs, 3)):
        bucket.put_object(Key=f"train/{i}", Body=write(part))
    assert run(content_type=content_type, num_workers=n_workers).n_rows == 600


def test_labels_are_told_by_the_beginning_of_the_object(bucket, run, blobs):
    """A worker that reads the end of a file has not seen the first line."""
    table = np.column_stack([np.arange(600), blobs])
    bucket.put_object(Key="train/a.csv", Body=as_csv(table))
    assert run(content_type="text/csv", num_workers="3").n_rows == 600


def test_connections_that_break_are_taken_up(bucket, run, blobs, monkeypatch):
    bucket.put_object(Key="train/a.pbr", Body=write_rows(np.tile(blobs, (20, 1))))
    asked, ask = [], Client.ask

    class Broken:
        """Sends a little, and breaks."""

        def __init__(self, body):
            self._body = body

        def read(self, n):
            from botocore.exceptions import IncompleteReadError

            if len(asked) % 3:
                raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
            return self._body.read(min(n, 50_000))

        def close(self):
            self._body.close()

    def answer(self, operation, uri, **words):
        asked.append(operation)
        found = ask(self, operation, uri, **words)
        if operation == "get_object":
            found["Body"] = Broken(found["Body"])
        return found

    monkeypatch.setattr(Client, "ask", answer)
    assert run(num_workers="1").n_rows == 12_000
    assert len(asked) >= 6


def test_an_object_that_is_written_anew_meanwhile_ends_the_job(bucket, run, blobs, monkeypatch):
    bucket.put_object(Key="train/a.pbr", Body=write_rows(np.tile(blobs, (500, 1))))
    partial_fit, changed = KMeans.partial_fit, threading.Event()

    def change(self, X, **named):
        if not changed.is_set():
            changed.set()
            S3Stream.close(opened[-1])  # so that it asks again
            bucket.put_object(Key="train/a.pbr", Body=write_rows(blobs))
        return partial_fit(self, X, **named)

    opened, init = [], S3Stream.__init__

    def note(self, *given):
        opened.append(self)
        init(self, *given)

    monkeypatch.setattr(S3Stream, "__init__", note)
    monkeypatch.setattr(KMeans, "partial_fit", change)
    with pytest.raises(UserError, match="was written anew while it was read"):
        run(num_workers="1", mini_batch_size="100")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://data/nothing/", "channel 'train' has no data: there is no object below it"),
        ("s3://data/empty/", "its 1 objects are empty"),
        ("s3://elsewhere/train/", "there is no such bucket or object"),
        ("http://data", "S3Uri='http://data' must begin with s3://"),
        ("s3://", "names no object"),
    ],
)
def test_what_is_not_there_is_refused(bucket, run, uri, reason):
    bucket.put_object(Key="empty/a", Body=b"")
    with pytest.raises(UserError, match=reason):
        run(uri)


def test_other_modes_are_refused(opt_ml):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.write_config(
        "inputdataconfig", {"train": {"S3Uri": "s3://data/", "TrainingInputMode": "Pipe"}}
    )
    with pytest.raises(UserError, match="need File and FullyReplicated, or neither"):
        read_configuration(Paths(opt_ml.base))


def test_bad_records_are_named(bucket, run, blobs):
    data = bytearray(write_rows(blobs))
    size = len(data) // 600
    data[500 * size : 500 * size + 4] = b"oops"
    bucket.put_object(Key="train/a.pbr", Body=bytes(data))
    with pytest.raises(UserError, match=f"s3://data/train/a.pbr, record 500 at byte {500 * size}"):
        run(num_workers="3")


def test_little_is_read_here_and_there_by_few_requests(bucket, monkeypatch):
    body = np.random.default_rng(0).bytes(300_000)
    bucket.put_object(Key="a", Body=body)
    [path] = list_objects("s3://data/a")
    asked, ask = [], Client.ask
    monkeypatch.setattr(Client, "ask", lambda *g, **n: asked.append(g) or ask(*g, **n))
    with opened_anywhere(path) as read:
        for at in (100_000, 100_010, 165_500, 165_530, 299_990, 300_000):
            assert read(8, at) == body[at : at + 8]
    assert len(asked) == 3


@pytest.mark.usefixtures("bucket")
def test_s3_that_cannot_be_reached_is_the_platforms(run, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    from onepass.data import s3_path

    s3_path._store.cache_clear()
    with pytest.raises(PlatformError, match="s3://data/train/: "):
        run()
    s3_path._store.cache_clear()
