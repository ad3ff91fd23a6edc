"""Peak memory and time of training: on one file, on very many, on a giant one, and packed.

    python tests/benchmarks/files.py [--rows 1000000] [--files 10000] [--workers 1] [--json FILE]

Runs `onepass train` in a process of its own on the same rows in one file and in many, compressed,
as CSV, and on ten times as many rows in one file; prints Markdown. A peak is the resident memory of
the largest process, see memory.py. Files lie in the page cache; times are medians of rounds, in
which all take turns.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from isal import igzip

from onepass.formats.record_writer import write_rows

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from memory import MIB, Job, configure, folder, mixture, train

RECORDS, CSV = "application/x-recordio-protobuf", "text/csv;label_size=0"


@dataclass(frozen=True)
class Case:
    """One channel.

    Attributes
    ----------
    write : callable
        Rows to the bytes of them.
    """

    title: str
    n_rows: int
    n_files: int = 1
    content_type: str = RECORDS
    write: Callable[[np.ndarray], bytes] = write_rows


def csv_of(rows: np.ndarray) -> bytes:
    out = io.BytesIO()
    table = pa.table([pa.array(column) for column in rows.T], [str(j) for j in range(len(rows.T))])
    pa.csv.write_csv(table, out, pa.csv.WriteOptions(include_header=False))
    return out.getvalue()


def packed(rows: np.ndarray) -> bytes:
    return igzip.compress(write_rows(rows), 2)  # a member for each block


def cases(n_rows: int, n_files: int) -> Iterator[Case]:
    yield Case("one file", n_rows)
    yield Case("many files", n_rows, n_files)
    yield Case("one file of ten times the rows", 10 * n_rows)
    yield Case("one file, gzip", n_rows, write=packed)
    yield Case("many files, gzip", n_rows, n_files, write=packed)
    yield Case("CSV, one file", n_rows, 1, CSV, csv_of)
    yield Case("CSV, many files", n_rows, n_files, CSV, csv_of)


def make(base: Path, case: Case, options: argparse.Namespace) -> int:
    """Write the channel and what is said of it; return its bytes."""
    configure(base, options.k, options.features, options.workers)
    channel = base / "input/data/train"
    channel.mkdir(parents=True)
    described = {"train": {"ContentType": case.content_type}}
    (base / "input/config/inputdataconfig.json").write_text(json.dumps(described))
    n_bytes = n_before = 0
    for block in mixture(case.n_rows, options.features):
        ends = n_before + np.arange(1, len(block) + 1)
        numbers = (ends - 1) * case.n_files // case.n_rows
        for number in np.unique(numbers):
            with (channel / f"part-{number:06}").open("ab") as file:
                n_bytes += file.write(case.write(block[numbers == number]))
        n_before += len(block)
    return n_bytes


def line(case: Case, n_bytes: int, jobs: list[Job]) -> dict[str, Any]:
    peak = max(job.peak for job in jobs) / MIB
    wall, cpu = (
        statistics.median(getattr(job, name) for job in jobs) for name in ("wall_s", "cpu_s")
    )
    stage = statistics.median(job.stage_s("read_and_summarise") for job in jobs)
    print(
        f"| {case.title} | {case.n_files:,} | {case.n_rows:,} | {n_bytes / 1e6:,.0f} "
        f"| {peak:.0f} | {wall:.2f} | {cpu:.2f} | {stage:.2f} |",
        flush=True,
    )
    figures = {"title": case.title, "files": case.n_files, "rows": case.n_rows, "bytes": n_bytes}
    return figures | {"peak_mib": peak, "wall_s": wall, "cpu_s": cpu, "pass_s": stage}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=26)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=None, help="where to write the channels")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here, too")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = arguments()
    print(f"{options.features} features, k = {options.k}, {options.workers} workers\n")
    print("| channel | files | rows | MB | peak MiB | wall s | CPU s | pass s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with folder(options.dir) as base:
        made = []
        for i, case in enumerate(cases(options.rows, options.files)):
            made.append((base / str(i), case, make(base / str(i), case, options), list[Job]()))
        for _ in range(options.rounds):
            for place, _, _, jobs in made:
                jobs.append(train(place))
        figures = [line(case, n_bytes, jobs) for _, case, n_bytes, jobs in made]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
