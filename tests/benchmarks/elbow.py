"""The elbow of one pass, beside a job for one k alone, and beside scikit-learn's fits of every k.

    python tests/benchmarks/elbow.py [--sets heavy-10 news-10] [--k 2-12] [--rounds 3]

Each set is written as RecordIO-protobuf, and two jobs are run as processes, in turn: one for the
largest k alone, and one with `k_sweep`. Then scikit-learn clusters the rows in memory for each k,
the best of ten starts (`n_init=10`). Prints what each takes, the median of the rounds, and for each
k the exact mean squared distance of the centers as a ratio to scikit-learn's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import DEFAULT_CACHE, UnavailableError, load

from onepass import KMeans, KMeansModel
from onepass.cli.numbers import parse_numbers
from onepass.formats.record_writer import write_rows


class Job:
    """A job on some rows."""

    def __init__(self, base: Path, rows: np.ndarray) -> None:
        self._base, self._d = base, rows.shape[1]
        (base / "input/config").mkdir(parents=True)
        (base / "input/data/train").mkdir(parents=True)
        (base / "input/data/train/rows.pbr").write_bytes(write_rows(rows))

    def run(self, **wanted: str) -> float:
        """Run it; returns the seconds it took."""
        given = {"feature_dim": str(self._d)} | wanted
        (self._base / "input/config/hyperparameters.json").write_text(json.dumps(given))
        command = [sys.executable, "-m", "onepass.cli.main", "train", "--base", str(self._base)]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began

    def knee(self) -> str:
        """Return what it has found."""
        told = json.loads((self._base / "output/data/elbow.json").read_text())["knee"]
        return f"{told['k']}, {told['confidence']:.0%} sure" if told["k"] else "none"


def peers(rows: np.ndarray, ks: tuple[int, ...]) -> tuple[dict[int, float], float]:
    """Return what scikit-learn reaches for each k, and the seconds of all."""
    from sklearn.cluster import KMeans as Peer

    began = time.perf_counter()
    found = {k: Peer(k, n_init=10, random_state=0).fit(rows).inertia_ / len(rows) for k in ks}
    return found, time.perf_counter() - began


def print_set(name: str, ks: tuple[int, ...], n_rounds: int, cache: Path, *, alone: bool) -> None:
    """Print the lines of one set."""
    data = load(name, cache)
    rows = data.rows
    alone_s, swept_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), rows)
        for _ in range(n_rounds):
            alone_s.append(job.run(k=str(max(ks)), report="false"))
            swept_s.append(job.run(k=str(max(ks)), report="false", k_sweep=",".join(map(str, ks))))
        knee = job.knee()
    one, all_of_them = statistics.median(alone_s), statistics.median(swept_s)
    print(f"\n{name}, {rows.shape[0]:,} x {rows.shape[1]}; knee: {knee}")
    print(f"k = {max(ks)} alone {one:.2f} s, the elbow of {len(ks)} {all_of_them:.2f} s, ", end="")
    print(f"{all_of_them / one:.2f} of it", flush=True)
    elbow = KMeans(max(ks), random_state=0).partial_fit(rows).sweep(ks)
    if alone:
        return
    found, seconds = peers(rows, ks)
    print(f"scikit-learn, {len(ks)} fits of ten starts: {seconds:.1f} s")
    print("| k | " + " | ".join(map(str, ks)) + " |")
    print("| --- |" + " ---: |" * len(ks))
    ratios = [KMeansModel(p.centers).inertia(rows) / len(rows) / found[p.n_clusters] for p in elbow]
    print("| msd / scikit-learn's | " + " | ".join(f"{ratio:.4f}" for ratio in ratios) + " |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["heavy-10", "news-10"])
    parser.add_argument("--k", default="2-12")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--alone", action="store_true", help="without scikit-learn")
    asked = parser.parse_args()
    ks = parse_numbers(None, None, asked.k)
    for name in asked.sets:
        try:
            print_set(name, ks, asked.rounds, asked.cache, alone=asked.alone)
        except UnavailableError as error:
            print(f"{name}: not run: {error}")


if __name__ == "__main__":
    main()
