"""Wrong inputs, one at a time: each ends the job, says why, and leaves no model."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.formats.record_writer import write_rows

pytestmark = pytest.mark.image


def lack_k(job, rows):
    job.configure(feature_dim=rows.shape[1])


def misspell(job, rows):
    job.configure(k=8, feature_dim=rows.shape[1], mini_batch_siz=500)


def be_off_by_one(job, rows):
    job.configure(k=8, feature_dim=rows.shape[1] + 1)


def cut_short(job, rows):
    job.put(write_rows(rows[:100])[:-6])


def hold_nan(job, rows):
    broken = rows[:100].copy()
    broken[4, 2] = np.nan
    job.put(write_rows(broken))


def be_empty(job, _):
    (job.base / "input" / "data" / "train" / "part-0.pbr").unlink()


def ask_too_much(job, rows):
    job.configure(k=101, feature_dim=rows.shape[1])
    job.put(write_rows(rows[:100]))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lack_k, ["'k'"]),
        (misspell, ["mini_batch_siz", "mini_batch_size"]),
        (be_off_by_one, ["part-0.pbr", "record 0"]),
        (cut_short, ["part-0.pbr", "record 99"]),
        (hold_nan, ["part-0.pbr", "record 4"]),
        (be_empty, ["train"]),
        (ask_too_much, ["k", "101", "100"]),
    ],
)
def test_wrong_input_is_refused_by_name(image, opt_ml, rows, wrong, named):
    wrong(opt_ml, rows)
    done = image.train(opt_ml)
    assert done.returncode > 0
    assert opt_ml.failure.startswith("ClientError: ")
    shown = opt_ml.failure[:1024]  # what the platform shows of it
    assert [word for word in named if word not in shown] == [], shown
    assert "Traceback" not in shown
    assert list(opt_ml.model.rglob("*model_algo-1*")) == []
    assert list(opt_ml.base.rglob("model.tar.gz")) == []


@pytest.mark.parametrize("closed", ["model", "output"])
def test_a_folder_that_cannot_be_written_is_named(image, opt_ml, closed):
    (opt_ml.base / closed).chmod(0o555)
    done = image.train(opt_ml, "--user", "12345:12345")
    assert done.returncode > 0
    log = (done.stdout + done.stderr).decode()
    assert f"/opt/ml/{closed}" in log, log
    assert "Traceback" not in log, log
    if closed == "model":
        assert "/opt/ml/model" in opt_ml.failure
