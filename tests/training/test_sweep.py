"""A job that makes clusters of several numbers, and takes one of them."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.artifact.state_file import load_state
from onepass.errors import UserError
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress
from onepass.training.showing import ElbowDrawer


@pytest.fixture
def run(opt_ml, caplog):
    """Run a job."""

    def run(**wanted):
        caplog.set_level(logging.INFO)
        opt_ml.configure(feature_dim="3", **wanted)
        job = read_configuration(Paths(opt_ml.base))
        return train(job, Paths(opt_ml.base), LogProgress(job.host, job.hyperparameters.epochs))

    return run


@pytest.fixture
def found(opt_ml):
    """Return what elbow.json says."""
    return lambda: json.loads((opt_ml.base / "output/data/elbow.json").read_text())


@pytest.mark.parametrize("num_workers", ["1", "2"])
def test_the_model_is_the_one_for_k(opt_ml, run, found, blobs, num_workers):
    opt_ml.put(blobs)
    trained = run(k="3", k_sweep="2-6", num_workers=num_workers)
    assert trained.n_clusters == load_model(opt_ml.model_file).n_clusters == 3
    told = found()
    assert told["k"] == 3
    assert [point["k"] for point in told["points"]] == [2, 3, 4, 5, 6]
    assert told["knee"]["k"] == 3
    assert told["points"][1]["msd"] == trained.msd
    for point in told["points"]:
        assert len(point["sizes"]) == point["k"]
        assert sum(point["sizes"]) == pytest.approx(len(blobs))


def test_auto_takes_the_knee_and_says_why(opt_ml, run, found, blobs, caplog):
    opt_ml.put(blobs)
    trained = run(k="auto")
    assert trained.n_clusters == load_model(opt_ml.model_file).n_clusters == 3
    assert "k=auto: the model has k=3 clusters: the msd falls fast up to k=3" in caplog.text
    assert [point["k"] for point in found()["points"]] == list(range(2, 21))
    state = load_state(opt_ml.model_file.parent).facts
    assert state["lineage"][0]["k"] == 3
    assert len(state["cluster_sizes"]) == 3


def test_auto_without_a_knee_says_so(opt_ml, run, caplog):
    opt_ml.put(np.random.default_rng(0).random((2000, 3)).astype(np.float32))
    trained = run(k="auto", k_sweep="2-12")
    assert f"the silhouette is best at k={trained.n_clusters}" in caplog.text
    assert "elbow: no knee" in caplog.text


def test_files_say_the_same(opt_ml, run, found, blobs):
    opt_ml.put(blobs)
    run(k="4", k_sweep="2,8")
    table = (opt_ml.base / "output/data/elbow.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(table)))
    points = found()["points"]
    assert [int(row["k"]) for row in rows] == [point["k"] for point in points] == [2, 4, 8]
    for row, point in zip(rows, points, strict=True):
        assert float(row["msd"]) == point["msd"]
        assert float(row["smallest"]) == min(point["sizes"])
    image = pytest.importorskip("PIL.Image")
    picture = image.open(opt_ml.base / "output/data/elbow.png")
    assert picture.size == (1280, 760)
    assert len(picture.getcolors(10**6)) > 20


def test_without_pillow_there_is_no_picture(opt_ml, run, found, blobs, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "onepass.report.png", raising=False)
    opt_ml.put(blobs)
    run(k="3", k_sweep="2-4")
    assert found()["knee"]
    assert not (opt_ml.base / "output/data/elbow.png").exists()
    assert "no elbow.png: Pillow draws it: pip install onepass-kmeans[report]" in caplog.text


def test_numbers_beyond_the_rows_are_left_out(opt_ml, run, found, blobs, caplog):
    opt_ml.put(blobs[:7])
    run(k="auto", k_sweep="2-12")
    assert [point["k"] for point in found()["points"]] == [2, 3, 4, 5, 6, 7]
    assert "numbers beyond the 7 rows there are are left out" in caplog.text


def test_fewer_rows_than_any_is_refused(opt_ml, run, blobs):
    opt_ml.put(blobs[:3])
    with pytest.raises(UserError, match="fewer than k=4 clusters"):
        run(k="auto", k_sweep="4-6")


def test_further_epochs_refine_the_one_that_is_chosen(opt_ml, run, blobs):
    opt_ml.put(blobs)
    trained = run(k="auto", k_sweep="2-6", epochs="3")
    assert trained.n_clusters == 3
    msd = load_model(opt_ml.model_file).inertia(blobs) / len(blobs)
    assert trained.msd == pytest.approx(msd, rel=1e-4)


def test_one_that_goes_on_from_a_checkpoint_has_an_elbow_too(opt_ml, run, found, blobs):
    (opt_ml.base / "checkpoints").mkdir(parents=True)
    opt_ml.put(blobs)
    first = run(k="auto", k_sweep="2-6", epochs="2")
    model, told = opt_ml.model_file.read_bytes(), found()
    (opt_ml.base / "output/data/elbow.json").unlink()
    again = run(k="auto", k_sweep="2-6", epochs="2")
    assert (again.n_clusters, again.msd) == (first.n_clusters, first.msd)
    assert opt_ml.model_file.read_bytes() == model
    assert [p["msd"] for p in found()["points"]] == [p["msd"] for p in told["points"]]


def test_each_is_as_good_as_a_model_of_its_own(opt_ml, run, found, blobs):
    opt_ml.put(blobs)
    run(k="3", k_sweep="2-5")
    for point in found()["points"]:
        run(k=str(point["k"]))
        model = load_model(opt_ml.model_file)
        assert point["msd"] <= 1.01 * model.inertia(blobs) / len(blobs)


def test_a_drawer_that_was_given_no_elbow_writes_nothing(tmp_path):
    ElbowDrawer().save(tmp_path)
    assert not list(tmp_path.iterdir())
