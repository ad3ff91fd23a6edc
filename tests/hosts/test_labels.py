"""Each of several hosts writes the labels of what it has read."""

from __future__ import annotations

import os
import re
import signal
import threading

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows


def run(hosts):
    """Run all hosts to their end; returns the exit codes."""
    for host in reversed(hosts):  # the leader last
        host.start()
    return [host.wait() for host in hosts]


def files_in(host):
    """All that is there of labels, hidden files included."""
    return [path for path in (host.base / "output/data").glob("*") if "labels" in path.name]


def check(made, rows):
    """The files of all hosts, sorted by their names, are the labels of the rows in their order."""
    paths = sorted((path for host in made for path in files_in(host)), key=lambda path: path.name)
    found = np.concatenate([np.loadtxt(path, delimiter=",", skiprows=1) for path in paths])
    truth = load_model(made[0].model_file).assign(rows)
    assert np.array_equal(found[:, 0], truth.labels)
    assert np.array_equal(found[:, 1].astype(np.float32), truth.distances)
    return [path.name for path in paths]


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key"])
def test_hosts_write_theirs_in_one_order(hosts, blobs, distribution):
    made = hosts(blobs, distribution, epochs="2", output_labels="true", num_workers="2")
    assert run(made) == [0, 0], made[0].log
    names = check(made, blobs)
    assert [re.fullmatch(r"labels-(\d{6})-(\S+)\.csv", name)[1] for name in names] == [
        f"{i:06}" for i in range(4)
    ]
    assert "labels of 60000 rows are in " in made[0].log
    if distribution == "ShardedByS3Key":  # nobody else can read them
        assert [len(files_in(host)) for host in made] == [2, 2]


def test_a_pipe_that_every_host_has_is_labelled_by_the_first(hosts, blobs):
    made = hosts(blobs[:10], output_labels="true")
    for host in made:
        host.configure("inputdataconfig", {"train": {"TrainingInputMode": "Pipe"}})
    for epoch in range(2):
        path = made[0].base / f"input/data/train_{epoch}"
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(write_rows(blobs),), daemon=True).start()
    assert run(made) == [0, 0], made[0].log
    assert check(made, blobs) == [f"labels-000000-{made[0].name}.csv"]


def test_objects_in_s3(hosts, blobs, bucket):
    made = hosts(blobs[:10], output_labels="true")
    for i, part in enumerate(np.array_split(blobs, 3)):
        bucket.put_object(Key=f"train/{i}.pbr", Body=write_rows(part))
    for host in made:
        host.configure("inputdataconfig", {"train": {"S3Uri": "s3://data/train/"}})
    assert run(made) == [0, 0], made[0].log
    assert len(check(made, blobs)) == 2


def test_a_disk_that_is_full_on_one_of_them_ends_all_with_the_model(hosts, blobs, small_disk):
    made = hosts(blobs, "ShardedByS3Key", output_labels="true")
    folder = made[1].base / "output/data"
    small_disk(folder)
    assert run(made) == [3, 3], made[0].log
    for host in made:
        assert f"cannot write labels to {folder} on {made[1].name}: No space" in host.failure
        assert files_in(host) == []
    assert load_model(made[0].model_file).n_clusters == 3


def test_sigterm_to_all_while_labels_are_written(hosts, many):
    made = hosts(many, copies=20, output_labels="true")
    for host in reversed(made):
        host.start()
    made[0].wait_for("saved ")
    while not any(map(files_in, made)):
        assert made[0].process.poll() is None
    for host in made:
        host.process.send_signal(signal.SIGTERM)
    assert [host.wait() for host in made] == [0, 0], made[0].log
    assert "stopped by SIGTERM: no labels are written" in made[0].log
    assert [files_in(host) for host in made] == [[], []]
    assert load_model(made[0].model_file).n_clusters == 3
