"""What `extra_center_factor` is worth: the summary's size against quality and cost.

    python tests/benchmarks/factor.py [--sets flights-10 outliers:20] [--seeds 5] [--json FILE]

A set is a name of `data_sets.py`, with another number of clusters behind a colon if wanted. Prints
a Markdown table: for each data set and each factor, the mean squared distance over all rows as a
ratio to that of `auto`, median over seeds, and the CPU seconds of the fit. One pass, one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import DEFAULT_CACHE, DataSet, UnavailableError, load
from threadpoolctl import threadpool_limits

from onepass import KMeans
from onepass.cluster.parameters import auto_center_factor

SETS = [
    "flights-10",
    "heavy-10",
    "outliers:10",
    "outliers:20",
    "cities",
    "zipf-sorted",
    "pixels-100",
]
CENTERS = [100, 200, 500, 1000, 2000]
BATCH_ROWS = 5000


def fit(data: DataSet, factor: int, seed: int) -> tuple[float, float]:
    """Return the exact mean squared distance of one fit, and its CPU seconds."""
    start = time.process_time()
    kmeans = KMeans(data.k, center_factor=factor, random_state=seed)
    for first in range(0, len(data.rows), BATCH_ROWS):
        kmeans.partial_fit(data.rows[first : first + BATCH_ROWS])
    centers = kmeans.finalize().cluster_centers_
    seconds = time.process_time() - start
    return data.msd(centers), seconds


def measure(data: DataSet, seeds: range) -> dict[str, Any]:
    """Fit with each factor, `auto` among them."""
    auto = auto_center_factor(data.k)
    factors = sorted({auto, *(max(1, n // data.k) for n in CENTERS)})
    fits = {factor: [fit(data, factor, seed) for seed in seeds] for factor in factors}
    base = statistics.median(msd for msd, _ in fits[auto])
    return {
        "data": data.name,
        "k": data.k,
        "auto": auto,
        "factors": {
            factor: {
                "ratio": statistics.median(msd for msd, _ in found) / base,
                "cpu_s": statistics.median(seconds for _, seconds in found),
            }
            for factor, found in fits.items()
        },
    }


def load_set(word: str, cache: Path) -> DataSet:
    """Load a set by its name, with the number of clusters behind a colon."""
    name, _, k = word.partition(":")
    data = load(name, cache)
    return replace(data, name=f"{name}, k = {k}", k=int(k)) if k else data


def table_row(found: dict[str, Any]) -> str:
    cells = [
        f"{factor}{' (auto)' if factor == found['auto'] else ''}: {one['ratio']:.3f}, "
        f"{one['cpu_s']:.2f} s"
        for factor, one in found["factors"].items()
    ]
    return f"| {found['data']} | {found['k']} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    print(f"| data | k | {' | '.join('factor: msd, CPU' for _ in CENTERS)} |")
    print(f"| --- | ---: |{' --- |' * len(CENTERS)}")
    figures = []
    with threadpool_limits(1):
        for name in options.sets:
            try:
                figures.append(measure(load_set(name, options.cache), range(options.seeds)))
            except UnavailableError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            print(table_row(figures[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
