"""A whole job on a GPU."""

from __future__ import annotations

import gzip
import json
import logging

import numpy as np
import pytest

from onepass import KMeans
from onepass.artifact.model_file import load_model
from onepass.artifact.state_file import load_state, save_state
from onepass.cluster import device_finish, devices
from onepass.cluster.device_core import SampleThere
from onepass.cluster.epoch import united_steps
from onepass.cluster.kernels import gpu
from onepass.distributed.plan import tree
from onepass.errors import UserError
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.paths import Paths
from onepass.training import crew_tasks, engines, record_feed
from onepass.training import hosts as job_hosts
from onepass.training.algorithm import united
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress
from onepass.training.stopping import Stopping
from onepass.training.tasks import united_scores

MEANS = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]])


@pytest.fixture
def small(monkeypatch):
    """Let a device be worth its start for a few rows."""
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 200)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)
    monkeypatch.setattr(gpu, "_ONE_BLOCK", 96)
    monkeypatch.setattr(engines, "_WORTH_A_PASS", 0)
    monkeypatch.setattr(device_finish, "_WORTH_REFINING", 0)
    monkeypatch.setattr(engines, "_BYTES_A_GPU", 20_000)
    monkeypatch.setattr(record_feed, "_BLOCK_BYTES", 5000)


@pytest.fixture
def run(emulated, monkeypatch, tmp_path, caplog):
    """Train on an emulated GPU, or several."""

    def run(
        contents=None,
        content_type="application/x-recordio-protobuf",
        n_gpus=1,
        before=None,
        progress=None,
        stopping=None,
        **given,
    ):
        emulated(n_gpus=n_gpus)
        monkeypatch.setattr(devices, "visible_gpus", lambda: n_gpus)
        caplog.set_level(logging.INFO)
        paths = Paths(tmp_path)
        wanted = {"k": "3", "feature_dim": "3", "mini_batch_size": "100"}
        wanted |= {"extra_center_factor": "8"} | given
        paths.hyperparameters.parent.mkdir(parents=True, exist_ok=True)
        paths.hyperparameters.write_text(json.dumps(wanted))
        channel = {"ContentType": content_type, "TrainingInputMode": "File"}
        both = {"train": channel, "test": channel}
        described = both | ({} if before is None else {"model": {}})
        (paths.hyperparameters.parent / "inputdataconfig.json").write_text(json.dumps(described))
        if before is not None:
            save_state(before.state(), tmp_path / "input/data/model/state_algo-1")
        for name in both:
            folder = tmp_path / "input/data" / name
            folder.mkdir(parents=True, exist_ok=True)
            for i, content in enumerate(contents or [write_rows(rows_of(2500))]):
                (folder / f"part-{i}").write_bytes(content)
        job = read_configuration(paths)
        return train(job, paths, progress or LogProgress(job.host, 1), stopping)

    return run


@pytest.fixture
def taken(monkeypatch):
    """Count the rows that devices have taken, by whose they are."""
    counts = {}
    unpack = gpu.Gpu.unpack

    def count(self, records, layout, into, report):
        counts[self.index] = counts.get(self.index, 0) + len(records) // layout.stride
        unpack(self, records, layout, into, report)

    monkeypatch.setattr(gpu.Gpu, "unpack", count)
    return counts


def rows_of(n):
    rng = np.random.default_rng(n)
    return (MEANS[rng.integers(3, size=n)] + rng.normal(0, 0.5, (n, 3))).astype(np.float32)


def text_of(rows):
    return "\n".join(",".join(map(repr, row)) for row in rows.tolist()).encode()


def is_right(trained, n=2500):
    centers = load_model(trained.model_file).centers
    gaps = np.sqrt(((centers[:, None] - MEANS) ** 2).sum(axis=2)).min(axis=0)
    assert gaps.max() < 0.2
    assert trained.n_rows == n
    assert trained.msd == pytest.approx(0.75, rel=0.1)
    assert trained.scores["msd"] == pytest.approx(trained.msd, rel=0.05)
    return True


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("given", [{"device": "gpu"}, {"device": "auto"}])
def test_it_trains_and_tells_so(run, taken, caplog, monkeypatch, given):
    made, core = [], SampleThere.core
    monkeypatch.setattr(SampleThere, "core", lambda *given: made.append(1) or core(*given))
    assert is_right(run(**given))
    assert "Number of GPUs being used: 1" in caplog.messages
    assert "Using an emulation, of 16 GiB" in caplog.messages
    assert taken[0] > 2 * 2300  # of train, and of test
    assert made, "the last step is made there"
    assert any('"Total Batches Seen": {"sum": 25.0' in message for message in caplog.messages)


@pytest.mark.usefixtures("small")
def test_further_epochs_are_made_there(run, taken, caplog):
    trained = run(epochs="3")
    assert is_right(trained)
    n_made = sum("exact train msd" in message for message in caplog.messages)
    assert n_made in (1, 2)
    assert taken[0] > (2 + n_made) * 2300


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n_gpus", [1, 2])
def test_it_goes_on_from_what_a_processor_has_learnt(run, taken, n_gpus):
    before = KMeans(3, center_factor=8, batch_size=100, device="cpu").partial_fit(rows_of(3000))
    trained = run(
        [write_rows(rows_of(1300)), write_rows(rows_of(1200))], n_gpus=n_gpus, before=before
    )
    assert is_right(trained)
    assert min(taken.values()) > 1000
    facts = load_state(trained.model_file.parent).facts
    assert facts["n_taken"] == 5500
    assert sum(facts["cluster_sizes"]) == pytest.approx(5500)


@pytest.mark.usefixtures("small")
def test_what_a_gpu_has_learnt_is_gone_on_with_by_a_processor(emulated):
    emulated(n_gpus=1)
    rows = rows_of(6000)
    there = KMeans(3, center_factor=8, batch_size=100, device="gpu").partial_fit(rows[:3000])
    assert there.n_opened_ >= 0
    here = KMeans(3, center_factor=8, batch_size=100, device="cpu").restore(there.state())
    here.partial_fit(rows[3000:]).finalize()
    assert here.n_samples_seen_ == 6000
    gaps = np.sqrt(((here.cluster_centers_[:, None] - MEANS) ** 2).sum(axis=2)).min(axis=0)
    assert gaps.max() < 0.2
    again = KMeans(3, center_factor=8, batch_size=100, device="gpu").restore(here.state())
    again.partial_fit(rows).finalize()
    assert again.n_samples_seen_ == 12_000


class KilledError(Exception):
    """The end of a process."""


class Dies(LogProgress):
    """Ends the process, or asks it to end, when so many rows have been read."""

    def __init__(self, n_rows, stopping=None):
        super().__init__("algo-1", 1)
        self._n_rows, self._stopping = n_rows, stopping

    def advance(self, n_bytes, n_rows, msd=0.0):
        del n_bytes, msd
        if n_rows < self._n_rows:
            return
        if self._stopping is None:
            raise KilledError
        self._stopping.ask()


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Keep checkpoints all the time."""
    monkeypatch.setattr("onepass.training.checkpoints._MOST_OF_THE_TIME", 1e9)
    (tmp_path / "checkpoints").mkdir()


CONTENTS = {
    "regular": [write_rows(rows_of(1300)), write_rows(rows_of(1200))],
    "two lengths": [write_rows(rows_of(1300)), write_rows(rows_of(1200), labels=range(1200))],
    "packed at the end": [write_rows(rows_of(1300)), gzip.compress(write_rows(rows_of(1200)), 1)],
}


@pytest.mark.usefixtures("small", "checkpoints")
@pytest.mark.parametrize(("n_rows", "is_asked"), [(900, False), (1300, True), (2500, False)])
@pytest.mark.parametrize("contents", CONTENTS)
def test_one_that_is_killed_or_stopped_goes_on(run, taken, caplog, contents, is_asked, n_rows):
    given = {"contents": CONTENTS[contents], "checkpoint_interval_s": "0"}
    if is_asked:
        stopping = Stopping()
        stopped = run(**given, progress=Dies(n_rows, stopping), stopping=stopping)
        assert n_rows <= stopped.n_rows <= 2500
    else:
        with pytest.raises(KilledError):
            run(**given, progress=Dies(n_rows))
    caplog.clear()
    taken.clear()
    trained = run(**given)
    assert is_right(trained)
    assert "going on from checkpoint" in caplog.text
    facts = load_state(trained.model_file.parent).facts
    assert facts["n_taken"] == 2500
    assert sum(facts["cluster_sizes"]) == pytest.approx(2500)


@pytest.mark.usefixtures("small", "checkpoints")
def test_bad_records_are_counted_once_where_one_goes_on(run, caplog):
    content = bytearray(write_rows(rows_of(2500)))
    for record in (100, 900, 2000):
        at = record * len(content) // 2500
        content[at + 8 : at + 30] = bytes(22)
    given = {"contents": [bytes(content)], "checkpoint_interval_s": "0", "max_bad_records": "3"}
    for n_rows in (500, 1500, 2400):
        with pytest.raises(KilledError):
            run(**given, progress=Dies(n_rows))
    trained = run(**given)
    assert "going on from checkpoint" in caplog.text
    assert (trained.n_rows, trained.n_bad_records) == (2497, 3)
    assert load_state(trained.model_file.parent).facts["n_taken"] == 2497


@pytest.mark.usefixtures("small", "checkpoints")
@pytest.mark.parametrize("devices_used", [("cpu", "gpu"), ("gpu", "cpu")])
def test_one_goes_on_where_a_processor_was_and_the_other_way_round(run, caplog, devices_used):
    before, after = devices_used
    with pytest.raises(KilledError):
        run(device=before, progress=Dies(1200), checkpoint_interval_s="0")
    trained = run(device=after, checkpoint_interval_s="0")
    assert is_right(trained)
    assert "going on from checkpoint" in caplog.text
    assert load_state(trained.model_file.parent).facts["n_taken"] == 2500


@pytest.mark.usefixtures("small", "checkpoints")
def test_each_of_several_goes_on(run, caplog):
    rows = rows_of(4000)
    given = {"contents": [write_rows(rows)], "checkpoint_interval_s": "0", "n_gpus": 2}
    with pytest.raises(KilledError):
        run(**given, progress=Dies(4000))
    trained = run(**given)
    assert is_right(trained, 4000)
    assert caplog.text.count("going on from checkpoint") == 2
    assert load_state(trained.model_file.parent).facts["n_taken"] == 4000


@pytest.mark.usefixtures("small")
def test_several_share_the_data(run, taken, caplog):
    rows = rows_of(4000)
    contents = [write_rows(rows[:1500]), write_rows(rows[1500:])]
    assert is_right(run(contents, n_gpus=3, epochs="2"), 4000)
    assert "3 GPUs share the data" in caplog.messages
    assert set(taken) == {0, 1, 2}
    assert min(taken.values()) > 2500
    assert "Number of GPUs being used: 3" in caplog.messages


@pytest.mark.usefixtures("small")
def test_no_more_are_used_than_wanted(run, taken, caplog):
    assert is_right(run(n_gpus=3, _num_gpus="2"))
    assert set(taken) == {0, 1}
    assert "Number of GPUs being used: 2" in caplog.messages


@pytest.mark.usefixtures("small")
def test_a_bad_record_ends_the_work_of_all_and_is_named(run):
    rows = rows_of(4000)
    rows[3210, 1] = np.nan
    with pytest.raises(UserError, match=r"part-0, record 3210 at byte .*feature 1 is NaN"):
        run([write_rows(rows)], n_gpus=3)


@pytest.mark.usefixtures("small")
def test_sparse_rows_are_left_to_the_processor(run, taken, caplog):
    rows = rows_of(1000)
    assert is_right(run([write_rows(rows, sparse=True)]), 1000)
    assert not taken
    why = "the processor takes the data: its first records are not all dense, and alike"
    assert why in caplog.messages


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_packed_sparse_rows_are_left_to_the_processor_too(run, taken, caplog, device):
    assert is_right(
        run([gzip.compress(write_rows(rows_of(1000), sparse=True))], device=device), 1000
    )
    assert not taken
    why = "the processor takes the data: its first records are not all dense, and alike"
    assert why in caplog.messages


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_what_is_packed_is_left_to_the_processor_unless_a_gpu_is_demanded(
    run, taken, caplog, device
):
    assert is_right(run([gzip.compress(write_rows(rows_of(2500)))], device=device))
    why = "the processor takes the data: it is unpacked longer than it is clustered"
    assert (why in caplog.messages) == (not taken) == (device == "auto")


@pytest.mark.usefixtures("small")
def test_texts_are_left_to_the_processor(run, taken, caplog):
    assert is_right(run([text_of(rows_of(2500))], "text/csv;label_size=0", device="auto"))
    assert not taken
    why = "the processor takes the data: texts are read longer than they are clustered"
    assert why in caplog.messages


@pytest.mark.usefixtures("small")
def test_texts_are_taken_where_a_gpu_is_demanded(run, taken):
    assert is_right(run([text_of(rows_of(2500))], "text/csv;label_size=0", device="gpu"))
    assert taken[0] > 2000


@pytest.mark.usefixtures("small")
def test_a_host_of_several_lends_its_gpus(emulated, monkeypatch, tmp_path, taken):
    """What workers of two hosts with two GPUs each do, one after the other."""
    emulated(n_gpus=2)
    monkeypatch.setattr(devices, "visible_gpus", lambda: 2)
    monkeypatch.setattr("onepass.training.hosts.visible_gpus", lambda: 2)
    rows, hosts = rows_of(8000), ["algo-1", "algo-2"]
    shares = []
    for name in hosts:
        base = tmp_path / name
        (base / "input/config").mkdir(parents=True)
        (base / "input/data/train").mkdir(parents=True)
        wanted = {"k": "3", "feature_dim": "3", "mini_batch_size": "100"}
        (base / "input/config/hyperparameters.json").write_text(json.dumps(wanted))
        resources = {"current_host": name, "hosts": hosts}
        (base / "input/config/resourceconfig.json").write_text(json.dumps(resources))
        (base / "input/data/train/a").write_bytes(write_rows(rows))
        assert job_hosts._n_workers(read_configuration(Paths(base))) == 2
        shares += crew_tasks.shares_here("train", 0, engines.engine_of_pass, base)
        assert crew_tasks.devices_here(base) == ["gpu:0", "gpu:1"]
    assert [share.device for share in shares] == ["gpu:0", "gpu:1"] * 2
    assert all(share.is_raw for share in shares)
    template = KMeans(3, center_factor=8, batch_size=100, device="gpu").shard(4)
    learnt = [
        crew_tasks.summarise(share.device, share.is_raw, template, share.reader, lambda _: None)
        for share in shares
    ]
    assert not template.n_samples_seen_
    assert sorted(taken) == [0, 1]
    kmeans = KMeans(3, device="cpu").merge(tree(learnt, united)).finalize()
    assert kmeans.n_samples_seen_ == sum(share.reader.n_rows for share in shares) == 8000
    order = np.lexsort(kmeans.cluster_centers_.round().T[::-1])
    found = kmeans.cluster_centers_[order]
    np.testing.assert_allclose(found, [[0, 0, 0], [0, 10, 0], [10, 0, 0]], atol=0.1)
    model = kmeans.to_model()
    steps = [crew_tasks.step(s.device, model, s.reader, lambda _: None) for s in shares]
    scores = [crew_tasks.score(s.device, model, s.reader, lambda _: None) for s in shares]
    step, score = tree(steps, united_steps), tree(scores, united_scores)
    assert step.weights.sum() == score.n_rows == 8000
    assert step.inertia == pytest.approx(model.inertia(rows), rel=1e-5)
    assert score.ssd == pytest.approx(step.inertia)
