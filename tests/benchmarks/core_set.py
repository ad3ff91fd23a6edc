"""What the last step should refine the centers on: the choice between four core-sets.

    python tests/benchmarks/core_set.py [--sets outliers heavy-100] [--seeds 5] [--json FILE]

After one pass there are a summary and a sample. Prints a Markdown table: the mean squared distance
over all rows, as a ratio to that of the product, when the last step goes to its end on

calibrated  the sample, the rows of each stratum weighted and shifted so that their weight and their
            mean are those of their center, and the centers that have no rows (what is done)
stratified  the same without the shift
plain       the sample alone, by the weights with which it was drawn
summary     the summary alone, not refined

Sets whose rows all fit the sample are refined on the rows themselves and show nothing here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import DEFAULT_CACHE, DataSet, UnavailableError, load
from threadpoolctl import threadpool_limits

from onepass import KMeans
from onepass.cluster.arrays import WeightedRows
from onepass.cluster.core_set import CoreSet, calibrate
from onepass.cluster.finish import finish
from onepass.cluster.kmeans import DEFAULT_RESERVOIR_BYTES
from onepass.cluster.stream import Stream
from onepass.cluster.trials import TrialSettings

SETS = [
    "cities",
    "flights-10",
    "flights-100",
    "cube",
    "zipf-sorted",
    "outliers",
    "drifting",
    "heavy-10",
    "heavy-100",
    "pixels-100",
    "proteins",
]
BATCH_ROWS, TRIALS = 5000, 20


def summarised(data: DataSet, seed: int, reservoir_bytes: int) -> Stream:
    """Make the pass."""
    kmeans = KMeans(data.k, random_state=seed, reservoir_bytes=reservoir_bytes)
    for first in range(0, len(data.rows), BATCH_ROWS):
        kmeans.partial_fit(data.rows[first : first + BATCH_ROWS])
    stream = kmeans._stream._stream
    stream.flush()
    return stream


def core_sets(stream: Stream) -> dict[str, CoreSet]:
    """Make what the last step could work on."""
    summary, sample = stream.summary.as_rows(), stream._reservoir.sample(0)
    if stream.complete:
        raise UnavailableError("all rows fit the sample")
    fitted = stream._fitted(len(sample.rows))
    calibrated = calibrate(summary, sample, fitted)
    n, strata = int(fitted.sum()), sample.strata[fitted]
    alone = calibrated.data.rows[n:]  # the centers that have no rows
    stratified = np.concatenate([sample.rows[fitted], alone])
    plain = sample.weights[fitted] * (sample.weights.sum() / sample.weights[fitted].sum())
    assert len(alone) == len(summary.rows) - len(np.unique(strata))
    own = np.arange(len(summary.rows), dtype=np.int32)
    return {
        "calibrated": calibrated,
        "stratified": CoreSet(WeightedRows(stratified, calibrated.data.weights), calibrated.strata),
        "plain": CoreSet(WeightedRows(sample.rows[fitted], plain), strata),
        "summary": CoreSet(summary, own),
    }


def measure(data: DataSet, seeds: int, reservoir_bytes: int) -> dict[str, list[float]]:
    """Return what each core-set leads to, for each seed."""
    settings = TrialSettings(data.k, "k-means++", TRIALS, 300, 1e-4, 1)
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        stream = summarised(data, seed, reservoir_bytes)
        for name, core_set in core_sets(stream).items():
            seeds_of_trials = np.random.SeedSequence((seed, 1))
            ended = finish(stream.summary.as_rows(), core_set, settings, seeds_of_trials)
            found.setdefault(name, []).append(data.msd(ended.centers))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--reservoir-bytes", type=int, default=DEFAULT_RESERVOIR_BYTES)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    print("| data | calibrated | stratified | plain | summary |\n| --- |" + " ---: |" * 4)
    figures = {}
    with threadpool_limits(1):
        for name in options.sets:
            try:
                data = load(name, options.cache)
                found = measure(data, options.seeds, options.reservoir_bytes)
            except UnavailableError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            figures[name] = found
            base = statistics.median(found["calibrated"])
            cells = (
                f"{statistics.median(msds) / base:.3f} ({max(msds) / base:.3f})"
                for msds in found.values()
            )
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
