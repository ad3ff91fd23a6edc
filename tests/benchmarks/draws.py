"""How much the draw of heavy-tailed rows decides: one pass beside starts of scikit-learn's KMeans.

    python tests/benchmarks/draws.py [--draws 10] [--rows 1000000] [--starts 5]

The tails of `heavy_tailed` have no variance, so a few of a million rows decide what a start that
misses them costs. Prints, for each draw, the mean squared distance of one pass as a ratio to the
median of several starts of KMeans (k-means++, k = 10) and to the best of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
import sklearn.cluster
from data_sets import heavy_tailed
from threadpoolctl import threadpool_limits

from onepass import KMeans

K, BATCH_ROWS = 10, 5000


def measure(rows: np.ndarray, starts: int) -> tuple[float, float]:
    """Return our inertia over the median, and over the least, of the starts."""
    others = [
        sklearn.cluster.KMeans(K, n_init=1, random_state=seed).fit(rows).inertia_
        for seed in range(starts)
    ]
    kmeans = KMeans(K)
    for first in range(0, len(rows), BATCH_ROWS):
        kmeans.partial_fit(rows[first : first + BATCH_ROWS])
    ours = kmeans.finalize().to_model().inertia(rows)
    return ours / statistics.median(others), ours / min(others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    print(f"| draw | / one start | / best of {options.starts} |\n| ---: | ---: | ---: |")
    found = []
    with threadpool_limits(1):
        for draw in range(options.draws):
            rows = heavy_tailed(options.rows, draw).astype(np.float32)
            found.append(measure(rows, options.starts))
            print(f"| {draw} | {found[-1][0]:.3f} | {found[-1][1]:.3f} |", flush=True)
    medians = (statistics.median(ratios) for ratios in zip(*found, strict=True))
    print("| median |" + "".join(f" {median:.3f} |" for median in medians))


if __name__ == "__main__":
    main()
