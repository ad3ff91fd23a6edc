"""Jobs on sparse records: the same model as of the same rows unfolded."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onepass import load_model
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.formats.record_writer import write_rows


def rare_features(n, d, k, seed=0):
    rng = np.random.default_rng(seed)
    of_clusters = np.array([rng.choice(d, 12, replace=False) for _ in range(k)])
    rows = np.zeros((n, d), np.float32)
    for row, label in zip(rows, rng.integers(0, k, n), strict=True):
        row[rng.choice(of_clusters[label], 6, replace=False)] = rng.gamma(2, size=6)
    return rows


@pytest.mark.parametrize("num_workers", [1, 2])
def test_centers_are_those_of_unfolded_rows(opt_ml, num_workers):
    rows = rare_features(9000, 160, 4)
    for i, part in enumerate(np.split(rows, 3)):
        opt_ml.put(write_rows(part, sparse=True), name=f"{i}.pbr")
    opt_ml.put(write_rows(rows[:500], sparse=True), channel="test")
    found = {}
    for force_dense in ("true", "false", "auto"):
        opt_ml.configure(
            k=4, feature_dim=160, force_dense=force_dense, num_workers=num_workers, epochs=2
        )
        done = opt_ml.run()
        assert done.returncode == 0, done.stderr
        assert ("rows stay sparse" in done.stdout + done.stderr) == (force_dense == "auto")
        score = re.search(r"test msd <loss>=(\S+)", done.stdout + done.stderr)
        found[force_dense] = load_model(opt_ml.model_file).centers, float(score[1])
    centers, score = found["true"]
    for way in ("false", "auto"):
        gap = nearest_centers(centers, found[way][0]).sq_distances
        assert np.sqrt(gap.max()) < 1e-4 * np.sqrt((centers**2).sum(axis=1).max())
        assert found[way][1] == pytest.approx(score, rel=1e-4)


def test_workers_of_sparse_and_of_dense_rows_make_one_model(opt_ml):
    rows = rare_features(4000, 160, 4)
    opt_ml.put(write_rows(rows[:2000], sparse=True), name="a.pbr")
    opt_ml.put(write_rows(np.abs(rows[2000:]) + np.float32(0.1)), name="b.pbr")
    opt_ml.configure(k=5, feature_dim=160, num_workers=2)
    done = opt_ml.run()
    assert done.returncode == 0, done.stderr
    assert load_model(opt_ml.model_file).centers.shape == (5, 160)
    assert re.search(r"4,?000 (rows|records)|Total Records Seen.*4000", done.stdout + done.stderr)


def test_a_bad_record_among_sparse_ones_is_named(opt_ml):
    rows = rare_features(300, 160, 4)
    bad = rows[:1].copy()
    bad[0, 7] = np.nan
    opt_ml.put(write_rows(rows, sparse=True) + write_rows(bad, sparse=True))
    opt_ml.configure(k=4, feature_dim=160)
    done = opt_ml.run()
    assert done.returncode == 2
    assert "record 300 at byte" in opt_ml.failure
    assert "feature 7 is NaN or infinite" in opt_ml.failure
