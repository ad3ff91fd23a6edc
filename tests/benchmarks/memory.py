"""Peak memory of training: against the size of the channel, and against the stated formula.

    python tests/benchmarks/memory.py [--gb 1 10] [--shapes 26x100 400x500x2 ...] [--json FILE]

Trains on drawn channels with `onepass train`, each time in a process of its own, and prints two
tables. The first has growing channels: the peak must not grow with them. The second has a channel
for each DxK or DxKxWORKERS (features, clusters, processes) that is long enough to fill the sample:
its peak, less that of a job of ten rows (the interpreter and its libraries), beside the bytes that
`onepass.KMeans` states. A peak is the resident memory of the largest process; "all processes" adds
up what each has to itself and its share of what several have, sampled twenty times a second.
An empty `--gb` or `--shapes` leaves that table out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onepass import KMeans
from onepass.cluster.parameters import Parameters
from onepass.formats.record_writer import write_rows

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from peers import _descendants as descendants

MIB = 2**20
FILE_BYTES = 256 * MIB
BLOCK_VALUES = 1_000_000
SHAPES = [f"{d}x{k}" for d in (2, 26, 100, 400, 784) for k in (10, 100, 500)]
SHAPES += ["26x100x2", "400x100x2"]
TIME = r'"{}\.time": \{{"sum": ([0-9.e-]+)'

LAUNCHER = """
import json, os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
to_log = [(os.POSIX_SPAWN_DUP2, log, number) for number in (1, 2)]
start = time.perf_counter()
child = os.posix_spawn(sys.executable, sys.argv[2:], os.environ, file_actions=to_log)
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss * 1024]))
"""  # of its own, as a new process counts the peak of the one that starts it as its own


@dataclass(frozen=True)
class Job:
    """What one `onepass train` took.

    Attributes
    ----------
    peak : int
        Bytes resident in the largest process.
    all_processes : int
        Bytes of all of them together; 0 where they were not sampled.
    """

    wall_s: float
    cpu_s: float
    peak: int
    all_processes: int
    log: str

    def stage_s(self, name: str) -> float:
        """Return what a stage took by the job's own clock."""
        found = re.search(TIME.format(name), self.log)
        return float(found[1]) / 1000 if found else 0.0


def configure(base: Path, k: int, n_features: int, n_workers: int | str = "auto") -> None:
    config = base / "input/config"
    config.mkdir(parents=True, exist_ok=True)
    hyperparameters = {"k": k, "feature_dim": n_features, "num_workers": n_workers}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))


def write_channel(base: Path, blocks: Iterator[np.ndarray]) -> int:
    """Write rows as files of about 256 MiB; returns the bytes of all."""
    channel = base / "input/data/train"
    channel.mkdir(parents=True)
    total = 0
    for block in blocks:
        part = channel / f"part_{total // FILE_BYTES:05d}.pbr"
        with part.open("ab") as file:
            total += file.write(write_rows(block))
    return total


def mixture(n_rows: int, n_features: int) -> Iterator[np.ndarray]:
    """Draw a mixture of 50 Gaussians block by block."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, 4, (50, n_features)).astype(np.float32)
    step = BLOCK_VALUES // n_features
    for start in range(0, n_rows, step):
        count = min(step, n_rows - start)
        yield means[rng.integers(0, 50, count)] + rng.standard_normal(
            (count, n_features), np.float32
        )


def train(base: Path, *, sampled: bool = False) -> Job:
    """Run the real command; `sampled` also looks at the memory of all its processes."""
    command = [sys.executable, "-c", LAUNCHER, base / "log"]
    command += [sys.executable, "-m", "onepass.cli.main", "train", "--base", base]
    most = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        while sampled and launcher.poll() is None:
            most = max(most, sum(map(own_bytes, [*descendants(launcher.pid)])))
            time.sleep(0.05)
        code, wall, cpu, peak = json.loads(launcher.communicate()[0])
    log = (base / "log").read_text()
    if code:
        sys.exit(log)
    return Job(wall, cpu, peak, most, log)


def own_bytes(pid: int) -> int:
    """Return what a process has resident to itself, and its share of the rest."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


@contextlib.contextmanager
def folder(parent: Path | None) -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield base
    finally:
        shutil.rmtree(base)


def parameters_of(k: int) -> Parameters:
    """Return the parameters a job of so many clusters has."""
    return KMeans(k, init="random").checked_parameters()


def stated(n_features: int, k: int) -> float:
    """Return the bytes that README states: what `onepass.KMeans` does, and a batch read ahead."""
    d, known = n_features, parameters_of(k)
    m, r = known.n_sampled(d), known.n_in_batch(d)
    b = max(r, 3 * known.n_centers)
    pairs = known.n_centers**2 if known.n_centers <= 2304 else 0
    return m * (10 * d + 80) + 40 * known.n_centers * d + 4 * pairs + 4 * (b + r) * d + 2 * MIB


def measure_shape(shape: str, parent: Path | None, least: Job) -> dict[str, Any]:
    """Train on a channel that is long enough to fill the sample."""
    d, k, n_workers = (*map(int, shape.split("x")), 1)[:3]
    known = parameters_of(k)
    m = known.n_sampled(d)
    n = int(max(1.5 * m, m + 6 * known.n_in_first_batch(d)))
    with folder(parent) as base:
        configure(base, k, d, n_workers)
        write_channel(base, mixture(n, d))
        job = train(base, sampled=True)
    figures = {"d": d, "k": k, "workers": n_workers, "sample": m, "centers": known.n_centers}
    return figures | {
        "rows": n,
        "peak": job.peak - least.peak,
        "all": job.all_processes - least.all_processes,
        "stated": stated(d, k),
    }


def measure_formula(shapes: list[str], parent: Path | None) -> dict[str, Any]:
    with folder(parent) as base:
        configure(base, 2, 1, 1)
        write_channel(base, mixture(10, 1))
        least = train(base, sampled=True)
    print(f"\nA job of ten rows: {least.peak / MIB:.1f} MiB; the figures are above that, in MiB.\n")
    print("| d | k | workers | sample m | peak | stated | peak / stated | all processes |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    found = []
    for shape in shapes:
        found.append(measure_shape(shape, parent, least))
        print(formula_line(found[-1]), flush=True)
    return {"least": least.peak, "shapes": found}


def formula_line(found: dict[str, Any]) -> str:
    counts = " | ".join(f"{found[name]:,}" for name in ("d", "k", "workers", "sample"))
    peak, every, said = (found[name] / MIB for name in ("peak", "all", "stated"))
    return f"| {counts} | {peak:.1f} | {said:.1f} | {peak / said:.2f} | {every:.1f} |"


def measure_growth(options: argparse.Namespace) -> list[dict[str, Any]]:
    print(f"features {options.features}, k {options.k}, {os.cpu_count()} CPUs\n")
    print("| channel GB | rows | peak RSS MiB | wall s | CPU s | GB/s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    found = []
    for gb in options.gb:
        n = int(gb * 1e9) // len(write_rows(np.zeros((1, options.features), np.float32)))
        with folder(options.dir) as base:
            configure(base, options.k, options.features, options.workers)
            n_bytes = write_channel(base, mixture(n, options.features))
            job = train(base)
        print(
            f"| {n_bytes / 1e9:.2f} | {n:,} | {job.peak / MIB:.0f} | {job.wall_s:.1f} "
            f"| {job.cpu_s:.1f} | {n_bytes / job.wall_s / 1e9:.2f} |",
            flush=True,
        )
        figures = {"bytes": n_bytes, "rows": n, "peak_mib": job.peak / MIB}
        found.append(figures | {"wall_s": job.wall_s, "cpu_s": job.cpu_s})
    spread = max(f["peak_mib"] for f in found) / min(f["peak_mib"] for f in found) - 1
    print(f"\nlargest peak over smallest: +{100 * spread:.1f} %")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gb", type=float, nargs="*", default=[1, 10])
    parser.add_argument("--features", type=int, default=100, help="of the growing channels")
    parser.add_argument("--k", type=int, default=10, help="of the growing channels")
    parser.add_argument("--workers", type=int, default=1, help="of the growing channels")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="DxK or DxKxWORKERS")
    parser.add_argument("--dir", type=Path, default=None, help="where to write the channels")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here, too")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = arguments()
    growth = measure_growth(options) if options.gb else []
    formula = measure_formula(options.shapes, options.dir) if options.shapes else {}
    if options.json:
        options.json.write_text(json.dumps({"growth": growth, "formula": formula}, indent=1))


if __name__ == "__main__":
    main()
