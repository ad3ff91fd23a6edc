"""How good the clusters of one pass are, and what they cost, beside those of other algorithms.

    python tests/benchmarks/quality.py [--sets smoke] [--peers quick] [--seeds 5] [--json FILE]

Prints Markdown: mean squared distances over all rows as a ratio to the best of ten starts of
scikit-learn's KMeans, median over seeds (worst); CPU seconds of a fit, median over seeds; and on
which data another algorithm is both cheaper and better than ours. Everything runs on one thread
unless told otherwise. What others reached is kept in the cache, so that a second run measures ours
alone. `data_sets.py` has the data, `peers.py` the algorithms and what a fit's cost counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import DEFAULT_CACHE, DataSet, UnavailableError, last_line, load, names_of, rows_file
from peers import PEERS, Run, interpreter, runs, too_large

OURS, REFERENCE = "onepass", "kmeans"
STARTS = range(10)
PATIENCE = 1_000_000  # seconds: without the reference nothing can be said
LARGE_VALUES = 1_000_000
VERSION = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"


@dataclass(frozen=True)
class Score:
    """What one fit cost and reached."""

    run: Run
    msd: float

    @property
    def cut_off(self) -> float:
        """After how many seconds it was ended; 0 if it was not."""
        return float(self.run.problem[2:-2]) if self.run.problem.startswith("> ") else 0


@dataclass(frozen=True)
class Found:
    """All that was measured on one data set, by algorithm."""

    data: str
    note: str
    shape: tuple[int, ...]
    k: int
    scores: dict[str, list[Score]] = field(default_factory=dict)

    @property
    def best(self) -> float:
        return min(score.msd for score in self.scores[REFERENCE])

    def ratios(self, peer: str) -> list[float]:
        return [s.msd / self.best for s in self.scores.get(peer, ()) if not s.run.problem]

    def ratio(self, peer: str) -> float:
        return statistics.median(self.ratios(peer) or [np.inf])

    def cpu_s(self, peer: str) -> float:
        fits = [s.run.cpu_s for s in self.scores.get(peer, ()) if not s.run.problem]
        return statistics.median(fits or [np.inf])


class Bench:
    """Measures algorithms, and remembers what others than ours reached."""

    def __init__(self, cache: Path, threads: int, max_seconds: float, fresh: bool) -> None:
        self.cache = cache
        self.threads = threads
        self.max_seconds = max_seconds
        self.fresh = fresh
        self.versions: dict[str, str] = {}

    def available(self, peers: Iterable[str]) -> list[str]:
        """Return the algorithms that can run here; say why the others cannot."""
        for peer in peers:
            try:
                python = interpreter(peer, self.cache)
                command = [python, "-c", VERSION, PEERS[peer].package]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                reason = last_line(getattr(error, "stderr", None) or str(error))
                print(f"{PEERS[peer].title} is left out: {reason}\n")
            else:
                self.versions[peer] = done.stdout.strip()
        return [*self.versions]

    def scores(self, peer: str, data: DataSet, seeds: Iterable[int]) -> list[Score]:
        """Return a score a seed; fewer where one took too long, none where rows are too many."""
        if too_large(peer, data.rows.shape):
            return []
        known = {} if self.fresh or peer == OURS else self._known(peer, data, seeds)
        missing = [seed for seed in seeds if seed not in known]
        if not any(score.cut_off for score in known.values()) and missing:
            for score in self._measured(peer, data, missing):
                known[score.run.seed] = score
                self._keep(score, data)
        return [known[seed] for seed in seeds if seed in known]

    def _measured(self, peer: str, data: DataSet, seeds: list[int]) -> Iterator[Score]:
        with tempfile.TemporaryDirectory(dir=self.cache) as folder:
            out = Path(folder) / "{seed}.npy"
            limit = PATIENCE if peer == REFERENCE else self.max_seconds
            for run in runs(
                peer,
                rows_file(data.name, self.cache),
                data.k,
                seeds,
                threads=self.threads,
                out=out,
                max_seconds=limit,
                python=interpreter(peer, self.cache),
                log=self.cache / "peers.log",
            ):
                if run.problem:
                    yield Score(run, 0)
                else:
                    centers = np.load(out.with_stem(str(run.seed)), allow_pickle=False)
                    yield Score(run, data.msd(centers))

    def _file(self, peer: str, data: DataSet, seed: int) -> Path:
        folder = self.cache / "results" / f"{data.name}-k{data.k}-{data.checksum}"
        return folder / f"{peer}-{self.versions[peer]}-t{self.threads}-s{seed}.json"

    def _known(self, peer: str, data: DataSet, seeds: Iterable[int]) -> dict[int, Score]:
        found = {}
        for seed in seeds:
            path = self._file(peer, data, seed)
            if path.exists():
                kept = json.loads(path.read_text())
                score = Score(Run(**kept["run"]), kept["msd"])
                if not 0 < score.cut_off < self.max_seconds:  # more time may let it end
                    found[seed] = score
        return found

    def _keep(self, score: Score, data: DataSet) -> None:
        if score.run.peer == OURS or (score.run.problem and not score.cut_off):
            return
        path = self._file(score.run.peer, data, score.run.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"run": asdict(score.run), "msd": score.msd}))


def measure(bench: Bench, data: DataSet, peers: Iterable[str], seeds: int) -> Found:
    """Score every algorithm on one data set."""
    base = load(data.reordered, bench.cache) if data.reordered else data
    scores = {REFERENCE: bench.scores(REFERENCE, base, STARTS)}
    for peer in peers:
        if peer != REFERENCE:
            few = PEERS[peer].slow and data.rows.size > LARGE_VALUES
            scores[peer] = bench.scores(peer, data, range(1 if few else seeds))
    return Found(data.name, data.note, data.rows.shape, data.k, scores)


def ratio_cell(found: Found, peer: str) -> str:
    scores, ratios = found.scores.get(peer, []), found.ratios(peer)
    if ratios:
        few = f"; {len(ratios)} seed" if PEERS[peer].slow and len(ratios) == 1 else ""
        return f"{statistics.median(ratios):.3f} ({max(ratios):.3f}{few})"
    if not scores:
        return "-"
    return scores[-1].run.problem if scores[-1].cut_off else "failed"


def cpu_cell(found: Found, peer: str) -> str:
    return f"{found.cpu_s(peer):.3g}" if found.ratios(peer) else ratio_cell(found, peer)


def head(peers: Iterable[str]) -> str:
    titles = ["data", "shape", "k", *(PEERS[peer].title for peer in peers)]
    rules = ["---", "---", "---:", *("---:" for _ in peers)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, rules))


def line(found: Found, cells: Iterable[str]) -> str:
    n, d = found.shape
    start = (f"{found.data} ({found.note})", f"{n:,} x {d:,}", str(found.k))
    return f"| {' | '.join((*start, *cells))} |"


def beaten(all_found: Iterable[Found], peers: Iterable[str]) -> list[str]:
    """Name the data on which an algorithm is both cheaper and better than ours."""
    return [
        f"{found.data}: {PEERS[peer].title} {found.cpu_s(peer):.3g} s, {found.ratio(peer):.4f}; "
        f"ours {found.cpu_s(OURS):.3g} s, {found.ratio(OURS):.4f}"
        for found in all_found
        for peer in peers
        if found.cpu_s(peer) < found.cpu_s(OURS) and found.ratio(peer) < found.ratio(OURS)
    ]


def summary(all_found: list[Found], peers: list[str]) -> str:
    """Say how ours fares over all data sets."""
    medians = {found.data: found.ratio(OURS) for found in all_found}
    worst = max(medians, key=medians.__getitem__)
    worst_run = max(max(found.ratios(OURS) or [np.inf]) for found in all_found)
    middle = statistics.median(medians.values())
    verdicts = "".join(f"\n* {verdict}" for verdict in beaten(all_found, peers) or ["nothing"])
    return (
        f"Onepass over {len(medians)} data sets: median {middle:.3f}, worst median "
        f"{medians[worst]:.3f} ({worst}), worst run {worst_run:.3f}.\n\n"
        f"Cheaper and better than Onepass:\n{verdicts}"
    )


def figures(found: Found) -> dict[str, object]:
    scores = {p: [asdict(s.run) | {"msd": s.msd} for s in of] for p, of in found.scores.items()}
    return {"data": found.data, "shape": found.shape, "k": found.k, "scores": scores}


def peers_of(words: Iterable[str]) -> list[str]:
    """Return the algorithms that names, "quick" and "all" stand for, in the order of `PEERS`."""
    groups = {"all": list(PEERS), "quick": [p for p, peer in PEERS.items() if not peer.slow]}
    wanted = {peer for word in words for peer in groups.get(word, [word])}
    if unknown := wanted - PEERS.keys():
        raise UnavailableError(f"no such algorithm: {', '.join(sorted(unknown))}")
    return [peer for peer in PEERS if peer in wanted | {REFERENCE}]


def remarks_on(found: Found, peers: Iterable[str]) -> Iterator[str]:
    """Say why cells are empty."""
    for peer in peers:
        title = PEERS[peer].title
        if reason := too_large(peer, found.shape):
            yield f"{title} is {reason}."
        for score in found.scores[peer]:
            if score.run.problem and not score.cut_off:
                yield f"{title} failed on {found.data}: {score.run.problem}"


def measure_all(bench: Bench, names: Iterable[str], peers: list[str], seeds: int) -> list[Found]:
    """Measure and print the first table, a line as soon as it is known."""
    all_found: list[Found] = []
    remarks: dict[str, None] = {}  # each is said once, in order
    print(head(peers), flush=True)
    for name in names:
        try:
            data = load(name, bench.cache)
        except UnavailableError as error:
            remarks[f"{name} is left out: {error}."] = None
            continue
        found = measure(bench, data, peers, seeds)
        all_found.append(found)
        print(line(found, (ratio_cell(found, peer) for peer in peers)), flush=True)
        remarks |= dict.fromkeys(remarks_on(found, peers))
    print("\n".join(["", *remarks, ""]))
    return all_found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["standard"], help="of sets or suites")
    parser.add_argument("--peers", nargs="+", default=["all"], help='names, "quick" or "all"')
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-seconds", type=float, default=600, help="of a fit at most")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--fresh", action="store_true", help="measure others anew, too")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    bench = Bench(options.cache, options.threads, options.max_seconds, options.fresh)
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        names, wanted = names_of(options.sets), peers_of(options.peers)
    except UnavailableError as error:
        sys.exit(str(error))
    with threadpool_limits(1):
        peers = bench.available(wanted)
        all_found = measure_all(bench, names, peers, options.seeds)
    print(f"CPU seconds of a fit:\n\n{head(peers)}")
    for found in all_found:
        print(line(found, (cpu_cell(found, peer) for peer in peers)))
    if OURS in peers and all_found:
        print(f"\n{summary(all_found, peers)}")
    if options.json:
        options.json.write_text(json.dumps([figures(found) for found in all_found], indent=1))


if __name__ == "__main__":
    main()
