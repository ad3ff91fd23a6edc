"""The command ``onepass check``."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
from click.testing import CliRunner

from onepass.cli.main import main
from onepass.formats.record_writer import write_rows


@pytest.fixture
def check(opt_ml):
    """Run the command; returns its exit code, what it said and what it complained of."""

    def check(channels=None, **hyperparameters):
        opt_ml.configure(**{"k": "3", "feature_dim": "3"} | hyperparameters)
        opt_ml.write_config("inputdataconfig", channels or {})
        before = sorted(opt_ml.base.rglob("*"))
        done = CliRunner().invoke(main, ["check", "--base", str(opt_ml.base)])
        assert sorted(opt_ml.base.rglob("*")) == before, "nothing is written"
        return done.exit_code, done.stdout.splitlines(), done.stderr.strip()

    return check


def test_what_channels_hold_is_told(opt_ml, check, blobs):
    opt_ml.put(blobs[:100])
    packed = gzip.compress(write_rows(blobs[100:]))
    opt_ml.put(packed, name="more.gz")
    opt_ml.put(b"1,2,3\n4,5,6\n", "test", "data.csv")
    code, said, complaint = check({"train": {}, "test": {"ContentType": "text/csv"}})
    assert (code, complaint) == (0, "")
    assert said[0] == "k=3, feature_dim=3"
    n_bytes = 3600 + len(packed)
    assert said[1].startswith(
        f"train: application/x-recordio-protobuf, File mode: 2 files, {n_bytes:,} bytes, 600 rows, "
    )
    assert said[2].startswith("test: text/csv, File mode: 1 files, 12 bytes, 2 rows, read in ")
    assert said[3:] == ["nothing is wrong"]


def test_a_pipe_is_not_opened(opt_ml, check):
    (opt_ml.base / "input/data").mkdir()
    os.mkfifo(opt_ml.base / "input/data/train_0")
    code, said, _ = check({"train": {"TrainingInputMode": "Pipe"}})
    assert code == 0
    assert said[1].endswith("Pipe mode: not opened, as what is read from a pipe is lost")


def broken_at_the_end(opt_ml, rows):
    opt_ml.put(write_rows(rows)[:-1])
    return {}, "matrix_0.pbr, record 599 at byte 21564: the data ends inside this record"


def not_finite_in_the_middle(opt_ml, rows):
    opt_ml.put(np.where(np.arange(1800).reshape(-1, 3) == 901, np.nan, rows).astype(np.float32))
    return {}, "matrix_0.pbr, record 300 at byte 10800: "


def another_width_later(opt_ml, rows):
    opt_ml.put(rows, name="a")
    opt_ml.put(np.ones((5, 4), np.float32), name="b")
    return {}, "feature_dim=3 does not fit the data: "


def fewer_rows_than_clusters(opt_ml, rows):
    opt_ml.put(rows)
    return {"k": "601"}, "channel 'train' has 600 rows, fewer than k=601 clusters"


def no_such_hyperparameter(opt_ml, rows):
    opt_ml.put(rows)
    return {"kk": "3"}, "('kk' was unexpected); did you mean 'k'?"


@pytest.mark.parametrize(
    "make",
    [
        broken_at_the_end,
        not_finite_in_the_middle,
        another_width_later,
        fewer_rows_than_clusters,
        no_such_hyperparameter,
    ],
)
def test_what_training_would_refuse_is_told(opt_ml, check, blobs, make):
    hyperparameters, reason = make(opt_ml, blobs)
    code, said, complaint = check(**hyperparameters)
    assert code == 2
    assert complaint.startswith("ClientError: ")
    assert reason in complaint
    assert "nothing is wrong" not in said
