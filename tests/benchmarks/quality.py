"""How good the clusters of one pass are, beside those of many passes.

    python tests/benchmarks/quality.py [--seeds 5] [--rows 200000] [--json FILE]

Prints a Markdown table of mean squared distances: ours in one pass over the rows as they come,
scikit-learn's MiniBatchKMeans fed the same batches once, and a single start of its KMeans, each as
a ratio to the best of ten starts of scikit-learn's KMeans run until they stand still. Medians over
seeds, and the worst of ours. Where ONEPASS_TEST_DATA names a folder with the census table, that is
clustered, too. CPU seconds are of one run, on one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans as FullKMeans
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from onepass import KMeans, KMeansModel

BATCH_ROWS = 5000


class DataSet(NamedTuple):
    name: str
    rows: np.ndarray
    k: int


def census(folder: Path) -> np.ndarray:
    """Scale the census table's columns, subtract their means, keep seven principal components."""
    with (folder / "acs2015_county.csv").open(encoding="utf-8") as file:
        lines = [line[3:] for line in list(csv.reader(file))[1:] if "" not in line]
    table = np.array(lines, np.float64)
    table = (table - table.min(axis=0)) / (table.max(axis=0) - table.min(axis=0))
    table -= table.mean(axis=0)
    directions = np.linalg.svd(table, full_matrices=False)[2][:7]
    return (table @ directions.T).astype(np.float32)


def mixture(n: int, d: int, k: int, order: str) -> np.ndarray:
    """Draw Gaussian clusters of Zipf's sizes, one row in a thousand far out."""
    rng = np.random.default_rng(11)
    share = 1 / np.arange(1, k + 1)
    labels = rng.choice(k, n, p=share / share.sum())
    if order == "sorted":
        labels.sort()
    means = rng.normal(0, 4, (k, d))
    rows = means[labels] + rng.normal(size=(n, d)) * (0.5 + rng.random(k))[labels, None]
    far = rng.choice(n, n // 1000, replace=False)
    rows[far] += rng.normal(0, 20, (len(far), d))
    return rows.astype(np.float32)


def heavy_tailed(n: int) -> np.ndarray:
    """Draw what news events look like: tone, articles, two places, twenty event codes."""
    rng = np.random.default_rng(12)
    rank = 1 / np.arange(1, 61)
    places = np.column_stack([rng.uniform(-60, 70, 60), rng.uniform(-180, 180, 60)])
    first, second = (rng.choice(60, n, p=rank / rank.sum()) for _ in range(2))
    second = np.where(rng.random(n) < 0.6, first, second)
    codes = np.eye(20)[rng.choice(20, n, p=rank[:20] / rank[:20].sum())]
    jitter = rng.normal(0, 1.5, (2, n, 2))
    return np.column_stack([
        np.clip(rng.normal(2, 4, n), -100, 100),
        np.ceil(rng.pareto(1.2, n) * 3 + 1),
        places[first] + jitter[0],
        places[second] + jitter[1],
        codes,
    ]).astype(np.float32)  # fmt: skip


def data_sets(n: int) -> list[DataSet]:
    """Make every data set of at most `n` rows that can be had here."""
    found = [
        DataSet("digits", datasets.load_digits().data.astype(np.float32), 10),
        DataSet("mixture, shuffled", mixture(n, 16, 50, "shuffled"), 50),
        DataSet("mixture, sorted by cluster", mixture(n, 16, 50, "sorted"), 50),
        DataSet("heavy-tailed events", heavy_tailed(n), 10),
        DataSet("heavy-tailed events", heavy_tailed(n), 100),
    ]
    folder = os.environ.get("ONEPASS_TEST_DATA")
    if folder:
        found.insert(0, DataSet("census (ACS 2015)", census(Path(folder)), 8))
    else:
        print("ONEPASS_TEST_DATA is not set: the census table is left out\n")
    return found


def one_pass(data: DataSet, seed: int) -> np.ndarray:
    kmeans = KMeans(data.k, random_state=seed)
    for start in range(0, len(data.rows), BATCH_ROWS):
        kmeans.partial_fit(data.rows[start : start + BATCH_ROWS])
    return kmeans.finalize().cluster_centers_


def mini_batches(data: DataSet, seed: int) -> np.ndarray:
    kmeans = MiniBatchKMeans(data.k, random_state=seed, n_init=1)
    for start in range(0, len(data.rows), BATCH_ROWS):
        batch = data.rows[start : start + BATCH_ROWS]
        if len(batch) >= data.k or start:
            kmeans.partial_fit(batch)
    return kmeans.cluster_centers_


def many_passes(data: DataSet, seed: int, n_init: int = 1) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kmeans = FullKMeans(data.k, n_init=n_init, random_state=seed, max_iter=300)
        return kmeans.fit(data.rows).cluster_centers_


def score(fit: Callable[[DataSet, int], np.ndarray], data: DataSet, seed: int) -> dict[str, float]:
    start = time.process_time()
    centers = fit(data, seed)
    seconds = time.process_time() - start
    model = KMeansModel(np.ascontiguousarray(centers, np.float32))
    return {"msd": model.inertia(data.rows) / len(data.rows), "cpu_s": seconds}


def measure(data: DataSet, seeds: range) -> dict[str, Any]:
    best = score(lambda d, s: many_passes(d, s, n_init=10), data, 0)["msd"]
    found: dict[str, Any] = {"data": data.name, "shape": data.rows.shape, "k": data.k}
    for fit in (one_pass, mini_batches, many_passes):
        scores = [score(fit, data, seed) for seed in seeds]
        ratios = [s["msd"] / best for s in scores]
        found[fit.__name__] = {
            "median": statistics.median(ratios),
            "worst": max(ratios),
            "cpu_s": statistics.median(s["cpu_s"] for s in scores),
        }
    return found


def table_row(found: dict[str, Any]) -> str:
    ours, mini, full = (found[name] for name in ("one_pass", "mini_batches", "many_passes"))
    n, d = found["shape"]
    return (
        f"| {found['data']} | {n:,} x {d} | {found['k']} | {ours['median']:.3f} "
        f"({ours['worst']:.3f}) | {mini['median']:.3f} | {full['median']:.3f} "
        f"| {ours['cpu_s']:.2f} | {mini['cpu_s']:.2f} | {full['cpu_s']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of a data set at most")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    print(
        "| data | shape | k | one pass (worst) | MiniBatchKMeans, one pass | KMeans, one start "
        "| CPU s | CPU s | CPU s |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    figures = []
    with threadpool_limits(1):
        for data in data_sets(options.rows):
            figures.append(measure(data, range(options.seeds)))
            print(table_row(figures[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
