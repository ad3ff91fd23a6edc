"""What is left of a job that is killed, or stopped, at random moments.

    python tests/benchmarks/kills.py [--kills 200] [--stops 50] [--rows 2e6] [--features 12]
        [--clusters 50] [--workers 1 2] [--epochs 1]

A job with checkpoints is killed (SIGKILL) at a random moment, begun again, killed again, and so on,
up to eight times, until it is let to its end: its model must be, byte for byte, that of a job that
was never killed, and its records must be counted once. Then jobs without checkpoints are stopped
(SIGTERM) at random moments: each must leave a model that can be read, and is served; how long that
takes is told.

Prints a Markdown table. Ends with code 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from onepass.artifact.model_file import load_model
from onepass.artifact.state_file import load_state
from onepass.formats.record_writer import write_rows

TRAIN = (sys.executable, "-m", "onepass.cli.main", "train", "--base")
MOST_KILLS_A_JOB = 8
LET_TO_ITS_END = 0.15
N_FILES = 6


class Job:
    """The directories of a job, on data that stays where it is."""

    def __init__(self, base: Path, files: list[Path], wanted: dict[str, str]) -> None:
        self.base, self._files, self._wanted = base, files, wanted

    def lay_out(self, *, checkpoints: bool) -> None:
        """Make the directories anew."""
        shutil.rmtree(self.base, ignore_errors=True)
        (self.base / "input/config").mkdir(parents=True)
        (self.base / "input/data/train").mkdir(parents=True)
        if checkpoints:
            (self.base / "checkpoints").mkdir()
        config = self.base / "input/config/hyperparameters.json"
        config.write_text(json.dumps(self._wanted))
        for file in self._files:
            (self.base / "input/data/train" / file.name).hardlink_to(file)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it."""
        with (self.base / "log").open("w") as log:
            return subprocess.Popen(
                [*TRAIN, str(self.base)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def run(self) -> float:
        """Run it to its end; returns the seconds that takes."""
        began = time.perf_counter()
        if self.start().wait():
            sys.exit((self.base / "log").read_text())
        return time.perf_counter() - began

    @property
    def n_clusters(self) -> int:
        """How many clusters it is to make."""
        return int(self._wanted["k"])

    @property
    def log(self) -> str:
        """What it has told."""
        return (self.base / "log").read_text()

    @property
    def model(self) -> bytes:
        """The bytes of its model."""
        return (self.base / "model/model_algo-1").read_bytes()

    @property
    def n_rows(self) -> int:
        """The rows that its model tells of."""
        return int(load_state(self.base / "model").facts["n_taken"])


def kill(job: Job, n_kills: int, lasts_s: float) -> tuple[int, int, int]:
    """Kill jobs; returns how many they were, how often one went on, and how many went wrong."""
    job.lay_out(checkpoints=False)
    job.run()
    expected, n_rows = job.model, job.n_rows
    n_done = n_jobs = n_gone_on = n_wrong = 0
    while n_done < n_kills:
        job.lay_out(checkpoints=True)
        n_jobs += 1
        for _ in range(MOST_KILLS_A_JOB):
            if random.random() < LET_TO_ITS_END or n_done == n_kills:
                break
            process = job.start()
            time.sleep(random.uniform(0.2, 1.1 * lasts_s))
            process.kill()
            n_done += process.wait() != 0
            n_gone_on += "going on from checkpoint" in job.log
        job.run()
        n_gone_on += "going on from checkpoint" in job.log
        n_wrong += (job.model, job.n_rows) != (expected, n_rows)
    return n_jobs, n_gone_on, n_wrong


def stop(job: Job, n_stops: int, lasts_s: float) -> tuple[list[float], int]:
    """Stop jobs; returns the seconds each took to end, and how many left no model."""
    took, n_wrong = [], 0
    for _ in range(n_stops):
        job.lay_out(checkpoints=False)
        process = job.start()
        time.sleep(random.uniform(0.5, 0.95 * lasts_s))
        process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        code = process.wait()
        took.append(time.perf_counter() - began)
        if code == 143 and "rows had been read, fewer than" in job.log:
            continue  # it had not begun to read
        n_clusters = len(load_model(job.base / "model").centers) if code == 0 else 0
        n_wrong += n_clusters != job.n_clusters
    return took, n_wrong


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--rows", type=float, default=2e6)
    parser.add_argument("--features", type=int, default=12)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=1)
    asked = parser.parse_args()
    random.seed(1)
    rng = np.random.default_rng(1)
    print(
        "| processes | job s | kills | jobs | gone on | other models | stops | s, most | no model |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    n_all_wrong = 0
    with tempfile.TemporaryDirectory(prefix="onepass-kills-") as name:
        folder = Path(name)
        files = [folder / f"{i}.pbr" for i in range(N_FILES)]
        for file in files:
            shape = (int(asked.rows / N_FILES), asked.features)
            file.write_bytes(write_rows(rng.standard_t(4, shape).astype(np.float32)))
        for n_workers in asked.workers:
            wanted = {"k": asked.clusters, "feature_dim": asked.features, "num_workers": n_workers}
            wanted |= {"epochs": asked.epochs, "checkpoint_interval_s": 0}
            job = Job(folder / "job", files, {n: str(v) for n, v in wanted.items()})
            job.lay_out(checkpoints=False)
            lasts_s = job.run()
            n_jobs, n_gone_on, n_wrong = kill(job, asked.kills, lasts_s)
            took, n_lost = stop(job, asked.stops, lasts_s)
            n_all_wrong += n_wrong + n_lost
            print(
                f"| {n_workers} | {lasts_s:.1f} | {asked.kills} | {n_jobs} | {n_gone_on} "
                f"| {n_wrong} | {asked.stops} | {max(took, default=0):.1f} | {n_lost} |"
            )
    sys.exit(n_all_wrong > 0)


if __name__ == "__main__":
    main()
