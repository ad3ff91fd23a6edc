"""``max_bad_records``: jobs that pass over what is wrong in itself, and say so."""

from __future__ import annotations

import io
import logging
import re

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from onepass.cli.main import main
from onepass.cli.train import _describe
from onepass.errors import UserError
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import frame
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress

HYPERPARAMETERS = {"k": "3", "feature_dim": "3", "mini_batch_size": "50"}
PLACES = (0, 1, 2, 300, 301, 595, 602, 606)
"""Of the bad rows among 600 good ones: at both ends, beside one another, in either half."""


@pytest.fixture
def run(opt_ml, caplog):
    """Run a job on channels of one content type; return what it has done."""

    def run(content_type, mode="File", **hyperparameters):
        opt_ml.configure(**HYPERPARAMETERS | hyperparameters)
        channel = {"ContentType": content_type, "TrainingInputMode": mode}
        names = [path.name for path in (opt_ml.base / "input/data").glob("*") if path.is_dir()]
        opt_ml.write_config("inputdataconfig", dict.fromkeys([*names, "train"], channel))
        caplog.set_level(logging.INFO)
        caplog.clear()
        paths = Paths(opt_ml.base)
        job = read_configuration(paths)
        return train(job, paths, LogProgress(job.host, job.hyperparameters.epochs))

    return run


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def with_bad_rows(rows, bad):
    """The rows, and `bad` ones in their places among them."""
    places = np.array(PLACES) - np.arange(len(PLACES))
    return np.insert(rows, places, bad, axis=0)


def as_records(rows, broken=True):
    records = [write_rows(row[None]) for row in rows]
    if broken:
        kinds = [frame(b"\xff\xff"), write_rows(np.ones((1, 2), np.float32)), frame(b"")]
        for i, place in enumerate(PLACES):
            records[place] = [*kinds, records[place]][i % 4]
    return b"".join(records)


def as_lines(rows, broken=True):
    lines = [",".join(map(repr, row)) for row in rows.tolist()]
    if broken:
        for i, place in enumerate(PLACES):
            lines[place] = ["1,2", "nan,1,2", "1,x,2", "1,2,3,4,5"][i % 4]
    return "".join(f"{line}\n" for line in lines).encode()


def as_matrix(rows, broken=True):
    del broken
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def as_parquet(rows, broken=True):
    columns = [pa.array(column, from_pandas=broken) for column in rows.T]  # NaN becomes null
    file = io.BytesIO()
    parquet.write_table(pa.table(dict(zip("xyz", columns, strict=True))), file)
    return file.getvalue()


FORMATS = {
    "application/x-recordio-protobuf": as_records,
    "text/csv": as_lines,
    "application/x-npy": as_matrix,
    "application/x-parquet": as_parquet,
}


@pytest.mark.parametrize("content_type", FORMATS)
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_bad_rows_are_passed_over_counted_and_told(
    opt_ml, run, blobs, caplog, content_type, n_workers
):
    made, bad = FORMATS[content_type], len(PLACES)
    opt_ml.put(made(with_bad_rows(blobs, np.nan)), name="a")
    opt_ml.put(made(with_bad_rows(blobs, np.nan)), name="b")
    opt_ml.put(made(with_bad_rows(blobs, np.nan)), "test", "c")
    done = run(content_type, num_workers=n_workers, epochs="2", max_bad_records=str(2 * bad))
    assert (done.n_rows, done.n_bad_records, done.n_bad_test_records) == (1200, 2 * bad, bad)
    assert ("2 processes share the data" in caplog.messages) == (n_workers == "2")
    said = warnings(caplog)
    assert said.count("channel 'train': bad records passed over: 16") == 2, "in both passes"
    assert said.count("channel 'test': bad records passed over: 8") == 1
    named = [line for line in said if line.startswith("passed over: ")]
    assert len(named) == len(set(named)) == 5 + 5, "the first few of each channel, once"
    assert len(said) == len(named) + 3
    # The first three are in the first rows of the first file, whoever reads them.
    first = 1 if content_type != "application/x-recordio-protobuf" else 0
    what = "record" if first == 0 else "row"
    for i, line in enumerate(named[:3]):
        assert f"/train/a, {what} {PLACES[i] + first}" in line

    opt_ml.put(made(blobs, broken=False), name="a")
    opt_ml.put(made(blobs, broken=False), name="b")
    model = opt_ml.model_file.read_bytes()
    scores = done.scores
    opt_ml.put(made(blobs, broken=False), "test", "c")
    done = run(content_type, num_workers=n_workers, epochs="2")
    assert (done.n_bad_records, done.n_bad_test_records) == (0, 0)
    assert warnings(caplog) == []
    if n_workers == "1":  # two cut where they find a row, here a few bytes away
        assert opt_ml.model_file.read_bytes() == model
        assert done.scores == scores


@pytest.mark.parametrize("content_type", FORMATS)
def test_one_more_than_allowed_ends_a_job_with_the_same_words_however_many_work(
    opt_ml, run, blobs, content_type
):
    made, bad = FORMATS[content_type], len(PLACES)
    opt_ml.put(made(with_bad_rows(blobs, np.nan)), name="a")
    opt_ml.put(made(with_bad_rows(blobs, np.nan)), name="b")
    said = set()
    for n_workers in ("1", "2"):
        with pytest.raises(UserError) as raised:
            run(content_type, num_workers=n_workers, max_bad_records=str(2 * bad - 1))
        said.add(str(raised.value))
    [message] = said
    assert f"; this is bad record {2 * bad}, and max_bad_records={2 * bad - 1}; " in message
    assert re.search(r"/train/b, r\w+ 60[67]\b", message), "the place of the last one"
    assert re.search(r"; the first one was \S+/train/a, r\w+ [01]\b", message)
    assert not opt_ml.model_file.exists()


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_far_more_than_allowed_end_a_job(opt_ml, run, blobs, n_workers):
    opt_ml.put(as_lines(np.where(np.arange(600)[:, None] % 2, blobs, np.nan), broken=False))
    with pytest.raises(UserError, match=r"row 23 at byte \d+, column 1: .* is bad record 12, and"):
        run("text/csv", num_workers=n_workers, max_bad_records="11")


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_the_test_channel_has_an_account_of_its_own(opt_ml, run, blobs, n_workers):
    opt_ml.put(as_lines(with_bad_rows(blobs, np.nan)))
    opt_ml.put(as_lines(with_bad_rows(blobs, np.nan)) * 2, "test")
    with pytest.raises(UserError, match=r"/test/.* this is bad record 9, and max_bad_records=8; "):
        run("text/csv", num_workers=n_workers, max_bad_records="8")
    assert opt_ml.model_file.exists(), "the model was made of the channel 'train'"


def test_the_default_is_that_the_first_one_ends_the_job(opt_ml, run, blobs):
    opt_ml.put(as_lines(with_bad_rows(blobs, np.nan)))
    with pytest.raises(UserError, match="row 1 at byte 0: a line of 2 columns"):
        run("text/csv")


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_what_breaks_the_frames_ends_a_job_whatever_is_allowed(opt_ml, run, blobs, n_workers):
    data = as_records(with_bad_rows(blobs, np.nan))
    opt_ml.put(data[:-1])
    with pytest.raises(UserError, match=r"record 607 at byte \d+: the data ends inside this rec"):
        run("application/x-recordio-protobuf", num_workers=n_workers, max_bad_records="1000")


def test_a_pipe_may_bring_bad_records(opt_ml, run, blobs):
    data = as_records(with_bad_rows(blobs, np.nan))
    opt_ml.feed(data, data)
    done = run("application/x-recordio-protobuf", "Pipe", epochs="2", max_bad_records="8")
    assert (done.n_rows, done.n_bad_records) == (600, 8)


def test_a_test_channel_without_a_row_is_refused(opt_ml, run, blobs):
    opt_ml.put(as_lines(blobs, broken=False))
    opt_ml.put(b"x,y,z\n", "test")
    with pytest.raises(UserError, match="channel 'test' has no rows"):
        run("text/csv")


def test_check_passes_over_what_training_would(opt_ml, blobs):
    opt_ml.configure(**HYPERPARAMETERS, max_bad_records="8")
    opt_ml.put(as_records(with_bad_rows(blobs, np.nan)))
    done = CliRunner().invoke(main, ["check", "--base", str(opt_ml.base)])
    assert done.exit_code == 0
    assert " 600 rows, 8 bad records, read in " in done.stdout


def test_people_at_a_terminal_are_told(opt_ml, run, blobs):
    opt_ml.put(as_lines(with_bad_rows(blobs, np.nan)))
    opt_ml.put(as_lines(with_bad_rows(blobs, np.nan)), "test")
    lines = _describe(run("text/csv", max_bad_records="8")).splitlines()
    told = [line for line in lines if "bad records" in line]
    assert told == ["passed over 8 bad records of train", "passed over 8 bad records of test"]
