"""What it costs to have a job done by several hosts, and what is gained by it.

    python tests/benchmarks/hosts.py [--rows 160e6] [--features 8] [--clusters 100] [--rounds 3]

Does one job in four ways, one after the other, the order changing from round to round:

one worker        this process alone
two processes     of one host, which it forks
two hosts         at two addresses of this machine, with a worker each, by way of Dask
a cluster         of two workers that runs already (train --scheduler)

Prints a Markdown table of medians: wall seconds, and those of processors; the ratio to one worker;
seconds until the workers begin to read; records counted. Of a file that is there many times under
other names, so that it is read from memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from distributed import LocalCluster

from onepass.formats.record_writer import write_rows

TRAIN = (sys.executable, "-m", "onepass.cli.main", "train", "--base")
FILE_ROWS = 500_000
BEGUN = re.compile(r"share the data|evaluated to")


class Figures(NamedTuple):
    """What one way of doing a job has taken."""

    wall_s: float
    cpu_s: float
    start_s: float
    n_rows: int


def lay_out(folder: Path, rows: Path, n_files: int, hosts: list[str], **more: object) -> list[Path]:
    """Make the directories of a job's hosts."""
    bases = []
    for host in hosts:
        base = folder / host
        (base / "input/config").mkdir(parents=True)
        (base / "input/data/train").mkdir(parents=True)
        for i in range(n_files):
            os.link(rows, base / f"input/data/train/{i:04}.pbr")
        resources = {"current_host": host, "hosts": hosts}
        for name, content in {"hyperparameters": more, "resourceconfig": resources}.items():
            (base / f"input/config/{name}.json").write_text(json.dumps(content))
        bases.append(base)
    return bases


def measure(bases: list[Path], *options: str) -> Figures:
    """Run a job to its end."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    followers = [subprocess.Popen([*TRAIN, base], stderr=subprocess.DEVNULL) for base in bases[1:]]
    leader = subprocess.Popen([*TRAIN, bases[0], *options], stderr=subprocess.PIPE, text=True)
    begun, lines = 0.0, []
    for line in leader.stderr:
        lines.append(line)
        if not begun and BEGUN.search(line):
            begun = time.perf_counter() - start
    for process in (leader, *followers):
        assert process.wait() == 0, "".join(lines)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    n_rows = int(re.search(r"processed a total of (\d+) examples", "".join(lines))[1])
    return Figures(wall, cpu, begun, n_rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=160e6)
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    n_files = max(1, int(asked.rows) // FILE_ROWS)
    n = min(FILE_ROWS, int(asked.rows))
    wanted = {"k": asked.clusters, "feature_dim": asked.features}
    found: dict[str, list[Figures]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        folder = Path(name)
        rng = np.random.default_rng(0)
        rows = folder / "rows"
        rows.write_bytes(write_rows(rng.normal(size=(n, asked.features)).astype(np.float32)))
        ways = {
            "one worker": ([], {"num_workers": 1}, 1),
            "two processes": ([], {"num_workers": 2}, 1),
            "two hosts": ([], {"num_workers": 1}, 2),
            "a cluster": (["--scheduler", cluster.scheduler_address], {}, 1),
        }
        for i in range(asked.rounds):
            order = list(ways)[i % 4 :] + list(ways)[: i % 4]
            for way in order:
                options, more, n_hosts = ways[way]
                hosts = [f"127.0.0.{j + 1}" for j in range(n_hosts)]
                place = folder / f"{way.replace(' ', '-')}-{i}"
                bases = lay_out(place, rows, n_files, hosts, **wanted, **more)
                found.setdefault(way, []).append(measure(bases, *options))
    print("| | wall s | CPU s | x one worker | until reading, s | records |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    medians = {
        way: Figures(*map(statistics.median, zip(*f, strict=True))) for way, f in found.items()
    }
    alone = medians["one worker"].wall_s
    for way in ways:
        wall, cpu, start, n_rows = medians[way]
        # The processes of a cluster are not ours: their seconds are not counted.
        cpu_cell = "" if way == "a cluster" else f"{cpu:.1f}"
        print(
            f"| {way} | {wall:.1f} | {cpu_cell} | {wall / alone:.3f} | {start:.1f} | {n_rows:,} |"
        )


if __name__ == "__main__":
    main()
