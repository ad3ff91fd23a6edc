"""What each of several hosts reads of a job's channels, and what becomes of it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from onepass import KMeans
from onepass.data.shards import ALONE, Host
from onepass.distributed.passes import run_pass
from onepass.errors import UserError
from onepass.sagemaker.inputs import read_job_input
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import check_channels, read_configuration
from onepass.training.readers import host_of, readers_of
from onepass.training.tasks import summarise

HOSTS = ["algo-1", "algo-2", "algo-3"]


@pytest.fixture
def hosts(tmp_path, opt_ml):
    """Three trees as the platform makes them, with what `put` deals out to each."""

    def make(distribution, mode="File", **hyperparameters):
        trees = [type(opt_ml)(tmp_path / name) for name in HOSTS]
        described = {"S3DistributionType": distribution, "TrainingInputMode": mode}
        for tree, name in zip(trees, HOSTS, strict=True):
            tree.configure(**{"k": "3", "feature_dim": "3"} | hyperparameters)
            tree.write_config("inputdataconfig", {"train": described})
            tree.write_config("resourceconfig", {"current_host": name, "hosts": HOSTS[::-1]})
        return trees

    return make


def readers(tree):
    job = read_job_input(Paths(tree.base))
    return readers_of(job.train, job.hyperparameters, host=host_of(job))


def rows_of(readers):
    return [batch.copy() for reader in readers for batch in reader]


@pytest.mark.parametrize("mode", ["File", "FastFile"])
@pytest.mark.parametrize("n_workers", ["1", "4"])
def test_hosts_that_have_all_objects_read_a_share_each(hosts, blobs, mode, n_workers):
    trees = hosts("FullyReplicated", mode, num_workers=n_workers)
    for tree in trees:
        for i, part in enumerate(np.split(blobs, 10)):
            tree.put(part, name=f"{i}.pbr")
    shares = [rows_of(readers(tree)) for tree in trees]
    assert all(sum(map(len, share)) >= 120 for share in shares)
    assert np.array_equal(np.concatenate([rows for share in shares for rows in share]), blobs)


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_hosts_that_have_objects_of_their_own_read_all_of_them(hosts, blobs, mode):
    trees = hosts("ShardedByS3Key", mode)
    parts = np.split(blobs, [100, 250])
    for tree, part in zip(trees, parts, strict=True):
        tree.put(part)
    for tree, part in zip(trees, parts, strict=True):
        assert np.array_equal(np.concatenate(rows_of(readers(tree))), part)


def test_a_host_without_objects_takes_part_and_changes_nothing(hosts, blobs):
    """The second of three has none: not even a directory, or an empty one."""
    trees = hosts("ShardedByS3Key")
    trees[0].put(blobs[:300])
    trees[2].put(blobs[300:])
    found = []
    for directory in (False, True):
        if directory:
            (trees[1].base / "input/data/train").mkdir(parents=True)
        assert readers(trees[1]) == []
        for tree in trees:
            check_channels(read_configuration(Paths(tree.base)))  # refuses none of them
        found.append(united(trees))
    without = united([trees[0], trees[2]])
    for model in found:
        assert np.array_equal(model.cluster_centers_, without.cluster_centers_)
        assert (model.msd_, model.n_samples_seen_) == (without.msd_, 600)


def united(trees):
    """Summarise what each host has, and unite the summaries in their order."""
    kmeans = KMeans(3)
    for tree in trees:
        parts = run_pass(
            lambda reader, tell: summarise(kmeans.shard(2), reader, tell),
            readers(tree),
            lambda _: None,
        )
        for part in parts or [kmeans.shard(2)]:
            kmeans.merge(part)
    return kmeans.finalize()


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key"])
def test_one_host_must_have_data(hosts, distribution):
    tree = hosts(distribution)[0]
    tree.write_config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"]})
    with pytest.raises(UserError, match="channel 'train': there is no directory"):
        read_configuration(Paths(tree.base))


def test_where_every_host_gets_all_objects_none_may_be_without(hosts):
    with pytest.raises(UserError, match="channel 'train': there is no directory"):
        check_channels(read_configuration(Paths(hosts("FullyReplicated")[1].base)))


def test_a_pipe_of_all_objects_is_read_by_the_first_host(hosts):
    names = [
        [s.path.name for r in readers(t) for s in r.sources]
        for t in hosts("FullyReplicated", "Pipe")
    ]
    assert names == [["train_0"], [], []]


def test_a_pipe_of_a_hosts_own_objects_is_read_by_it(hosts):
    names = [
        [s.path.name for r in readers(t) for s in r.sources]
        for t in hosts("ShardedByS3Key", "Pipe")
    ]
    assert names == [["train_0"], ["train_0"], ["train_0"]]


def test_one_host_reads_alone(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    assert host_of(read_job_input(Paths(opt_ml.base))) == ALONE == Host(0, 1)


def test_the_manifest_beside_a_channel_is_neither_data_nor_a_channel(opt_ml, blobs):
    opt_ml.configure(k="3", feature_dim="3")
    opt_ml.put(blobs)
    for name in ("train-manifest", "test-manifest"):
        (opt_ml.base / "input/data" / name).write_text('["a.pbr"]')
    os.mkfifo(opt_ml.base / "input/data/test_0")
    job = read_configuration(Paths(opt_ml.base))
    assert (job.test, job.ignored) == (None, ())
    assert np.array_equal(
        np.concatenate(rows_of(readers_of(job.train, job.hyperparameters))), blobs
    )
