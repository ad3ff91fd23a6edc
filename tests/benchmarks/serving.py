"""How fast requests are answered, beside MLServer, Flask, and the bare work.

    python tests/benchmarks/serving.py [--shapes csv:1000x26x10 ...] [--peers onepass ...] ...

Shapes are FORMAT:ROWSxFEATURESxCLUSTERS. All servers run at once, in processes of their own with
one thread of linear algebra each; they take turns, round by round, and figures are medians of
rounds. Client and servers share the processors of one machine: what a server takes of them is read
from the kernel, and requests for a second of its processors is the figure that depends least on the
client, and on others, whose share of the machine is told. All are asked for the same rows, and must
answer with the closest centers, which is checked before anything is timed:

Onepass    `onepass serve`. It answers with label and distance: in JSON, or in RecordIO-protobuf
           where it is asked in that. The others answer with labels alone, in JSON.
MLServer   its scikit-learn runtime, asked in JSON by the open inference protocol, whatever the
           shape's format; with one process for models as is its default, with as many as there are
           processors, and with none: the best counts.
Flask      scikit-learn's `KMeans.predict` behind Flask and gunicorn, as people write it, with as
           many workers as Onepass has: sync or gthread, `numpy.loadtxt` or `pandas.read_csv`,
           whichever is best; records are read by the SageMaker SDK, where ONEPASS_ORACLES names a
           folder with an environment `sagemaker`.
floor      In one thread of one process, without HTTP: the fastest parse known of just this body,
           argmin of |c|^2 - 2 x.c by NumPy, labels and distances written.

A body has at most 100 MB; of what would be larger, as many rows as fit. The last table has what
it takes to start: seconds from the call to the first answered ping and to the first answer, and
resident memory of all processes then, shared memory counted once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from onepass.resources import available_cpus

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import DEFAULT_CACHE
from load_client import BadAnswerError, ask, load
from server_process import Server, busy_seconds
from serving_bodies import FORMATS, Truth
from serving_cases import Case, Shape, centers_of, draw, number
from serving_floor import floor_s
from serving_peers import Body, Peer, Way, peers

MIB = 2**20
PEERS = ("onepass", "mlserver", "flask")
BODIES = ("csv:1", "csv:1000", "json:1000", "recordio:100000")
SHAPES = [f"{body}x{d}x{k}" for d in (26, 400) for k in (10, 1000) for body in BODIES]
MODELS = ["1000x400", "50000x1000"]
LARGEST_OF_OTHERS = 2**22
"""Values of a model: with larger ones only ours is started."""

FIGURES = ("per_s", "p50_ms", "p99_ms", "cpu_ms", "client_cpu_ms", "others")
HEAD = """
| body | server | requests/s, {0} connections | rows/s | p50 ms | p99 ms | CPU ms a request \
| requests a CPU s |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


class Target(NamedTuple):
    """A server that runs, and the bytes to send it."""

    title: str
    server: Server
    request: bytes


@contextlib.contextmanager
def servers(
    chosen: dict[str, Peer], centers: np.ndarray, cache: Path
) -> Iterator[dict[str, list[tuple[str, Server]]]]:
    """Run every variant of every server on one model."""
    with contextlib.ExitStack() as stack:
        running: dict[str, list[tuple[str, Server]]] = {}
        for name, peer in chosen.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            peer.prepare(peer.python(cache), centers, folder)
            running[name] = [
                (variant.title, stack.enter_context(peer.running(variant, folder, cache)))
                for variant in peer.variants
            ]
        for variants in running.values():
            for _, server in variants:
                server.settle()
        yield running


def targets(
    peer: Peer, running: list[tuple[str, Server]], body: Body, truth: Truth
) -> Iterator[Target]:
    """Yield every way to ask a server that can be asked this, its answers checked."""
    for way in peer.ways:
        if body.format not in way.formats:
            continue
        request = way.request(body)
        for variant, server in running:
            target = Target(", ".join(filter(None, (variant, way.title))), server, request)
            if _answers_right(peer, target, way, truth):
                yield target


def _answers_right(peer: Peer, target: Target, way: Way, truth: Truth) -> bool:
    """Tell whether a server can be timed; a wrong answer ends everything."""
    try:
        complaint = truth.complaint(way.read(ask(target.server.port, target.request)))
    except (BadAnswerError, OSError) as error:
        print(f"{peer.title}, {target.title}: {error}", file=sys.stderr)
        return False
    if complaint:
        sys.exit(f"{peer.title}, {target.title}: {complaint}")
    return True


def one_load(target: Target, n_connections: int, seconds: float) -> dict[str, float]:
    """Measure once; `others` is the share of the machine that neither server nor client took."""
    busy, before = busy_seconds(), target.server.cpu_seconds()
    found = load(target.server.port, target.request, n_connections, seconds)
    cpu_s, busy = target.server.cpu_seconds() - before, busy_seconds() - busy
    n = len(found.latencies_s)
    p50, p99 = np.percentile(found.latencies_s, (50, 99)) * 1000
    others = max(0, busy - cpu_s - found.client_cpu_s) / found.wall_s / (os.cpu_count() or 1)
    cpu_ms, client_ms = 1000 * cpu_s / n, 1000 * found.client_cpu_s / n
    figures = map(float, (n / found.wall_s, p50, p99, cpu_ms, client_ms, others))
    return {"n": n, **dict(zip(FIGURES, figures, strict=True))}


def measure(case: Case, able: dict[str, list[Target]], options: argparse.Namespace) -> None:
    """Let servers take turns, each in its best variant for so many connections."""
    for n_connections in options.connections:
        best: dict[str, Target] = {}
        for name, candidates in able.items():
            tried = {t: one_load(t, n_connections, options.seconds / 2) for t in candidates}
            best[name] = max(tried, key=lambda target: tried[target]["per_s"])
        for _ in range(options.rounds):
            for name, target in best.items():
                found = one_load(target, n_connections, options.seconds)
                case.figures.setdefault((name, n_connections), []).append(found)
                case.titles[name, n_connections] = target.title


def measure_model(
    shapes: list[Shape], chosen: dict[str, Peer], options: argparse.Namespace
) -> Iterator[Case]:
    """Measure all shapes of one model."""
    centers = centers_of(shapes[0].model)
    with servers(chosen, centers, options.cache) as running:
        for shape in shapes:
            case = draw(shape, centers)
            truth = Truth(case.body.rows, centers)
            able = {
                name: [*targets(peer, running[name], case.body, truth)]
                for name, peer in chosen.items()
            }
            measure(case, {name: found for name, found in able.items() if found}, options)
            args = (shape.format, case.body.data, case.body.rows, centers)
            case.floor_ms = 1000 * floor_s(*args, options.seconds)
            for name, peer in chosen.items():
                print(line(case, name, peer, options.connections), flush=True)
            floor = f"{number(case.floor_ms)} | {number(1000 / case.floor_ms)}"
            print(f"| {case.shape.title()} | floor |||||{floor} |", flush=True)
            yield case


def line(case: Case, name: str, peer: Peer, connections: list[int]) -> str:
    """Write what one server did, for each number of connections."""

    def cell(figure: str, *, times: float = 1, inverse: bool = False) -> str:
        found = [case.median(name, n, figure) * times for n in connections]
        return " / ".join(number(1000 / value if inverse else value) for value in found)

    ways = dict.fromkeys(case.titles.get((name, n), "") for n in connections)
    title = f"{peer.title} ({'; '.join(ways)})" if any(ways) else peer.title
    cells = (cell("per_s"), cell("per_s", times=case.shape.n_rows), cell("p50_ms"), cell("p99_ms"))
    cells += (cell("cpu_ms"), cell("cpu_ms", inverse=True))
    return f"| {case.shape.title()} | {title} | {' | '.join(cells)} |"


def side_by_side(cases: list[Case], chosen: dict[str, Peer], n_connections: int) -> None:
    titles = [peer.title for peer in chosen.values()]
    rounds = [one for case in cases for found in case.figures.values() for one in found]
    others = [100 * one["others"] for one in rounds]
    print(f"""
Others took {np.median(others):.0f} % of the machine meanwhile, {max(others):.0f} % at most.

With {n_connections} connections; requests a second, and for a second of the server's processors;
last, processor time of Onepass for a request over that of the floor:
""")
    heads = [f"{title}, /s" for title in titles] + [f"{title}, / CPU s" for title in titles]
    print(f"| body | {' | '.join(heads)} | CPU / floor |")
    print(f"| --- |{' ---: |' * (len(heads) + 1)}")
    for case in cases:
        rates = [number(case.median(name, n_connections, "per_s")) for name in chosen]
        rates += [number(1000 / case.median(name, n_connections, "cpu_ms")) for name in chosen]
        over = case.median("onepass", n_connections, "cpu_ms") / case.floor_ms
        print(f"| {case.shape.title()} | {' | '.join(rates)} | {number(over)} |")


def start_once(peer: Peer, model: tuple[int, int], cache: Path) -> dict[str, float]:
    """Start a server, ask it for the cluster of one row, and look at its memory."""
    centers = centers_of(model)
    row = centers[:1]
    body = Body("json", row, FORMATS["json"].write(row))
    (way,) = [way for way in peer.ways if "json" in way.formats]
    with tempfile.TemporaryDirectory() as name:
        peer.prepare(peer.python(cache), centers, Path(name))
        with peer.running(peer.variants[0], Path(name), cache) as server:
            pinged, request = time.perf_counter(), way.request(body)
            answer = ask(server.port, request)
            answered_s = server.ready_s + time.perf_counter() - pinged
            complaint = Truth(row, centers).complaint(way.read(answer))
            assert not complaint, complaint
            server.settle()
            n_processes, pss = len(server.pids()), server.pss_bytes()
    return {"ping_s": server.ready_s, "answer_s": answered_s, "pss": pss, "n": n_processes}


def measure_starts(chosen: dict[str, Peer], options: argparse.Namespace) -> list[dict[str, Any]]:
    print("\n| model | server | processes | first ping, s | first answer, s | memory, MiB |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    figures = []
    for text in options.models:
        model = tuple(map(int, text.split("x")))
        small = np.prod(model) <= LARGEST_OF_OTHERS
        able = {name: peer for name, peer in chosen.items() if small or name == "onepass"}
        rounds = [
            {name: start_once(peer, model, options.cache) for name, peer in able.items()}
            for _ in range(options.rounds)
        ]
        for name, peer in able.items():
            found = {
                key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]
            }
            figures.append({"model": text, "peer": name, **found})
            size = f"{4e-6 * np.prod(model):,.1f} MB: k = {model[0]:,}, d = {model[1]:,}"
            title = ", ".join(filter(None, (peer.title, peer.variants[0].title)))
            print(
                f"| {size} | {title} | {found['n']:.0f} | {found['ping_s']:.2f} "
                f"| {found['answer_s']:.2f} | {found['pss'] / MIB:,.0f} |",
                flush=True,
            )
    return figures


def record(case: Case) -> list[dict[str, Any]]:
    """Return everything that was measured of a shape."""
    return [
        {"shape": case.shape._asdict(), "body_bytes": len(case.body.data), "peer": name,
         "way": case.titles[name, n], "connections": n, "floor_ms": case.floor_ms, "rounds": rounds}
        for (name, n), rounds in case.figures.items()
    ]  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--shapes", nargs="*", default=SHAPES, metavar="SHAPE", help="what is asked"
    )
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS, help="who is asked")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8], help="at once")
    parser.add_argument("--seconds", type=float, default=2, help="of each server's turn (2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=MODELS, help="KxD, to start servers with")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="has the environments")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the servers on the way out
    chosen = {name: peer for name, peer in peers().items() if name in options.peers}
    for peer in chosen.values():
        print(f"{peer.title}: {peer.versions(options.cache)}")
    print(f"{available_cpus()} processors, {available_cpus()} workers each", flush=True)
    cases: list[Case] = []
    if options.shapes:
        print(HEAD.format(" / ".join(map(str, options.connections))))
    for _, group in groupby(map(Shape.parse, options.shapes), lambda shape: shape.model):
        cases += measure_model([*group], chosen, options)
    if cases:
        side_by_side(cases, chosen, options.connections[-1])
    starts = measure_starts(chosen, options) if options.models else []
    if options.json:
        requests = [entry for case in cases for entry in record(case)]
        options.json.write_text(json.dumps({"requests": requests, "starts": starts}, indent=1))


if __name__ == "__main__":
    main()
