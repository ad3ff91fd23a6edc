"""What training costs: beside other algorithms, beside what it cannot go below, and by the row.

    python tests/benchmarks/speed.py [--quick] [--shapes heavy-10 ...] [--parts floor ...]

Prints Markdown; `--json FILE` writes every run. Figures are medians of `--rounds` in which all that
is compared takes turns; CPU seconds are user and system of all processes and threads. The parts:

peers    `onepass train` on RecordIO-protobuf in a process of its own, start of Python included, and
         with two. The others fit rows in memory; CPU seconds of getting them there stand beside:
         by our decoder, or out of a .npy. Stages are by the job's own clock; msd is in float64.
workers  What two processes gain, from the same runs, where there are 64 MiB of data or more.
floor    Decoding, and the search of every row among as many centers as the summary may have, by the
         fastest of faiss, of products of tiles with argmin, and of our own kernel; the pass, and
         the pass with the last step, as a multiple: 1.5 at most from 100 features, 2.5 to 32
         features and 100 clusters. Beside it the multiples of what others take for the search.
flat     Rows a second of the pass against the number of rows: it must not fall.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from onepass import KMeans, load_model
from onepass.cluster.kernels.cpu import kernels
from onepass.cluster.parameters import auto_batch_size
from onepass.data.batches import BatchReader
from onepass.data.sources import Span, n_bytes_of, whole_files

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import WIDE, DataSet, Mixture, heavy_tailed
from memory import MIB, configure, folder, parameters_of, train, write_channel
from peers import PEERS, runs

BATCH_ROWS, BLOCK_ROWS, TILE_VALUES = 5_000, 20_000, 2**19
LARGE_BYTES = 64 * MIB
OTHERS = ("kmeans", "minibatch", "faiss", "faiss-plus-plus")
PARTS = ("peers", "workers", "floor", "flat")
STAGES = ("read_and_summarise", "final_centers")
FIGURES = ("cpu_s", "wall_s", "peak", "msd", *STAGES)

HEAVY = 1_000_000
SHAPES: dict[str, tuple[Callable[[], np.ndarray], int]] = {
    "heavy-10": (lambda: heavy_tailed(HEAVY), 10),
    "heavy-100": (lambda: heavy_tailed(HEAVY), 100),
    "narrow-10": (Mixture(1_000_000, 10, 100).draw, 10),
    "narrow-100": (Mixture(1_000_000, 10, 100).draw, 100),
    "places-100": (lambda: heavy_tailed(HEAVY)[:, 2:4], 100),  # around sixty towns
    "middle-100": (Mixture(500_000, 100, 100).draw, 100),
    "wide-500": (WIDE.draw, 500),
    "long-10": (lambda: heavy_tailed(16 * HEAVY), 10),
    "long-100": (Mixture(6_000_000, 100, 100).draw, 100),
    "quick-10": (lambda: heavy_tailed(100_000), 10),
    "quick-100": (Mixture(30_000, 100, 100).draw, 100),
}
"""How rows are drawn, and k."""
STANDARD, QUICK = [*SHAPES][:9], [*SHAPES][9:]

Runs = dict[str, list[dict[str, float]]]
"""For each thing that was timed, its figures in each round."""


@dataclass(frozen=True)
class Case:
    """A shape's rows, in memory and in files, and what was measured of it."""

    data: DataSet
    base: Path
    spans: list[Span]
    compared: Runs = field(default_factory=lambda: defaultdict(list))
    floor: Runs = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, name: str, rows: np.ndarray, k: int, base: Path) -> Case:
        rows = np.ascontiguousarray(rows, np.float32)
        blocks = (rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS))
        write_channel(base, blocks)
        files = sorted((base / "input/data/train").iterdir())
        title = f"{name}: {len(rows):,} x {rows.shape[1]}, k = {k}"
        return cls(DataSet(title, rows, k, ""), base, whole_files(files))

    def summarise(self, n_rows: int) -> KMeans:
        """Make the pass over the first rows as `onepass train` does, in this process."""
        kmeans = KMeans(self.data.k, init="random")
        n, d = self.data.rows.shape
        left, spans = n_bytes_of(self.spans) // n * n_rows, []
        for span in self.spans:
            spans.append(span._replace(stop=min(span.stop, left)))
            left -= spans[-1].stop
        for batch in BatchReader(spans, d, auto_batch_size(d)):
            kmeans.partial_fit(batch)
        return kmeans


def cpu_of(function: Callable[[], object]) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def median(rounds: Iterable[dict[str, float]], name: str = "cpu_s") -> float:
    known = [figures[name] for figures in rounds if name in figures]
    return statistics.median(known) if known else np.nan


def head(columns: str) -> str:
    return f"| | {columns} |\n|:---|{' ---: |' * (columns.count('|') + 1)}"


def line(title: str, values: Iterable[float | str]) -> str:
    words = (v if isinstance(v, str) else f"{v:.3g}" for v in values)
    return f"| {title} | {' | '.join(words)} |".replace("nan", "")


def ours(case: Case, n_workers: int) -> dict[str, float]:
    """Run the real command."""
    configure(case.base, case.data.k, case.data.rows.shape[1], n_workers)
    job = train(case.base)
    msd = case.data.msd(load_model(case.base / "model").centers)
    figures = {"cpu_s": job.cpu_s, "wall_s": job.wall_s, "peak": job.peak, "msd": msd}
    return figures | {name: job.stage_s(name) for name in STAGES}


def other(case: Case, peer: str, threads: int, seed: int, limit: float) -> dict[str, float]:
    """Fit rows in memory by another algorithm; without figures where it takes too long."""
    files = {"out": case.base / "centers.npy", "log": case.base / "complaints"}
    limits = {"threads": threads, "max_seconds": limit, "python": Path(sys.executable)}
    (run,) = runs(peer, case.base / "rows.npy", case.data.k, [seed], **files, **limits)
    if run.problem:
        print(f"{case.data.name}, {PEERS[peer].title}: {run.problem}", file=sys.stderr)
        return {}
    msd = case.data.msd(np.load(case.base / "centers.npy", allow_pickle=False))
    return {"cpu_s": run.cpu_s, "wall_s": run.wall_s, "peak": run.rss_peak, "msd": msd}


def compare(case: Case, options: argparse.Namespace) -> None:
    """Run every algorithm once a round."""
    np.save(case.base / "rows.npy", case.data.rows)
    (n, d), found = case.data.rows.shape, case.compared
    for seed in range(options.rounds):
        found["decode"].append(cpu_of(lambda: next(iter(BatchReader(case.spans, d, n)))))
        found["npy"].append(cpu_of(lambda: np.load(case.base / "rows.npy", allow_pickle=False)))
        for threads in (1, 2):
            found[f"Onepass/{threads}"].append(ours(case, threads))
            for peer in options.peers if "peers" in options.parts else ():
                result = other(case, peer, threads, seed, options.max_seconds)
                found[f"{PEERS[peer].title}/{threads}"].append(result)
    # Looking at the memory of several processes takes time: a run of its own.
    found["sampled"] = [{"peak": train(case.base, sampled=True).all_processes}]


def print_comparison(case: Case) -> None:
    found, first = case.compared, case.compared["Onepass/1"]
    together = median(found["sampled"], "peak") / MIB
    print(f"\n**{case.data.name}**; two processes take {together:.0f} MiB together at the peak.\n")
    columns = "threads | CPU s | decode s | .npy s | CPU + decode, / ours | wall s | peak MiB"
    print(head(f"{columns} | pass s | last step s | msd / ours"))
    for way, rounds in ((way, rounds) for way, rounds in found.items() if "/" in way):
        title, threads = way.split("/")
        read = ("", "") if title == "Onepass" else ("decode", "npy")
        before = [median(found.get(what, ())) for what in read]
        cpu, wall, peak, msd, *stages = (median(rounds, name) for name in FIGURES)
        ratio = (cpu + np.nan_to_num(before[0])) / median(first)
        better = f"{msd / median(first, 'msd'):.4f}"
        print(line(title, [threads, cpu, *before, ratio, wall, peak / MIB, *stages, better]))


def print_workers(cases: Iterable[Case]) -> None:
    print("\n**Two processes over one**, wall seconds\n")
    print(head("MiB | one | two | ratio | pass: one | two | ratio | ratios of rounds"))
    for case in (case for case in cases if n_bytes_of(case.spans) >= LARGE_BYTES):
        both = [case.compared[f"Onepass/{n}"] for n in (1, 2)]
        columns: list[float | str] = [n_bytes_of(case.spans) / MIB]
        for what in ("wall_s", STAGES[0]):
            one, two = (median(rounds, what) for rounds in both)
            columns += [one, two, two / one]
        ratios = (f"{b['wall_s'] / a['wall_s']:.2f}" for a, b in zip(*both, strict=True))
        print(line(case.data.name, [*columns, ", ".join(ratios)]))


def multiplied(rows: np.ndarray, centers: np.ndarray, *, least: bool = True) -> None:
    """Multiply tile by tile, in a form whose least product is the closest center."""
    factor = np.vstack([-2 * centers.T, (centers**2).sum(axis=1)])
    step = TILE_VALUES // len(centers)
    table = np.empty((step, len(centers)), np.float32)
    near = np.ones((step, len(factor)), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        near[: len(part), :-1] = part
        np.matmul(near[: len(part)], factor, out=table[: len(part)])
        if least:
            table[: len(part)].argmin(axis=1)


def time_floor(case: Case, rounds: int) -> None:
    """Time, in this process, what must be done and what is done."""
    import faiss

    rows, kept = case.data.rows, []
    n_centers = parameters_of(case.data.k).n_centers
    centers = rows[np.random.default_rng(0).choice(len(rows), n_centers, replace=False)]
    reader = BatchReader(case.spans, rows.shape[1], BATCH_ROWS)
    timed: dict[str, Callable[[], object]] = {
        "decode": lambda: deque(reader, 0),
        "faiss": lambda: faiss.knn(rows, centers, 1),
        "tiles": lambda: multiplied(rows, centers),
        "ours": lambda: kernels().search(rows, centers, centers.mean(axis=0)),
        "product": lambda: multiplied(rows, centers, least=False),
        "pass": lambda: kept.append(case.summarise(len(rows))),
        "finish": lambda: kept.pop().finalize(),
    }
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        for name, function in [*timed.items()] * rounds:
            case.floor[name].append(cpu_of(function))


def print_floor(cases: Iterable[Case]) -> None:
    print("\n**The floor**, CPU seconds\n")
    columns = "decode | faiss | tiles | our search | product alone | pass | last step"
    print(head(f"{columns} | pass / floor | all / floor | at most | pass, all | all / others"))
    for case in cases:
        d, k = case.data.rows.shape[1], case.data.k
        cpu = {what: median(rounds) for what, rounds in case.floor.items()}
        all_of_it, of_others = cpu["pass"] + cpu["finish"], min(cpu["faiss"], cpu["tiles"])
        least = cpu["decode"] + min(of_others, cpu["ours"])
        ratios = cpu["pass"] / least, all_of_it / least
        claim = 1.5 if d >= 100 else 2.5 if d <= 32 and k <= 100 else np.inf
        kept = ", ".join("kept" if ratio <= claim else "NOT KEPT" for ratio in ratios)
        beside = all_of_it / (cpu["decode"] + of_others)
        print(line(case.data.name, [*cpu.values(), *ratios, claim, kept, beside]))


def flatness(most: int, rounds: int, base: Path) -> Runs:
    """Time the pass over the first rows of one channel."""
    case, found = Case.of("flat", heavy_tailed(most), 100, base), defaultdict(list)
    for n in [most >> 4, most >> 3, most >> 2, most >> 1, most] * rounds:
        found[n].append(cpu_of(lambda n=n: case.summarise(n)))
    rates = {n: n / median(timed) for n, timed in found.items()}
    print("\n**The pass by the number of rows**, 26 features, k = 100\n")
    print(head("CPU s | rows / CPU s | / that of most rows"))
    for n, rate in rates.items():
        print(line(f"{n:,} rows", [n / rate, f"{rate:,.0f}", rate / rates[most]]))
    return found


def measure(name: str, options: argparse.Namespace) -> Case:
    draw, k = SHAPES[name]
    with folder(options.dir) as base:
        case = Case.of(name, draw(), k, base)
        if {"peers", "workers"} & {*options.parts}:
            compare(case, options)
            print_comparison(case)
        if "floor" in options.parts:
            time_floor(case, options.rounds)
    sys.stdout.flush()
    return case


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, one round, for a look")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=STANDARD)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=OTHERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-rows", type=int, default=4_000_000, help='of the part "flat"')
    parser.add_argument("--max-seconds", type=float, default=600, help="of a fit at most")
    parser.add_argument("--dir", type=Path, help="where to write the channels")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    options = parser.parse_args()
    if options.quick:
        options.shapes, options.rounds, options.max_rows = QUICK, 1, 400_000
    return options


def main() -> None:
    options = arguments()
    print(f"{os.cpu_count()} CPUs; load before: {os.getloadavg()[0]:.1f}")
    flat: Runs = {}
    with folder(options.dir) as base:
        cases = [measure(name, options) for name in options.shapes]
        if "workers" in options.parts:
            print_workers(cases)
        if "floor" in options.parts:
            print_floor(cases)
        if "flat" in options.parts:
            flat = flatness(options.max_rows, options.rounds, base)
    if options.json:
        shapes = {case.data.name: {**case.compared, "floor": case.floor} for case in cases}
        options.json.write_text(json.dumps({"shapes": shapes, "flat": flat}, indent=1))


if __name__ == "__main__":
    main()
