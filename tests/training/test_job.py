"""A job from its configuration to its model, in this process."""

from __future__ import annotations

import logging
import math
import re
import tarfile

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.errors import UserError
from onepass.sagemaker.metrics import METRIC_DEFINITIONS
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress


@pytest.fixture
def run(opt_ml, caplog):
    """Run a job and return what it has done; its log is in caplog."""

    def run(**hyperparameters):
        opt_ml.configure(**hyperparameters)
        caplog.set_level(logging.INFO)
        caplog.clear()
        paths = Paths(opt_ml.base)
        job = read_configuration(paths)
        return train(job, paths, LogProgress(job.host, job.hyperparameters.epochs))

    return run


def sq_distances(rows, centers):
    """The squared distance of each row to its closest center, in double precision."""
    gaps = rows.astype(np.float64)[:, None, :] - centers.astype(np.float64)
    return (gaps**2).sum(axis=2).min(axis=1)


def logged(caplog, pattern):
    """What a pattern catches in the lines of the log, in their order."""
    return [found[1] for line in caplog.messages if (found := re.search(pattern, line))]


def test_a_job_leaves_a_model_its_archive_a_report_and_nothing_else(opt_ml, run, blobs):
    opt_ml.put(blobs)
    trained = run(k="3", feature_dim="3")
    outputs = [path for path in opt_ml.base.rglob("*") if "input" not in path.parts]
    files = sorted(str(path.relative_to(opt_ml.base)) for path in outputs if path.is_file())
    assert files == [
        *("model/model_algo-1", "model/state_algo-1"),
        *("output/data/metrics.json", "output/data/metrics.jsonl", "output/data/report.html"),
        "output/model.tar.gz",
    ]
    assert trained.model_file == opt_ml.model_file
    assert trained.archive == opt_ml.archive
    with tarfile.open(opt_ml.archive) as tar:
        assert tar.getnames() == ["model_algo-1", "state_algo-1"]
        assert tar.extractfile("model_algo-1").read() == opt_ml.model_file.read_bytes()


def test_well_separated_clusters_are_found_at_their_means(opt_ml, run, blobs):
    opt_ml.put(blobs)
    trained = run(k="3", feature_dim="3")
    centers = load_model(trained.model_file).centers
    truth = np.array([[0, 0, 0], [0, 10, 0], [10, 0, 0]])
    nearest = np.abs(blobs[:, None, :] - truth).sum(axis=2).argmin(axis=1)
    means = np.array([blobs[nearest == j].mean(axis=0, dtype=np.float64) for j in range(3)])
    order = np.lexsort(np.round(centers.T[::-1]))
    assert np.allclose(centers[order], means, atol=1e-5)


def test_the_training_score_is_that_of_the_saved_model(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    trained = run(k="3", feature_dim="3")
    truth = sq_distances(blobs, load_model(trained.model_file).centers).mean()
    assert trained.msd == pytest.approx(truth, rel=1e-6)
    assert trained.msd_error == 0
    [line] = logged(caplog, r"train msd <loss>=(\S+)")
    assert float(line) == trained.msd


def test_rows_bytes_and_sizes_are_told(opt_ml, run, blobs):
    path = opt_ml.put(blobs)
    trained = run(k="3", feature_dim="3")
    assert (trained.n_clusters, trained.n_features, trained.n_rows) == (3, 3, 600)
    assert trained.n_bytes == path.stat().st_size
    assert set(trained.seconds) == {"read and summarise", "final centers", "save", "report"}
    assert all(seconds >= 0 for seconds in trained.seconds.values())


@pytest.mark.parametrize(
    "metrics", [["msd"], ["ssd"], ["msd", "ssd"], ["ssd", "msd"]], ids="-".join
)
def test_test_scores_are_exact_and_in_the_order_asked_for(opt_ml, run, blobs, caplog, metrics):
    opt_ml.put(blobs[:400])
    opt_ml.put(blobs[400:500], "test", "a")
    opt_ml.put(blobs[500:], "test", "b")
    trained = run(k="3", feature_dim="3", eval_metrics=metrics, mini_batch_size="30")
    truth = sq_distances(blobs[400:], load_model(trained.model_file).centers)
    oracle = {"msd": truth.mean(), "ssd": math.fsum(truth)}
    assert list(trained.scores) == metrics
    for name, value in trained.scores.items():
        assert value == pytest.approx(oracle[name], rel=1e-6)
    assert logged(caplog, r"#quality_metric: host=\S+, test (\w+) ") == metrics
    assert [float(v) for v in logged(caplog, r"test \w+ <loss>=(\S+)")] == [
        *trained.scores.values()
    ]


def test_without_test_data_the_log_says_so(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    assert run(k="3", feature_dim="3").scores == {}
    assert "Test data is not provided." in caplog.messages
    assert logged(caplog, "(test m?ssd?)") == []


def test_every_metric_definition_finds_its_values(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs[:400])
    opt_ml.put(blobs[400:], "test")
    run(k="3", feature_dim="3", eval_metrics='["msd", "ssd"]', epochs="2")
    found = {d["Name"]: [float(v) for v in logged(caplog, d["Regex"])] for d in METRIC_DEFINITIONS}
    assert [len(found[name]) for name in ("train:msd", "test:msd", "test:ssd")] == [1, 1, 1]
    assert found["train:progress"] == [50.0, 100.0]
    assert len(found["train:throughput"]) == 2
    assert all(value > 0 for value in found["train:throughput"])


def test_the_log_tells_the_story_in_the_originals_words_and_order(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    run(k="3", feature_dim="3", extra_center_factor="4", local_lloyd_num_trials="2")
    wanted = [
        "#progress_metric: host=algo-1, completed 100.0 % of epochs",
        "processed a total of 600 examples",
        '#metrics {"StartTime"',
        "#throughput_metric: host=algo-1",
        "shrinking ",
        "local kmeans attempt #0. Current mean square distance ",
        "local kmeans attempt #1. Current mean square distance ",
        "finished shrinking process. Mean Square Distance = ",
        "#quality_metric: host=algo-1, train msd <loss>=",
        "Test data is not provided.",
    ]
    places = [
        next(i for i, line in enumerate(caplog.messages) if line.startswith(start))
        for start in wanted
    ]
    assert places == sorted(places)


def test_the_factor_that_auto_stands_for_is_logged(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    run(k="10", feature_dim="3")
    assert "'extra_center_factor' was set to 'auto', evaluated to 50." in caplog.messages


def test_a_factor_of_one_needs_no_shrinking(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    run(k="3", feature_dim="3", extra_center_factor="1")
    assert "No shrinking is required as extra_center_factor is 1." in caplog.messages
    assert logged(caplog, "(local kmeans attempt|shrinking process)") == []


def test_further_epochs_never_raise_the_exact_msd(opt_ml, run, caplog):
    rng = np.random.default_rng(5)
    rows = rng.uniform(size=(4000, 3)).astype(np.float32)
    opt_ml.put(rows)
    scores = []
    for epochs in (1, 2, 3):
        trained = run(
            k="12",
            feature_dim="3",
            epochs=epochs,
            extra_center_factor="4",
            mini_batch_size="500",
            local_lloyd_max_iter="1",
        )
        scores.append(sq_distances(rows, load_model(trained.model_file).centers).mean())
    assert scores[1] <= scores[0] * (1 + 1e-6)
    assert scores[2] <= scores[1] * (1 + 1e-6)
    assert scores[2] < scores[0]
    exact = [float(v) for v in logged(caplog, r"exact train msd (\S+) before this step")]
    assert exact == pytest.approx(scores[:2], rel=1e-5)


def test_the_same_seed_gives_the_same_bytes(opt_ml, run, blobs, monkeypatch):
    for place in ("onepass.artifact.state_file.now", "onepass.training.update.now"):
        monkeypatch.setattr(place, lambda: "2026-01-02T03:04:05+00:00")
    opt_ml.put(blobs)
    given = {"k": "7", "feature_dim": "3", "seed": "11", "mini_batch_size": "50"}
    run(**given)
    first = opt_ml.model_file.read_bytes(), opt_ml.archive.read_bytes()
    run(**given)
    assert (opt_ml.model_file.read_bytes(), opt_ml.archive.read_bytes()) == first
    run(**given | {"seed": "12"})
    assert opt_ml.model_file.read_bytes() != first[0]


def test_how_rows_lie_in_files_and_records_does_not_matter(opt_ml, run, blobs):
    opt_ml.put(blobs)
    run(k="7", feature_dim="3", mini_batch_size="50")
    model = opt_ml.model_file.read_bytes()
    opt_ml.put(blobs[:123].astype(np.float64), name="matrix_0.pbr")
    opt_ml.put(b"", name="matrix_1.pbr")
    opt_ml.put(blobs[123:], name="sub/matrix_2.pbr")
    opt_ml.put(b"not data", name="_SUCCESS")
    run(k="7", feature_dim="3", mini_batch_size="50")
    assert opt_ml.model_file.read_bytes() == model


def test_a_model_of_an_earlier_job_is_replaced(opt_ml, run, blobs):
    opt_ml.put(blobs)
    opt_ml.model_file.parent.mkdir()
    opt_ml.model_file.write_bytes(b"old")
    run(k="3", feature_dim="3")
    assert load_model(opt_ml.archive).n_clusters == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, True),
        ({"mini_batch_size": "5000"}, True),
        ({"mini_batch_size": "5001"}, False),
        ({"half_life_time_size": "10000000"}, False),
    ],
)
def test_the_default_mini_batch_is_larger_where_rows_are_narrow(
    opt_ml, run, blobs, caplog, given, told
):
    opt_ml.put(blobs)
    run(k="3", feature_dim="3", **given)
    line = "'mini_batch_size' is 5000, the default: 16000 rows of 3 features are taken at a time."
    assert (line in caplog.messages) == told


def test_a_mini_batch_far_larger_than_the_data_is_no_matter(opt_ml, run, blobs):
    opt_ml.put(blobs)
    assert run(k="3", feature_dim="3", mini_batch_size="2147483647").n_rows == 600


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_as_many_clusters_as_rows_are_the_rows(opt_ml, run, n_rows):
    rows = np.arange(2 * n_rows, dtype=np.float32).reshape(n_rows, 2) ** 2
    opt_ml.put(rows)
    trained = run(k=str(n_rows), feature_dim="2")
    centers = load_model(trained.model_file).centers
    assert sorted(centers.tolist()) == sorted(rows.tolist())
    assert trained.msd == 0


def test_channels_without_a_use_are_warned_of(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    opt_ml.put(blobs, "validation")
    run(k="3", feature_dim="3")
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage().startswith("channel 'validation' is not used")


def test_the_log_says_that_no_gpu_is_used(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    for given in ("auto", "0", "2"):
        run(k="3", feature_dim="3", _num_gpus=given)
        assert caplog.messages.count("Number of GPUs being used: 0") == 1
        warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert warnings == ["_num_gpus=2: 0 can be used"] * (given == "2")


def test_test_data_of_another_width_is_refused_before_training(opt_ml, run, blobs):
    opt_ml.put(blobs)
    opt_ml.put(blobs[:, :2], "test")
    with pytest.raises(
        UserError, match=r"test/matrix_0\.pbr, record 0 at byte 0: the record has 2"
    ):
        run(k="3", feature_dim="3")
    assert not opt_ml.model_file.exists()


@pytest.mark.data
@pytest.mark.parametrize("seed", range(5))
def test_on_real_data_defaults_reach_the_originals_quality(opt_ml, run, acs_rows, seed):
    opt_ml.put(acs_rows)
    trained = run(k="8", feature_dim="7", force_dense="True", seed=str(seed))
    msd = sq_distances(acs_rows, load_model(trained.model_file).centers).mean()
    assert msd <= 0.1060  # the original's two models reach 0.1076 and 0.1074
    assert trained.msd == pytest.approx(msd, rel=1e-6)


def mixture(n, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 6, (12, 4))
    return (means[rng.integers(0, 12, n)] + rng.normal(size=(n, 4))).astype(np.float32)


def test_several_workers_make_a_model_as_good_as_one(opt_ml, run):
    rows = mixture(60_000)
    rows = rows[np.argsort(rows[:, 0])]  # so that each worker sees other clusters
    opt_ml.put(rows[:25_000], name="a.pbr")
    opt_ml.put(rows[25_000:], name="b.pbr")
    msds = []
    for n in (1, 2, 5):
        trained = run(k="12", feature_dim="4", num_workers=str(n))
        assert (trained.n_rows, trained.n_bytes) == (
            len(rows),
            sum(path.stat().st_size for path in (opt_ml.base / "input/data/train").iterdir()),
        )
        msds.append(sq_distances(rows, load_model(opt_ml.model_file).centers).mean())
    assert max(msds) <= 1.005 * min(msds)


def test_the_same_number_of_workers_gives_the_same_bytes(opt_ml, run):
    opt_ml.put(mixture(30_000))
    models = []
    for _ in range(2):
        run(k="12", feature_dim="4", num_workers="3", epochs="2")
        models.append(opt_ml.model_file.read_bytes())
    assert models[0] == models[1]


def test_workers_score_and_refine_all_rows(opt_ml, run, caplog):
    rows = mixture(20_000)
    opt_ml.put(rows)
    opt_ml.put(rows[:9_001], channel="test")
    options = {"local_lloyd_max_iter": "1", "eval_metrics": '["ssd"]'}
    found = run(k="12", feature_dim="4", num_workers="3", epochs="3", **options)
    centers = load_model(opt_ml.model_file).centers
    assert found.scores["ssd"] == pytest.approx(sq_distances(rows[:9_001], centers).sum(), rel=1e-6)
    exact = [float(msd) for msd in logged(caplog, r"epoch \d: exact train msd (\S+) before")]
    assert len(exact) == 2
    assert sq_distances(rows, centers).mean() <= exact[1] <= exact[0]


def test_more_workers_than_records_are_no_matter(opt_ml, run, blobs):
    opt_ml.put(blobs[:7])
    assert run(k="3", feature_dim="3", num_workers="20").n_rows == 7


def test_a_bad_record_is_named_by_its_number_whichever_worker_meets_it(opt_ml, run, blobs):
    path = opt_ml.put(blobs)
    data = bytearray(path.read_bytes())
    size = len(data) // len(blobs)
    data[550 * size : 550 * size + 4] = b"oops"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"record 550 at byte {550 * size}: no RecordIO record"):
        run(k="3", feature_dim="3", num_workers="4")


def test_epochs_end_when_no_center_moves(opt_ml, run, blobs, caplog):
    opt_ml.put(blobs)
    run(k="3", feature_dim="3", epochs="50")
    assert logged(caplog, "(no center has moved)") == ["no center has moved"]
    assert len(logged(caplog, "(exact train msd)")) < 10
