"""The command ``onepass check``."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys

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


def test_what_is_found_may_be_told_in_json(opt_ml, blobs):
    opt_ml.put(blobs)
    opt_ml.put(write_rows(blobs[:9])[:-1], "test")
    command = ["check", "--base", str(opt_ml.base), "-s", "k=3", "-s", "feature_dim=3", "--json"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert (told["k"], told["feature_dim"]) == (3, 3)
    [train] = told["channels"]
    assert (train["name"], train["n_files"], train["n_rows"]) == ("train", 1, 600)
    assert "record 8 at byte 288: the data ends inside this record" in told["problem"]
    assert done.stderr.strip() == told["problem"]


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


@pytest.fixture
def check_data(tmp_path):
    """Run the command on a folder of files, or on one; returns as `check` does."""

    def check_data(files, *options, only=""):
        folder = tmp_path / "some data"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        done = CliRunner().invoke(main, ["check", str(folder / only), *options])
        return done.exit_code, done.stdout.splitlines(), done.stderr.strip()

    return check_data


def npy_of(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def test_data_without_a_job_are_told_by_how_they_begin(check_data, blobs):
    packed = gzip.compress(write_rows(blobs[100:]))
    files = {"a": write_rows(blobs[:100]), "b/c.gz": packed, "_SUCCESS": b"", "d": b""}
    code, said, complaint = check_data(files)
    assert (code, complaint) == (0, "")
    assert said[:4] == [
        "content type application/x-recordio-protobuf, as the data begin",
        "feature_dim=3, the width of the first row",
        "the first record is dense",
        f"3 files, 1 compressed, {3600 + len(packed):,} bytes",
    ]
    assert said[4].startswith("600 rows of 3 features, read in ")
    assert said[5:] == ["nothing is wrong"]


def test_what_data_are_may_be_told_in_json(check_data):
    code, said, complaint = check_data({"a.csv": b"1,2\n3,4\n"}, "--json")
    assert (code, complaint) == (0, "")
    told = json.loads("\n".join(said))
    assert told.pop("seconds") >= 0
    assert told == {
        "content_type": "text/csv",
        "feature_dim": 2,
        "n_files": 1,
        "n_compressed": 0,
        "n_bytes": 8,
        "n_rows": 2,
        "problem": None,
    }


def test_hyperparameters_are_not_taken_for_data(check_data):
    code, _, complaint = check_data({"a.csv": b"1,2\n"}, "-s", "k=1")
    assert code == 2
    assert "-s is for the directory of a job" in complaint


def test_sparse_records_are_told(check_data):
    code, said, _ = check_data({"a": write_rows(np.eye(4, 9, dtype=np.float32), sparse=True)})
    assert code == 0
    assert said[1:3] == ["feature_dim=9, the width of the first row", "the first record is sparse"]


def test_labels_are_told_by_an_option(check_data):
    files = {"a.csv": b"name,x,y\nb,1,2\nc,3,4\n"}
    code, said, complaint = check_data(files, "--label-size", "1")
    assert code == 0
    assert said[:2] == [
        "content type text/csv;label_size=1, as the data begin",
        "feature_dim=2, the width of the first row",
    ]
    assert said[3].startswith("2 rows of 2 features")
    assert "taken as a header, not as data: name,x,y" in complaint
    code, _, complaint = check_data(files)
    assert code == 2
    assert "a.csv, row 1 at byte 9, column 1: 'b' is no number; mend or remove it" in complaint


def test_options_go_before_what_the_data_say(check_data):
    kind = ("--content-type", "text/csv;label_size=0")
    code, said, complaint = check_data({"a": b"1,2,3\n"}, *kind, "--feature-dim", "2")
    assert code == 2
    assert said[:2] == ["content type text/csv;label_size=0", "feature_dim=2"]
    assert "feature_dim=2 does not fit the data: " in complaint
    assert "some data/a, row 1 at byte 0: a line of 3 columns; expected are 2 features" in complaint


def test_one_file_may_be_checked(check_data, blobs):
    files = {"a": write_rows(blobs), "b": npy_of(blobs[:7])}
    code, said, _ = check_data(files, only="b")
    assert code == 0
    assert said[0] == "content type application/x-npy, as the data begin"
    assert said[2].startswith("1 files, 0 compressed, ")
    assert said[3].startswith("7 rows of 3 features")


@pytest.mark.parametrize(
    ("files", "options", "reason"),
    [
        (
            {"a": write_rows(np.ones((9, 3), np.float32))[:-1]},
            [],
            "some data/a, record 8 at byte 288: the data ends inside this record",
        ),
        (
            {"a": b"1,2\n3,4\n", "b": b"5,x\n"},
            [],
            "some data/b, row 1 at byte 0, column 2: 'x' is no number",
        ),
        (
            {"a": b"1,2\n3,4,5\n"},
            [],
            "some data/a, row 2 at byte 4: 3 columns, where the lines before have 2",
        ),
        ({"a": b"x,y\n"}, [], "some data has no rows"),
        ({"a": b"\n\n"}, [], "some data has no rows"),
        ({"a": npy_of(np.empty((0, 3)))}, [], "some data has no rows"),
        ({"a": b""}, [], "some data has no data: its 1 files are empty"),
        ({"_a": b"1"}, [], "some data has no data: it is empty"),
        (
            {"a": b"1,2\n"},
            ["--label-size", "2"],
            "label_size=2 leaves none of the 2 columns of a row",
        ),
        ({"a": b"1\n"}, ["--content-type", "csv"], "registered for ContentType 'csv'"),
        ({"a.npy": b"1\n"}, [], "some data/a.npy: no matrix as numpy.save writes it"),
        (
            {"a": npy_of(np.ones((2, 3)))},
            ["--label-size", "1"],
            "label_size=1: application/x-npy has no columns of labels",
        ),
    ],
)
def test_what_is_wrong_with_data_is_told_with_its_place(check_data, files, options, reason):
    code, said, complaint = check_data(files, *options)
    assert code == 2
    assert reason in complaint.splitlines()[-1]
    assert complaint.splitlines()[-1].startswith("ClientError: ")
    assert "nothing is wrong" not in said


def test_what_is_not_there_is_told(tmp_path):
    done = CliRunner().invoke(main, ["check", str(tmp_path / "nothing")])
    assert done.exit_code == 2
    assert f"there is no directory and no file {tmp_path}/nothing" in done.stderr


def test_the_directory_of_a_job_is_known_by_what_is_in_it(opt_ml, blobs):
    opt_ml.put(blobs)
    opt_ml.configure(k="3", feature_dim="3")
    done = CliRunner().invoke(main, ["check", str(opt_ml.base)])
    assert done.exit_code == 0
    assert done.stdout.startswith("k=3, feature_dim=3\ntrain: ")


def test_what_is_said_of_data_is_not_taken_for_a_job(opt_ml, blobs):
    opt_ml.put(blobs)
    for options in (["--feature-dim", "3"], ["--label-size", "0"], ["--base", str(opt_ml.base)]):
        done = CliRunner().invoke(main, ["check", str(opt_ml.base), *options])
        assert done.exit_code == 2
        assert done.stderr.startswith("Usage: ")


def test_the_real_command_checks_data(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1,2\n3,4\n")
    command = [sys.executable, "-W", "error", "-m", "onepass.cli.main", "check", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing is wrong"
    (tmp_path / "b.csv").write_bytes(b"1,2\n3,oh\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    where = f"{tmp_path}/b.csv, row 2 at byte 4, column 2"
    assert done.stderr == f"ClientError: {where}: 'oh' is no number; mend or remove it\n"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.csv", "b.csv"]
