"""What a model is worth that is updated every day, and what an update takes.

    python tests/benchmarks/updates.py [--days 10] [--rows 500000] [--seeds 3]

Of several sets: a job for each day's rows, which goes on from the model of the day before, against
one job over all of them. Prints a Markdown table of medians over the seeds: msd of all rows by the
last day's model, over that of one job's; seconds of the first day's job and of the last one's; the
bytes of the archive that goes from day to day.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows

TRAIN = (sys.executable, "-m", "onepass.cli.main", "train", "--base")


class Figures(NamedTuple):
    """Of one set and one seed."""

    msd_ratio: float
    first_s: float
    last_s: float
    n_bytes: int


def stable(rng: np.random.Generator, n_days: int, n: int) -> list[np.ndarray]:
    """Return days that are alike: heavy-tailed rows around 60 places."""
    places = rng.normal(0, 4, (60, 12))
    return [
        (places[rng.integers(0, 60, n)] + rng.standard_t(4, (n, 12))).astype(np.float32)
        for _ in range(n_days)
    ]


def drifting(rng: np.random.Generator, n_days: int, n: int) -> list[np.ndarray]:
    """Return days whose places wander."""
    places, steps = rng.normal(0, 4, (60, 12)), rng.normal(0, 0.5, (n_days, 60, 12))
    return [
        (places + steps[:i].sum(axis=0))[rng.integers(0, 60, n)].astype(np.float32)
        + rng.normal(size=(n, 12)).astype(np.float32)
        for i in range(n_days)
    ]


def appearing(rng: np.random.Generator, n_days: int, n: int) -> list[np.ndarray]:
    """Return days each of which has places of its own."""
    places = rng.normal(0, 6, (n_days, 6, 12))
    return [
        (places[i][rng.integers(0, 6, n)] + rng.normal(size=(n, 12))).astype(np.float32)
        for i in range(n_days)
    ]


SETS = {"alike": stable, "places wander": drifting, "places of their own": appearing}


def train(base: Path, days: list[np.ndarray], before: Path | None) -> float:
    """Run a job; returns the seconds it takes."""
    (base / "input/config").mkdir(parents=True)
    (base / "input/data/train").mkdir(parents=True)
    wanted = {"k": "50", "feature_dim": str(days[0].shape[1]), "num_workers": "1"}
    (base / "input/config/hyperparameters.json").write_text(json.dumps(wanted))
    for i, rows in enumerate(days):
        (base / f"input/data/train/{i:02}.pbr").write_bytes(write_rows(rows))
    if before is not None:
        (base / "input/data/model").mkdir()
        shutil.copy(before, base / "input/data/model/model.tar.gz")
    began = time.perf_counter()
    done = subprocess.run(
        [*TRAIN, str(base)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - began


def measure(folder: Path, days: list[np.ndarray]) -> Figures:
    """Train day by day, and all at once."""
    took, before = [], None
    for i, rows in enumerate(days):
        base = folder / f"day-{i}"
        took.append(train(base, [rows], before))
        before = base / "output/model.tar.gz"
    train(folder / "all", days, None)
    everything = np.concatenate(days)
    daily = load_model(folder / f"day-{len(days) - 1}/model").inertia(everything)
    whole = load_model(folder / "all/model").inertia(everything)
    return Figures(daily / whole, took[0], took[-1], before.stat().st_size if before else 0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--rows", type=int, default=500_000, help="of a day")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print("| days | msd, x one job's | first day s | last day s | last / first | archive MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, make in SETS.items():
        found = []
        for seed in range(asked.seeds):
            days = make(np.random.default_rng(seed), asked.days, asked.rows)
            with tempfile.TemporaryDirectory(prefix="onepass-updates-") as folder:
                found.append(measure(Path(folder), days))
        ratio, first, last, n_bytes = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        print(
            f"| {name} | {ratio:.4f} | {first:.2f} | {last:.2f} | {last / first:.2f} "
            f"| {n_bytes / 1e6:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
