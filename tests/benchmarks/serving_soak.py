"""Minutes of all that clients do to a server: nothing may fail, be wrong, or grow.

    python tests/benchmarks/serving_soak.py [--minutes 10] [--clients 6] [--json FILE]

Clients, processes of their own, send `onepass serve` small and large bodies in all formats, plain
and zipped, and bad ones of all kinds, on new connections and on kept ones, at once, in chunks,
slowly, or as far as they get before they vanish. Each answer is checked against NumPy in float64.
Printed are answers by status; latencies of good requests that were sent at once, while all of them
and the checks share the processors; and how the server's resident memory (that of all its
processes added up) changed after the first tenth of the time. Since that goes up and down with the
large bodies that are in flight, it is looked at once a second, and a line is drawn, by least
squares, through the least of each fifteen seconds. The exit code is 1 when an answer was wrong, or
a request failed: was answered with 5xx, or not at all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from onepass import KMeansModel
from onepass.artifact.model_file import save_model

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from load_client import BadAnswerError, ask, message
from server_process import Server, free_ports, onepass, running
from serving_bodies import FORMATS
from soak_client import Client, Report
from soak_requests import LIMIT_MB, Requests

MODEL = 50, 20
QUIET_S, CLIENT_END_S = 30, 300
SAMPLE_S, LULL_S = 1.0, 15.0
SHOWN = 10
KIB = 2**10


class Sample(NamedTuple):
    """The server's resident memory at a time."""

    at_s: float
    rss_bytes: int


class Slope(NamedTuple):
    """How memory changed, and the standard error of that."""

    kib_a_minute: float
    error: float
    n: int


def slope_of(samples: list[Sample]) -> Slope:
    """Draw a line through samples by least squares.

    >>> slope_of([Sample(60.0 * i, 1024 * (5 + 2 * i)) for i in range(4)])
    Slope(kib_a_minute=2.0, error=0.0, n=4)
    """
    if len(samples) < 3:
        return Slope(np.nan, np.nan, len(samples))
    at, rss = np.array(samples, float).T
    minutes, kib = (at - at.mean()) / 60, (rss - rss.mean()) / KIB
    slope = minutes @ kib / (minutes @ minutes)
    left = kib - slope * minutes
    error = np.sqrt(left @ left / (len(samples) - 2) / (minutes @ minutes))
    return Slope(float(slope), float(error), len(samples))


def lulls(samples: list[Sample]) -> list[Sample]:
    """Return the least of each stretch of time.

    >>> lulls([Sample(1.0, 5), Sample(2.0, 4), Sample(16.0, 9)])
    [Sample(at_s=2.0, rss_bytes=4), Sample(at_s=16.0, rss_bytes=9)]
    """
    stretches = groupby(samples, key=lambda sample: sample.at_s // LULL_S)
    return [min(stretch, key=lambda sample: sample.rss_bytes) for _, stretch in stretches]


def what_it_takes(port: int, centers: np.ndarray) -> tuple[list[str], bool]:
    """Return the formats that a server reads, and whether it reads what is zipped."""
    rows = centers[:1]

    def takes(name: str, more: str = "") -> bool:
        request = message("/invocations", FORMATS[name].write(rows), FORMATS[name].content_type)
        head, _, body = request.partition(b"\r\n\r\n")
        try:
            ask(port, head + more.encode() + b"\r\n\r\n" + body)
        except BadAnswerError as error:
            return "415" not in str(error)[:20]
        return True

    return [*filter(takes, FORMATS)], takes("csv", "\r\nContent-Encoding: gzip")


@contextmanager
def clients(
    n: int, port: int, requests: Requests, seconds: float
) -> Iterator[list[tuple[multiprocessing.process.BaseProcess, Connection]]]:
    """Run clients, each of which sends its report when it is done."""
    context = multiprocessing.get_context("fork")
    started = []
    for seed in range(n):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_one_client, args=(port, requests, seed, seconds, theirs), daemon=True
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        yield started
    finally:
        for process, _ in started:
            process.terminate()
            process.join()


def _one_client(port: int, requests: Requests, seed: int, seconds: float, pipe: Connection) -> None:
    pipe.send(Client(port, requests, seed).run(seconds))


def soak(server: Server, requests: Requests, options: argparse.Namespace) -> dict[str, Any]:
    """Let clients loose on a server, and watch it."""
    server.settle()
    before, n_before, samples, begun = server.pids(), server.n_descriptors(), [], time.monotonic()
    seconds, report = 60 * options.minutes, Report()
    with clients(options.clients, server.port, requests, seconds) as started:
        while any(process.is_alive() and not pipe.poll() for process, pipe in started):
            samples.append(Sample(time.monotonic() - begun, server.rss_bytes()))
            time.sleep(SAMPLE_S)
        for _, pipe in started:
            _take(pipe, report)
    n_after = _settled(server, n_before)
    later = samples[len(samples) // 10 :]
    code, stop_s = (-1, 0.0) if server.process.poll() is not None else (0, 0.0)
    found = {"report": report, "samples": samples, "slope": slope_of(lulls(later))}
    found |= {"descriptors": (n_before, n_after), "same_processes": before == server.pids()}
    if code == 0:
        code, stop_s = server.stop()
    return found | {"exit_code": code, "stop_s": stop_s}


def _take(pipe: Connection, report: Report) -> None:
    try:
        report.add(pipe.recv())
    except EOFError:
        report.failed.append("a client died: what it printed says why")


def _settled(server: Server, n_before: int) -> int:
    """Return how many descriptors are open when all clients have gone."""
    deadline = time.monotonic() + QUIET_S
    while server.n_descriptors() > n_before and time.monotonic() < deadline:
        time.sleep(0.1)
    return server.n_descriptors()


def show(found: dict[str, Any], log: str) -> None:
    """Print what was seen."""
    report, samples = found["report"], found["samples"]
    print("| status | requests |\n| --- | ---: |")
    for status, n in sorted(report.statuses.items()):
        print(f"| {status} | {n:,} |")
    print("\n| good requests, sent at once | requests | p50 ms | p99 ms | longest ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for size, seconds in report.latencies_s.items():
        p50, p99, most = 1000 * np.percentile(seconds, (50, 99, 100))
        print(f"| {size} | {len(seconds):,} | {p50:.2f} | {p99:.2f} | {most:.0f} |")
    manners = ", ".join(f"{n:,} {manner}" for manner, n in report.manners.most_common())
    first, last = (sample.rss_bytes / KIB**2 for sample in (samples[0], samples[-1]))
    most = max(sample.rss_bytes for sample in samples) / KIB**2
    slope = found["slope"]
    print(f"""
* sent: {manners}
* wrong answers: {len(report.wrong)}
* failed requests: {len(report.failed)}
* kept connections that the server let go of: {report.n_let_go}
* resident memory: {first:.1f} MiB at the start, {last:.1f} at the end, {most:.1f} at most
* its slope after the first tenth of the time: {slope.kib_a_minute:+.1f} KiB a minute, \
standard error {slope.error:.1f}, of {slope.n} lulls
* open descriptors: {found["descriptors"][0]} at the start, {found["descriptors"][1]} at the end
* processes: {"the same to the end" if found["same_processes"] else "NOT the same to the end"}
* tracebacks in the log: {log.count("Traceback")}
* told to stop: exit code {found["exit_code"]} after {found["stop_s"]:.1f} s""")
    if "Traceback" in log:
        print(log[max(0, log.index("Traceback") - 500) :][:5000], file=sys.stderr)
    for complaint in (*report.wrong[:SHOWN], *report.failed[:SHOWN]):
        print(complaint, file=sys.stderr)


def written(found: dict[str, Any]) -> str:
    report = found.pop("report")
    figures = {name: getattr(report, name) for name in ("statuses", "manners", "kinds")}
    figures |= {"wrong": report.wrong, "failed": report.failed, "n_let_go": report.n_let_go}
    for size, seconds in report.latencies_s.items():
        figures[f"ms, {size}"] = [*map(float, 1000 * np.percentile(seconds, (50, 99, 100)))]
    return json.dumps({**figures, **found}, indent=1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--huge-mb", type=float, default=25, help="of the largest good bodies (25)")
    parser.add_argument("--log", type=Path, help="keep the server's log here")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Soak, print, and tell by the exit code."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the servers on the way out
    centers = 3 * np.random.default_rng(0).standard_normal(MODEL, np.float32)
    (port,) = free_ports(1)
    variables = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": str(LIMIT_MB)}
    with tempfile.TemporaryDirectory() as folder:
        log = (options.log or Path(folder, "log")).resolve()
        save_model(KMeansModel(centers), Path(folder, "model"))
        with running(onepass(Path(folder), port), port, log=log, variables=variables) as server:
            formats, zipped = what_it_takes(port, centers)
            print(f"{options.clients} clients, {options.minutes:g} minutes; {', '.join(formats)}")
            print(f"{'plain and zipped' if zipped else 'plain'}; k = {MODEL[0]}, d = {MODEL[1]}\n")
            requests = Requests(centers, options.huge_mb, formats, zipped=zipped)
            found = soak(server, requests, options)
        show(found, log.read_text(errors="replace"))
    bad = bool(found["report"].wrong or found["report"].failed)
    if options.json:
        options.json.write_text(written(found))
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
