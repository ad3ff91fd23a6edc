"""How fast servers answer: ours, Flask with scikit-learn as people write it, MLServer.

    python tests/benchmarks/serving.py [--shapes 10x26 1000x400] [--peers onepass flask mlserver]
        [--cases csv-1 csv-1000] [--seconds 3] [--rounds 3] [--json FILE]

Prints Markdown: for clusters x features and for each kind of request, requests and rows a second of
wall time and of the servers' processor time, median and 99th percentile of the latency over one and
over eight connections, and ratios. Servers run side by side in processes of their own, with a
worker for each processor and one thread of linear algebra, and take turns in each round; medians of
rounds. The client runs on the same machine, which is why processor time is the fair measure. All
answer with labels, ours with distances too, in the format of the request; labels are compared
first. Flask reads CSV by `numpy.loadtxt`, JSON by `get_json`, records by the SageMaker SDK and
matrices by `numpy.load`, and answers JSON; MLServer gets its own JSON (V2) in all cases, as it
takes nothing else.

The floor is the bare work in one process: parsing by simdjson, or viewing records where they lie,
one matrix product, and writing numbers.
"""

from __future__ import annotations

import argparse
import io
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson

from onepass import KMeansModel
from onepass.formats.record_writer import write_rows
from onepass.resources import available_cpus

sys.path.insert(0, str(Path(__file__).parent))
from serving_peers import Peer, running

CACHE = Path.home() / ".cache/onepass-benchmarks"
CLIENT = Path(__file__).with_name("serving_client.py")
MOST_BYTES = 100 * 10**6
CASES = {"csv-1": ("csv", 1), "csv-1000": ("csv", 1000), "json-1000": ("json", 1000)}
CASES |= {"records": ("records", 100_000), "npy": ("npy", 100_000)}
CONNECTIONS = (1, 8)
PEERS = ("onepass", "flask", "mlserver")


class Request(NamedTuple):
    """A request, ready to be sent.

    Attributes
    ----------
    path, content_type, accept : str
    body : bytes
    """

    path: str
    content_type: str
    accept: str
    body: bytes

    def raw(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {self.content_type}\r\n"
            f"Accept: {self.accept}\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class Timing(NamedTuple):
    """What one run of the client gave."""

    requests_s: float
    requests_cpu_s: float
    p50_ms: float
    p99_ms: float


def as_csv(rows: np.ndarray) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode()


def as_json(rows: np.ndarray) -> bytes:
    return json.dumps({"instances": [{"features": row} for row in rows.tolist()]}).encode()


def as_npy(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, rows.astype(np.float32))
    return file.getvalue()


def as_v2(rows: np.ndarray) -> bytes:
    tensor = {
        "name": "rows",
        "shape": rows.shape,
        "datatype": "FP32",
        "data": rows.ravel().tolist(),
    }
    return json.dumps({"inputs": [tensor]}).encode()


def as_records(rows: np.ndarray) -> bytes:
    return write_rows(rows.astype(np.float32))


def request_of(peer: str, kind: str, rows: np.ndarray) -> Request:
    """Return the request that asks a peer for the clusters of rows."""
    if peer == "mlserver":
        json_type = "application/json"
        return Request("/v2/models/kmeans/infer", json_type, json_type, as_v2(rows))
    content_type, body = {
        "csv": ("text/csv", as_csv),
        "json": ("application/json", as_json),
        "records": ("application/x-recordio-protobuf", as_records),
        "npy": ("application/x-npy", as_npy),
    }[kind]
    accept = content_type if peer == "onepass" else "application/json"
    return Request("/invocations", content_type, accept, body(rows))


def labels_of(peer: str, kind: str, answer: bytes) -> np.ndarray:
    """Read the labels out of an answer."""
    if peer == "mlserver":
        return np.array(json.loads(answer)["outputs"][0]["data"]).ravel()
    if peer == "flask":
        return np.array(json.loads(answer)["predictions"])
    if kind == "csv":
        return np.array([line.split(b",")[0] for line in answer.split(b"\n")], float)
    if kind == "json":
        return np.array([one["closest_cluster"] for one in json.loads(answer)["predictions"]])
    if kind == "npy":
        return np.load(io.BytesIO(answer))[:, 0]
    frames = np.frombuffer(answer, np.uint8)
    mark = answer.index(b"closest_cluster") + 15 + 6
    width = 8 + int.from_bytes(answer[4:8], "little") + 3 & ~3
    values = frames.reshape(-1, width)[:, mark : mark + 4]
    return np.ascontiguousarray(values).view("<f4").ravel()


def ask_once(peer: Peer, request: Request) -> bytes:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=120)
    headers = {"Content-Type": request.content_type, "Accept": request.accept}
    connection.request("POST", request.path, request.body, headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{peer.name} answers {answer.status}: {body[:300]!r}")
    return body


def run_client(peer: Peer, file: Path, n_connections: int, seconds: float) -> Timing:
    before = peer.usage().cpu_s
    command = [sys.executable, CLIENT, str(peer.port), file, str(n_connections), str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    told = json.loads(done.stdout)
    if list(told["statuses"]) != ["200"]:
        raise RuntimeError(f"{peer.name} answers {told['statuses']}")
    cpu_s = peer.usage().cpu_s - before
    n = told["n"] + n_connections  # each connection asks once before the clock starts
    return Timing(told["n"] / told["seconds"], n / max(cpu_s, 1e-3), told["p50_ms"], told["p99_ms"])


def floor_s(kind: str, rows: np.ndarray, centers: np.ndarray, body: bytes) -> float:
    """Return the processor seconds of the bare work of a request."""
    n, d = rows.shape
    norms = np.einsum("ij,ij->i", centers, centers)
    parser = simdjson.Parser()

    def from_csv() -> np.ndarray:
        arrays = b"[" + body.replace(b"\n", b",") + b"]"
        return np.frombuffer(parser.parse(arrays).as_buffer(of_type="d"))

    def from_json() -> np.ndarray:
        instances = parser.parse(body)["instances"]
        return np.frombuffer(b"".join(one["features"].as_buffer(of_type="d") for one in instances))

    def from_records() -> np.ndarray:
        frames = np.frombuffer(body, np.uint8).reshape(n, -1)
        return np.ascontiguousarray(frames[:, -4 * d :]).view("<f4")

    def from_npy() -> np.ndarray:
        return np.frombuffer(body, "<f4", n * d, len(body) - 4 * n * d)

    read = {"csv": from_csv, "json": from_json, "records": from_records, "npy": from_npy}[kind]

    def work() -> None:
        given = read().astype(np.float32).reshape(n, d)
        scores = given @ centers.T
        scores *= -2
        scores += norms
        chosen = scores.argmin(axis=1)
        gaps = given - centers[chosen]
        distances = np.sqrt(np.einsum("ij,ij->i", gaps, gaps))
        answer = np.stack([chosen, distances], axis=1)
        _ = (
            answer.tobytes()
            if kind == "records"
            else orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        )

    return _cpu_of(work)


def _cpu_of(work: Callable[[], Any]) -> float:
    work()
    n, started = 0, time.process_time()
    while n < 3 or time.process_time() - started < 0.5:
        work()
        n += 1
    return (time.process_time() - started) / n


def measure(shape: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all cases of a shape; return figures by case, connections and peer."""
    k, d = map(int, shape.split("x"))
    random = np.random.default_rng(0)
    centers = random.normal(0, 3, (k, d)).astype(np.float32)
    found: dict[str, Any] = {"start": {}, "cases": {}}
    with ExitStack() as stack:
        peers = []
        for name in options.peers:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            home = folder / shape / name
            peer = running(name, centers, port, home=home, cache=options.cache)
            peers.append(stack.enter_context(peer))
            found["start"][name] = [peers[-1].start_s, peers[-1].usage().pss_mib]
        for case in options.cases:
            kind, n_rows = CASES[case]
            n_rows = min(n_rows, MOST_BYTES // (4 * d + 24), options.most_rows)
            # Two digits behind the point, as tables have them; float32 for all that is not text.
            rows = random.normal(0, 3, (n_rows, d)).round(2)
            requests = {peer.name: request_of(peer.name, kind, rows) for peer in peers}
            wanted = KMeansModel(centers).predict(rows.astype(np.float32))
            timings: dict[Any, list[Timing]] = defaultdict(list)
            files = {}
            for peer in peers:
                labels = labels_of(peer.name, kind, ask_once(peer, requests[peer.name]))
                if (labels != wanted).mean() > 1e-3:  # some rows are as near to another center
                    raise RuntimeError(f"{peer.name} finds other clusters")
                files[peer.name] = folder / f"{peer.name}.request"
                files[peer.name].write_bytes(requests[peer.name].raw())
            for _ in range(options.rounds):
                for n_connections in CONNECTIONS:
                    for peer in peers:
                        timing = run_client(peer, files[peer.name], n_connections, options.seconds)
                        timings[peer.name, n_connections].append(timing)
            medians = {
                f"{name} {n}": Timing(*(statistics.median(x) for x in zip(*runs, strict=True)))
                for (name, n), runs in timings.items()
            }
            body = requests["onepass"].body if "onepass" in requests else b""
            floor = floor_s(kind, rows, centers, body) if body else float("nan")
            found["cases"][case] = {"n_rows": n_rows, "floor_s": floor, "timings": medians}
    return found


def report(shape: str, found: dict[str, Any], peers: list[str]) -> None:
    """Print the tables of a shape."""
    k, d = shape.split("x")
    print(f"\nk = {k}, {d} features\n")
    print(
        "| request | server | requests/s, 1 and 8 connections | rows/s | per CPU second: requests "
        "| p50, p99 ms, 1 connection | 8 connections | Onepass is | CPU / floor |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case, figures in found["cases"].items():
        timings, n_rows = figures["timings"], figures["n_rows"]
        for peer in peers:
            one, eight = timings[f"{peer} 1"], timings[f"{peer} 8"]
            ratio = floor = ""
            if peer == "onepass":
                floor = f"{1 / eight.requests_cpu_s / figures['floor_s']:.2f}"
            elif "onepass 1" in timings:
                ours = timings["onepass 1"], timings["onepass 8"]
                wall = min(ours[i].requests_s / (one, eight)[i].requests_s for i in (0, 1))
                cpu = ours[1].requests_cpu_s / eight.requests_cpu_s
                ratio = f"{wall:.1f} x faster, {cpu:.1f} x cheaper"
            rows_s = max(one.requests_s, eight.requests_s) * n_rows
            print(
                f"| {case} ({n_rows:,} rows) | {peer} | {one.requests_s:,.1f}, "
                f"{eight.requests_s:,.1f} | {rows_s:,.0f} | "
                f"{eight.requests_cpu_s:,.1f} | {one.p50_ms:.2f}, {one.p99_ms:.2f} | "
                f"{eight.p50_ms:.2f}, {eight.p99_ms:.2f} | {ratio} | {floor} |"
            )
    print("\nFrom the start to the first answer, and memory then:")
    for peer, (start_s, pss_mib) in found["start"].items():
        print(f"{peer} {start_s:.2f} s, {pss_mib:,.0f} MiB.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--shapes", nargs="+", default=["10x26", "1000x26", "10x400", "1000x400"])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seconds", type=float, default=3, help="of each run of the client")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-rows", type=int, default=100_000)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    print(f"{available_cpus()} processors; {options.rounds} rounds of {options.seconds} s.")
    everything = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes:
            everything[shape] = measure(shape, options, Path(folder))
            report(shape, everything[shape], options.peers)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
