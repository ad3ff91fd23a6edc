"""A job goes on from what an earlier one has left."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import load_model, save_model
from onepass.artifact.state_file import load_state
from onepass.cluster.model import KMeansModel


@pytest.fixture(scope="module")
def days():
    """Ten days of 6,000 rows around 12 places, which appear one after the other."""
    rng = np.random.default_rng(7)
    places = rng.normal(0, 6, (12, 5))
    return [
        (places[rng.integers(0, 3 + i, 6_000)] + rng.normal(size=(6_000, 5))).astype(np.float32)
        for i in range(10)
    ]


class Jobs:
    """Jobs one after the other, each in a directory of its own."""

    def __init__(self, make):
        self.make, self.last, self.log = make, None, ""

    def run(self, *data, before="archive", expect=0, **wanted):
        job = self.make()
        job.configure(**{"k": "8", "feature_dim": "5"} | wanted)
        for i, rows in enumerate(data):
            job.put(rows, name=f"{i}.pbr")
        if self.last is not None and before:
            model = job.base / "input/data/model"
            model.mkdir(parents=True)
            if before == "archive":
                shutil.copy(self.last.archive, model / "model.tar.gz")
            else:
                shutil.copytree(self.last.base / "model", model, dirs_exist_ok=True)
        done = job.run()
        assert done.returncode == expect, done.stderr
        self.log, self.last = done.stdout + done.stderr, job
        return job


@pytest.fixture
def jobs(tmp_path, opt_ml):
    made = []

    def make():
        made.append(type(opt_ml)(tmp_path / f"job-{len(made)}"))
        return made[-1]

    return Jobs(make)


def test_ten_days_one_after_the_other_are_as_good_as_all_at_once(jobs, days):
    everything = np.concatenate(days)
    for i, day in enumerate(days):
        jobs.run(day, before="directory" if i % 2 else "archive")
    daily = load_model(jobs.last.model_file).inertia(everything)
    lineage = load_state(jobs.last.archive).facts["lineage"]
    assert [entry["n_rows"] for entry in lineage] == [6_000 * (i + 1) for i in range(10)]
    assert {entry["n_new_rows"] for entry in lineage} == {6_000}
    whole = load_model(jobs.run(*days, before=None).model_file).inertia(everything)
    assert daily < 1.01 * whole


@pytest.mark.parametrize("k", ["12", "9", "15"])
def test_clusters_keep_their_numbers(jobs, k):
    places = np.random.default_rng(3).normal(0, 9, (12, 5)).astype(np.float32)
    rng = np.random.default_rng(4)
    day = [(places[rng.integers(0, 12, 9_000)] + rng.normal(size=(9_000, 5))) for _ in range(2)]
    before = load_model(jobs.run(day[0].astype(np.float32), k="12").model_file)
    after = load_model(jobs.run(day[1].astype(np.float32), k=k, seed="8").model_file)
    numbers = before.assign(after.centers[: min(12, int(k))]).labels
    free = [i for i, number in enumerate(numbers) if number != i]
    if k == "9":  # three of the nine numbers may be those of places that two had shared
        assert len(free) <= 3
    else:
        assert not free


def test_it_is_told_what_is_new(jobs, days):
    jobs.run(days[0])
    assert "drift" not in jobs.log
    jobs.run(days[1])
    assert re.search(r"going on from \S+/model: 6000 rows have been seen", jobs.log)
    assert re.search(r"drift: \d+ of 6000 new rows \(\S+ %\) were far from all", jobs.log)
    far = days[1] + np.float32(500)
    jobs.run(far)
    assert int(re.search(r"drift: (\d+) of 6000 new rows", jobs.log)[1]) > 0
    moved, most = re.search(
        r"closest one before it is (\S+) on average, (\S+) at", jobs.log
    ).groups()
    assert 1000 < float(most) < 1200
    assert 0 < float(moved) < float(most)
    assert "channel 'model'" not in jobs.log


def test_the_old_fades_with_a_half_life(jobs, days):
    far = days[0] + np.float32(500)
    jobs.run(far, half_life_time_size="200")
    job = jobs.run(days[1], half_life_time_size="200")
    assert np.abs(load_model(job.model_file).centers).max() < 100
    jobs.last = None
    jobs.run(far)
    job = jobs.run(days[1])
    assert np.abs(load_model(job.model_file).centers).max() > 400


@pytest.mark.parametrize("k", ["3", "40"])
def test_another_k_is_made_of_the_same_rows(jobs, days, k):
    jobs.run(days[8])
    job = jobs.run(days[9], k=k)
    both = np.concatenate(days[8:])
    msd = load_model(job.model_file).inertia(both)
    whole = load_model(jobs.run(*days[8:], before=None, k=k).model_file)
    assert len(whole.centers) == int(k)
    assert msd < 1.03 * whole.inertia(both)


def test_several_processes_share_the_new_rows(jobs, days):
    large = np.concatenate(days)
    jobs.run(large)
    job = jobs.run(large, num_workers="2")
    assert "2 processes share the data" in jobs.log
    assert load_state(job.archive).facts["n_taken"] == 120_000
    msd = load_model(job.model_file).inertia(large)
    assert msd < 1.01 * load_model(jobs.run(large, before=None).model_file).inertia(large)


class TestWithoutState:
    def place(self, job, centers):
        model = job.base / "input/data/model"
        save_model(KMeansModel(np.array(centers, np.float32)), job.base / "made")
        model.mkdir(parents=True)
        pack(job.base / "made", model / "model.tar.gz")

    def test_centers_stand_for_rows(self, opt_ml):
        opt_ml.configure(k="2", feature_dim="2", model_rows="1800")
        self.place(opt_ml, [[0, 0], [100, 0]])
        opt_ml.put(np.full((100, 2), 10, np.float32) * np.array([1, 0], np.float32))
        done = opt_ml.run()
        assert done.returncode == 0, done.stderr
        assert "going on from the 2 centers" in done.stderr + done.stdout
        assert "model_rows=1800" in done.stderr + done.stdout
        centers = load_model(opt_ml.model_file).centers
        np.testing.assert_allclose(centers[centers[:, 0].argsort()], [[1, 0], [100, 0]], atol=1e-3)

    def test_by_default_each_stands_for_a_thousand(self, opt_ml):
        opt_ml.configure(k="1", feature_dim="2")
        self.place(opt_ml, [[0, 0]])
        opt_ml.put(np.ones((1000, 2), np.float32))
        assert opt_ml.run().returncode == 0
        np.testing.assert_allclose(load_model(opt_ml.model_file).centers, [[0.5, 0.5]], atol=1e-3)

    @pytest.mark.data
    def test_the_originals_models_are_gone_on_with(self, opt_ml, sagemaker_models, acs_rows):
        model = sagemaker_models[0]
        centers = np.array(model["centers"], np.float32)
        opt_ml.configure(k=str(len(centers)), feature_dim="7", model_rows="3218")
        self.place(opt_ml, centers)
        opt_ml.put(acs_rows)
        assert opt_ml.run().returncode == 0
        before = KMeansModel(centers).inertia(acs_rows)
        assert load_model(opt_ml.model_file).inertia(acs_rows) < 1.01 * before


class TestRefusals:
    def test_other_features(self, jobs, days):
        jobs.run(days[0])
        job = jobs.run(days[0][:, :4].copy(), feature_dim="4", expect=2)
        assert "channel 'model'" in job.failure
        assert "has 5 features, and feature_dim=4" in job.failure
        assert not job.model_file.exists()

    def test_an_empty_channel(self, opt_ml, blobs):
        opt_ml.configure(k="3", feature_dim="3")
        opt_ml.put(blobs)
        (opt_ml.base / "input/data/model").mkdir()
        assert opt_ml.run().returncode == 2
        assert "there is no model in" in opt_ml.failure

    def test_a_damaged_state(self, jobs, days):
        job = jobs.run(days[0])
        path = job.base / "model/state_algo-1"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        job = jobs.run(days[1], before="directory", expect=2)
        assert "state_algo-1: it is torn or damaged" in job.failure

    @pytest.mark.parametrize(
        ("described", "message"),
        [
            ({"ContentType": "text/csv"}, "ContentType='text/csv' is not accepted"),
            ({"TrainingInputMode": "Pipe"}, "a model is read from files"),
            ({"S3DistributionType": "ShardedByS3Key"}, "a model is for all hosts"),
        ],
    )
    def test_a_channel_that_is_no_models(self, opt_ml, blobs, described, message):
        opt_ml.configure(k="3", feature_dim="3")
        opt_ml.put(blobs)
        opt_ml.write_config("inputdataconfig", {"train": {}, "model": described})
        assert opt_ml.run().returncode == 2
        assert message in opt_ml.failure


class TestWholeState:
    def test_it_goes_to_the_output(self, opt_ml, days):
        opt_ml.configure(k="3", feature_dim="5", whole_state="true", state_sample_mib="0")
        opt_ml.put(days[0])
        assert opt_ml.run().returncode == 0
        whole = load_state(opt_ml.base / "output/data")
        small = load_state(opt_ml.archive)
        assert len(whole.arrays["sample_rows"]) == 6_000
        assert not len(small.arrays["sample_rows"])
        assert "summary_sums" in whole.arrays

    def test_unasked_it_does_not(self, opt_ml, days):
        opt_ml.configure(k="3", feature_dim="5")
        opt_ml.put(days[0])
        assert opt_ml.run().returncode == 0
        assert not (opt_ml.base / "output/data/state_algo-1").exists()


def test_a_full_disk_leaves_the_old_model_and_state(opt_ml, days, small_disk):
    opt_ml.configure(k="3", feature_dim="5", state_sample_mib="0")
    opt_ml.put(days[0])
    folder = opt_ml.base / "model"
    small_disk(folder, 128)
    assert opt_ml.run().returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["model_algo-1", "state_algo-1"]
    opt_ml.configure(k="4", feature_dim="5", state_sample_mib="1")
    done = opt_ml.run()
    assert done.returncode == 3
    assert re.search(r"cannot write \S+/state_algo-1: No space left on device", opt_ml.failure)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_directory_that_the_job_does_not_name_is_not_used_in_silence(jobs, days):
    jobs.run(days[0])
    job = jobs.make()
    job.configure(k="8", feature_dim="5")
    job.write_config("inputdataconfig", {"train": {}})
    job.put(days[1])
    shutil.copytree(jobs.last.base / "model", job.base / "input/data/model")
    done = job.run()
    assert done.returncode == 0
    assert "channel 'model' is not used" in done.stderr + done.stdout
    assert load_state(job.archive).facts["n_taken"] == 6_000
