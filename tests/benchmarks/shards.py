"""What a model of many shards is worth, and what it costs to unite them.

    python tests/benchmarks/shards.py [--sets outliers heavy-100] [--shards 1 2 8 64] [--seeds 3]
    python tests/benchmarks/shards.py --unions [--centers 1000] [--features 400]

The first prints the exact mean squared distance of models of so many shards, each of neighbouring
rows, as a ratio to that of one stream over the same rows in the same order: the median over seeds,
the worst, and the ratio of the means. Rows are in random order, and sorted by their first principal
component, so that no shard has seen what another has.

The second times unions: of two summaries of so many centers with their samples, and of all of 64 as
a tree, one after the other; and what that makes for 10, 100 and 1,000 workers, each of which unites
its own pairs, with a network of 10 Gbit/s between them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import DEFAULT_CACHE, UnavailableError, load

from onepass import KMeans
from onepass.distributed.plan import tree

SETS = ["outliers", "heavy-100", "flights-100", "cities", "proteins"]
ORDERS = ("shuffled", "sorted")
BYTES_A_SECOND = 10e9 / 8


def ordered(rows: np.ndarray, order: str) -> np.ndarray:
    """Return rows in random order, or sorted by their first principal component."""
    if order == "shuffled":
        return np.random.default_rng(0).permutation(rows)
    centered = rows - rows.mean(axis=0)
    axis = np.linalg.eigh(np.cov(centered[:: max(1, len(rows) // 50_000)].T))[1][:, -1]
    return rows[np.argsort(centered @ axis, kind="stable")]


def msd_of(rows: np.ndarray, k: int, n_shards: int, seed: int) -> float:
    """Return the exact mean squared distance of a model of so many shards."""
    whole = KMeans(k, random_state=seed)
    if n_shards == 1:
        whole.partial_fit(rows)
    else:
        parts = np.array_split(rows, n_shards)
        whole.merge(
            tree([whole.shard(n_shards).partial_fit(part).flush() for part in parts], KMeans.united)
        )
    return -whole.finalize().score(rows) / len(rows)


def print_quality(names: list[str], shards: list[int], n_seeds: int, cache: Path) -> None:
    """Print a line for each set and order."""
    print(f"| set | order | {' | '.join(f'{n} shards' for n in shards)} |")
    print(f"| --- | --- |{' ---: |' * len(shards)}")
    for name in names:
        try:
            data = load(name, cache)
        except UnavailableError as error:
            print(f"| {name} | not run: {error} |")
            continue
        for order in ORDERS:
            rows = ordered(data.rows, order)
            alone = [msd_of(rows, data.k, 1, seed) for seed in range(n_seeds)]
            cells = []
            for n in shards:
                found = alone if n == 1 else [msd_of(rows, data.k, n, s) for s in range(n_seeds)]
                ratios = [f / a for f, a in zip(found, alone, strict=True)]
                means = statistics.mean(found) / statistics.mean(alone)
                cells.append(f"{statistics.median(ratios):.4f} ({max(ratios):.4f}; {means:.4f})")
            print(f"| {name}, {len(rows):,} x {rows.shape[1]}, k = {data.k} | {order} |", end="")
            print(f" {' | '.join(cells)} |", flush=True)


def summaries(n: int, n_centers: int, d: int) -> list[KMeans]:
    """Make summaries that are full, of rows that are not clustered."""
    k = n_centers // 10
    parameters = KMeans(k, center_factor=10, batch_size=1000)
    made = []
    for seed in range(n):
        rows = np.random.default_rng(seed).normal(size=(4 * n_centers, d)).astype(np.float32)
        made.append(parameters.shard(n).partial_fit(rows).flush())
    return made


def n_bytes_of(kmeans: KMeans) -> int:
    """Return what goes over a network to unite an instance with another."""
    stream = kmeans._stream._stream
    summary, sample = stream.summary, stream._reservoir.rows
    return int(summary.centers.nbytes + summary.sums.nbytes + sample.nbytes + 28 * len(sample))


def print_unions(n_centers: int, d: int) -> None:
    """Print what unions cost."""
    parts = summaries(64, n_centers, d)
    seconds: list[float] = []

    def unite(one: KMeans, other: KMeans) -> KMeans:
        start = time.perf_counter()
        union = one.united(other)
        seconds.append(time.perf_counter() - start)
        return union

    start = time.perf_counter()
    whole = tree(parts, unite)
    total = time.perf_counter() - start
    rounds = [seconds[:32], seconds[32:48], seconds[48:56], seconds[56:60], seconds[60:62]]
    rounds.append(seconds[62:])
    sent = n_bytes_of(whole) / BYTES_A_SECOND
    print(f"{n_centers} centers, {d} features; 64 summaries: {total:.2f} s one after the other,")
    print("a union of each round (s):", ", ".join(f"{statistics.mean(r):.3f}" for r in rounds))
    print(f"what the last union is made of is sent in {sent:.3f} s at most")
    print("\n| workers | rounds | unions of all rounds (s) | with the network (s) |")
    print("| ---: | ---: | ---: | ---: |")
    for n in (10, 100, 1000):
        depth = math.ceil(math.log2(n))
        cost = depth * max(statistics.mean(r) for r in rounds)
        print(f"| {n:,} | {depth} | {cost:.2f} | {cost + depth * sent:.2f} |")


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--shards", nargs="+", type=int, default=[2, 8, 64])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--unions", action="store_true")
    parser.add_argument("--centers", type=int, default=1000)
    parser.add_argument("--features", type=int, default=400)
    asked = parser.parse_args()
    if asked.unions:
        print_unions(asked.centers, asked.features)
    else:
        print_quality(asked.sets, asked.shards, asked.seeds, asked.cache)


if __name__ == "__main__":
    main()
