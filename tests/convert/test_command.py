"""The command as a newcomer types it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onepass
from onepass.formats.record_writer import write_rows
from onepass.formats.records import read_rows

ROWS = np.random.default_rng(0).normal(size=(1_000, 3)).astype(np.float32)
COMMAND = [sys.executable, "-m", "onepass.cli.main", "convert"]


ENVIRONMENT = {"PYTHONPATH": str(Path(onepass.__file__).parents[1])}


def convert(folder, *words, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=folder,
        env=os.environ | ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "train.npy", ROWS)
    return tmp_path


def test_one_line_says_what_was_done(folder):
    done = convert(folder, "train.npy", "out.pbr")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"out\.pbr: 1,000 rows of 3 features, 1 file, 36,000 bytes, \d+\.\d s, [\d,]+ rows/s\n",
        done.stdout,
    )
    assert (folder / "out.pbr").read_bytes() == write_rows(ROWS)


def test_programs_are_told_in_json(folder):
    done = convert(folder, "train.npy", "out.pbr", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told.pop("seconds") > 0
    counts = {"n_rows": 1000, "n_features": 3, "n_labels": 0, "n_files": 1, "n_bytes": 36000}
    assert told == {"output": "out.pbr", **counts}


def test_a_folder_of_csv_with_headers_becomes_shards(folder):
    (folder / "data").mkdir()
    for i in range(3):
        (folder / "data" / f"{i}.csv").write_text(f"y,a,b\n{i},{i + 1},{i + 2}\n7,8,9\n")
    paths = sorted((folder / "data").iterdir())
    done = convert(folder, *paths, "out/", "--label-size", 1, "--rows-per-file", 4)
    assert done.returncode == 0
    assert done.stdout.startswith("out/: 6 rows of 2 features and 1 label, 2 files, ")
    assert len(re.findall("is taken as a header, not as data: y,a,b", done.stderr)) == 3
    shards = [read_rows((folder / "out" / f"part-0000{i}.pbr").read_bytes()) for i in (0, 1)]
    assert np.concatenate(shards).tolist() == [[1, 2], [8, 9], [2, 3], [8, 9], [3, 4], [8, 9]]


def test_options_say_what_names_do_not(folder):
    (folder / "train.npy").rename(folder / "train")
    words = ["--from", "npy", "--to", "libsvm", "--first-index", 0, "--labels", "drop"]
    assert convert(folder, "train", "out.txt", *words).returncode == 0
    text = (folder / "out.txt").read_text()
    assert text.startswith("0 0:0.12573022 1:-0.13210486 2:0.64042264\n0 0:")


def test_what_is_wrong_is_said_in_one_line(folder):
    (folder / "in.csv").write_text("1,2\n3,x\n")
    done = convert(folder, "in.csv", "out.pbr")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "ClientError: in.csv, row 2 at byte 4, column 2: 'x' is no number; mend or remove it\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["in.csv", "train.npy"]


def test_what_is_there_is_kept(folder):
    (folder / "out.pbr").write_text("old")
    done = convert(folder, "train.npy", "out.pbr")
    assert (done.returncode, done.stderr) == (
        2, "ClientError: out.pbr is there already; --overwrite replaces it\n"
    )  # fmt: skip
    assert convert(folder, "train.npy", "out.pbr", "--overwrite").returncode == 0


@pytest.mark.parametrize("words", [[], ["train.npy"], ["train.npy", "out", "--to", "xls"],
                                   ["train.npy", "out", "--rows-per-file", 0]])  # fmt: skip
def test_words_that_make_no_command_are_explained(folder, words):
    done = convert(folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr


def test_help_says_what_every_option_is_for(folder):
    done = convert(folder, "--help")
    assert done.returncode == 0
    for name in ("--from", "--to", "--label-size", "--labels", "--feature-dim", "--first-index",
                 "--sparse", "--rows-per-file", "--overwrite"):  # fmt: skip
        assert re.search(rf"^  {name}\b.*\n?.* [A-Z]", done.stdout, re.MULTILINE), name


@pytest.fixture
def long_folder(tmp_path):
    np.save(tmp_path / "train.npy", np.ones((3_000_000, 20), np.float32))
    return tmp_path


@pytest.mark.parametrize(
    ("signum", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "SIGTERM")],
)
def test_a_signal_ends_it_and_nothing_is_left(long_folder, signum, code, word):
    command = [*COMMAND, "train.npy", "out/", "--to", "csv", "--rows-per-file", "100000"]
    with subprocess.Popen(
        command,
        cwd=long_folder,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (long_folder / "out").exists() or not any((long_folder / "out").iterdir()):
            assert process.poll() is None
        process.send_signal(signum)
        out, told = process.communicate()
    assert (process.returncode, out) == (code, "")
    assert word in told
    assert len(told.splitlines()) == 1
    assert [path.name for path in long_folder.iterdir()] == ["train.npy"]


def test_a_terminal_is_shown_how_far_it_is(folder):
    leader, follower = pty.openpty()
    command = [*COMMAND, "train.npy", "out.csv"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
        check=True,
    )
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "converting" in shown
    assert "rows/s" in shown
    assert done.stdout.count("\n") == 1


def test_objects_are_written_and_read(folder, bucket):
    done = convert(folder, "train.npy", "s3://data/train/", "--rows-per-file", 400)
    assert done.returncode == 0, done.stderr
    assert [item.key for item in bucket.objects.all()] == [
        f"train/part-0000{i}.pbr" for i in range(3)
    ]
    done = convert(folder, "s3://data/train/", "out.npy")
    assert done.returncode == 0, done.stderr
    assert (folder / "out.npy").read_bytes() == (folder / "train.npy").read_bytes()


def test_without_boto3_the_extra_is_named(folder):
    (folder / "boto3.py").write_text("raise ImportError('no boto3')\n")
    path = os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])
    done = convert(folder, "train.npy", "s3://data/a/", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == (
        "ClientError: s3:// needs boto3, which is not installed (no boto3); it comes with the "
        "extra s3: pip install 'onepass-kmeans[s3]'\n"
    )
