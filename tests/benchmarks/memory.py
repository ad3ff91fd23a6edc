"""Peak memory of training against the size of the channel: it must not grow with it.

    python tests/benchmarks/memory.py [--gb 1 10] [--features 100] [--k 10] [--json FILE]

Writes a channel of RecordIO-protobuf for each size, trains on it with `onepass train` in a process
of its own, deletes it, and prints a table of what the operating system counted for that process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from onepass.formats.record_writer import write_rows

FILE_BYTES = 256 * 2**20


def write_channel(base: Path, n_bytes: int, n_features: int, k: int) -> int:
    """Write a job whose channel holds a mixture of 50 Gaussians; returns its bytes."""
    channel, config = base / "input/data/train", base / "input/config"
    channel.mkdir(parents=True)
    config.mkdir(parents=True)
    hyperparameters = {"k": k, "feature_dim": n_features}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    rng = np.random.default_rng(0)
    means = rng.normal(0, 4, (50, n_features)).astype(np.float32)
    record_bytes = len(write_rows(means[:1]))
    rows_of_file = FILE_BYTES // record_bytes
    written = part = 0
    while written < n_bytes:
        n = min(rows_of_file, -(-(n_bytes - written) // record_bytes))
        with (channel / f"part_{part:05d}.pbr").open("wb") as file:
            for start in range(0, n, 20_000):
                count = min(20_000, n - start)
                rows = means[rng.integers(0, 50, count)]
                rows = rows + rng.standard_normal((count, n_features), np.float32)
                written += file.write(write_rows(rows))
        part += 1
    return written


def train(base: Path) -> tuple[float, float, float]:
    """Train; returns peak resident MiB, wall seconds and CPU seconds of the process."""
    started = time.perf_counter()
    arguments = [sys.executable, "-m", "onepass.cli.main", "train", "--base", str(base)]
    with (base / "log").open("wb") as log:
        to_log = [(os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        child = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=to_log)
        _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit((base / "log").read_text())
    wall = time.perf_counter() - started
    return usage.ru_maxrss / 1024, wall, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gb", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--dir", type=Path, default=None, help="where to write the channels")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here, too")
    options = parser.parse_args()
    figures = []
    print(f"features {options.features}, k {options.k}, {os.cpu_count()} CPUs\n")
    print("| channel GB | rows | peak RSS MiB | wall s | CPU s | GB/s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for gb in options.gb:
        base = Path(tempfile.mkdtemp(dir=options.dir))
        try:
            n_bytes = write_channel(base, int(gb * 1e9), options.features, options.k)
            peak, wall, cpu = train(base)
        finally:
            shutil.rmtree(base)
        n_rows = n_bytes // len(write_rows(np.zeros((1, options.features), np.float32)))
        print(
            f"| {n_bytes / 1e9:.2f} | {n_rows:,} | {peak:.0f} | {wall:.1f} | {cpu:.1f} "
            f"| {n_bytes / wall / 1e9:.2f} |",
            flush=True,
        )
        figures.append(
            {"bytes": n_bytes, "rows": n_rows, "peak_mib": peak, "wall_s": wall, "cpu_s": cpu}
        )
    spread = max(f["peak_mib"] for f in figures) / min(f["peak_mib"] for f in figures) - 1
    print(f"\nlargest peak over smallest: +{100 * spread:.1f} %")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
