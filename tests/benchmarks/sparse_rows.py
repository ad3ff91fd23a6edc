"""Clustering sparse rows: time, memory and quality, beside scikit-learn and beside unfolded rows.

    python tests/benchmarks/sparse_rows.py [--shapes 200000x1000x20x20 ...] [--rounds 3]
        [--json FILE]

Shapes are ROWSxFEATURESxVALUESxCLUSTERS: rows of about so many values each, drawn like texts. A
topic for each cluster has words of its own, some common and most rare, beside words that all have;
rows have length 1. Prints Markdown: for each shape and way, CPU and wall seconds, the peak memory
of a process of its own (the rows included), the bytes `onepass.KMeans` states as a share of what
it took beside the rows, and the mean squared distance as a ratio to that of Onepass. One thread;
medians of rounds in which all take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from onepass import KMeans, KMeansModel
from onepass.cluster.parameters import Parameters

SHAPES = ["200000x1000x20x20", "200000x10000x50x50", "200000x100000x100x100"]
WAYS = ["Onepass", "Onepass, unfolded", "KMeans, one start", "MiniBatchKMeans"]
LARGEST_UNFOLDED = 2**30  # bytes
MIB = 2**20


class Shape(NamedTuple):
    """Rows, and what they are clustered to."""

    n_rows: int
    n_features: int
    n_values: int
    n_clusters: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        return cls(*map(int, text.split("x")))


def texts(shape: Shape, seed: int = 0) -> sparse.csr_array:
    """Draw rows of counts, weighted and of length 1."""
    rng = np.random.default_rng(seed)
    n, d, z, k = shape
    n_own = min(d, 20 * z)
    own = np.array([rng.choice(d, n_own, replace=False) for _ in range(k)])
    topics = rng.integers(0, k, n)
    rare = (n_own * rng.random((n, z // 2)) ** 3).astype(int)
    common = (d * rng.random((n, z - z // 2)) ** 3).astype(int)
    columns = np.concatenate([own[topics[:, None], rare], common], axis=1)
    places = np.repeat(np.arange(n), z), columns.ravel()
    rows = sparse.coo_array((np.ones(n * z, np.float32), places), shape=(n, d)).tocsr()
    rows.sum_duplicates()
    rows.indices, rows.indptr = rows.indices.astype("i4"), rows.indptr.astype("i4")
    rows.data = np.log1p(rows.data)
    lengths = np.sqrt(np.bincount(np.repeat(np.arange(n), np.diff(rows.indptr)), rows.data**2))
    rows.data /= np.repeat(lengths, np.diff(rows.indptr)).astype(np.float32)
    return rows


def centers_of(way: str, rows: sparse.csr_array, n_clusters: int) -> np.ndarray:
    """Cluster rows in a way, and return the centers."""
    if way.startswith("Onepass"):
        kmeans = KMeans(n_clusters)
        for start in range(0, rows.shape[0], 5000):
            batch = rows[start : start + 5000]
            kmeans.partial_fit(batch.toarray() if way.endswith("unfolded") else batch)
        return kmeans.finalize().cluster_centers_
    from sklearn import cluster

    if way == "MiniBatchKMeans":
        return cluster.MiniBatchKMeans(n_clusters, random_state=0).fit(rows).cluster_centers_
    return cluster.KMeans(n_clusters, n_init=1, random_state=0).fit(rows).cluster_centers_


def run_one(way: str, path: Path, n_clusters: int) -> dict[str, float]:
    """Cluster the rows of a file, and measure that."""
    rows = sparse.load_npz(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu, wall = time.process_time(), time.perf_counter()
    centers = centers_of(way, rows, n_clusters)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    msd = KMeansModel(centers.astype(np.float32)).inertia(rows) / rows.shape[0]
    return {"cpu_s": cpu, "wall_s": wall, "peak": peak, "taken": peak - before, "msd": msd}


def stated_bytes(shape: Shape) -> int:
    """Return what `onepass.KMeans` says it takes for sparse rows."""
    p = KMeans(shape.n_clusters).checked_parameters()
    n_sampled = min(shape.n_rows, Parameters.n_sampled_sparse(p, shape.n_features))
    batch = p.n_in_first_batch(shape.n_features)
    return (
        n_sampled * (10 * shape.n_values + 80)
        + 18 * p.n_centers * shape.n_features
        + 64 * shape.n_clusters * shape.n_features
        + 16 * batch * shape.n_values
        + 48 * MIB
    )


def measure(shape: Shape, folder: Path, n_rounds: int) -> list[dict[str, Any]]:
    path = folder / "rows.npz"
    # By a process of its own: a new one counts the peak of the one that starts it as its own.
    subprocess.run(
        [sys.executable, __file__, "--make", "x".join(map(str, shape)), path], check=True
    )
    ways = [
        way
        for way in WAYS
        if not way.endswith("unfolded") or 4 * shape.n_rows * shape.n_features <= LARGEST_UNFOLDED
    ]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(n_rounds):
        for way in ways:
            command = [sys.executable, "-W", "ignore", __file__, "--one", way, path]
            done = subprocess.run(
                [*map(str, command), str(shape.n_clusters)],
                capture_output=True, text=True, check=True, env=one_thread,
            )  # fmt: skip
            runs[way].append(json.loads(done.stdout))
    medians = {
        way: {name: statistics.median(run[name] for run in found) for name in found[0]}
        for way, found in runs.items()
    }
    stated = stated_bytes(shape)
    return [
        {"shape": shape, "way": way, "stated": stated, **found} for way, found in medians.items()
    ]


def line(found: dict[str, Any], ours: dict[str, Any]) -> str:
    n, d, z, k = found["shape"]
    stated = f"{found['taken'] / found['stated']:.2f}" if found is ours else ""
    return (
        f"| {n:,} x {d:,}, {z} values, k = {k} | {found['way']} | {found['cpu_s']:.1f} "
        f"| {found['wall_s']:.1f} | {found['peak'] / MIB:,.0f} | {stated} "
        f"| {found['msd'] / ours['msd']:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=SHAPES, metavar="ROWSxFEATURESxVALUESxK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        sparse.save_npz(options.make[1], texts(Shape.parse(options.make[0])), compressed=False)
        return
    if options.one:
        way, path, n_clusters = options.one
        print(json.dumps(run_one(way, Path(path), int(n_clusters))))
        return
    print("| rows | way | CPU s | wall s | peak MiB | taken / stated | msd / ours |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    figures = []
    for text in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Shape.parse(text), Path(folder), options.rounds)
        for one in found:
            print(line(one, found[0]), flush=True)
        figures += found
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
