"""How fast every kind of channel is read, beside what others take for the same bytes.

    python tests/benchmarks/channels.py [--rows 1000000] [--rounds 5] [--json FILE]

Prints Markdown: for each content type and way in (file, pipe, gzip, zstd), gigabytes a second of
the bytes as they are before compression, CPU seconds for a gigabyte of them, and the same of others
on the same file: reading it without decoding, `cat FILE > /dev/null` and `cat FILE | cat >
/dev/null` (their start included), igzip alone, and the readers of pyarrow, pandas and NumPy. Where
ONEPASS_ORACLES names a folder with an environment `sagemaker`, the SageMaker SDK's reader is timed
on the head of the file. One thread, and one that feeds the pipe; files lie in the page cache; CPU
seconds are those of all processes; medians of rounds in which all take turns. Rows are drawn like
GDELT's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from isal import igzip
from pyarrow import parquet

from onepass.data.batches import BatchReader
from onepass.data.sources import Pipe, Source, whole_files
from onepass.data.table_format import format_of
from onepass.formats.record_writer import write_rows

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import heavy_tailed
from decode import find_sdk

BLOCK_ROWS, BATCH_ROWS, PIECE_BYTES = 20_000, 16_000, 2**20
SDK_BYTES = 2**24
SDK_READER = """
import io, sys, time
from sagemaker.amazon.common import read_records
with open(sys.argv[1], "rb") as file:
    head = file.read(int(sys.argv[2]))
cpu, wall = time.process_time(), time.perf_counter()
read_records(io.BytesIO(head))
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
TYPES = {
    "RecordIO-protobuf": "application/x-recordio-protobuf",
    "CSV": "text/csv",
    "Parquet": "application/x-parquet",
    "NumPy": "application/x-npy",
}


class Took(NamedTuple):
    """Seconds of processors, and of the clock on the wall."""

    cpu_s: float
    wall_s: float


def clocks() -> Took:
    """Return the time now; of processors that of this process and of all it has waited for."""
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() + waited_for.ru_utime + waited_for.ru_stime
    return Took(cpu, time.perf_counter())


def write_files(rows: np.ndarray, folder: Path) -> dict[str, Path]:
    """Write the rows in every format."""
    paths = {name: folder / name for name in TYPES}
    table = pa.table(
        [pa.array(column) for column in rows.T], [f"{j}" for j in range(rows.shape[1])]
    )
    with paths["RecordIO-protobuf"].open("wb") as file:
        for start in range(0, len(rows), BLOCK_ROWS):
            file.write(write_rows(rows[start : start + BLOCK_ROWS]))
    pa.csv.write_csv(table, paths["CSV"], pa.csv.WriteOptions(include_header=False))
    parquet.write_table(table, paths["Parquet"])
    with paths["NumPy"].open("wb") as file:
        np.save(file, rows)
    return paths


def compress(path: Path) -> dict[str, Path]:
    packed = {name: path.with_name(f"{path.name}.{name}") for name in ("gzip", "zstd")}
    packed["gzip"].write_bytes(igzip.compress(path.read_bytes(), 2))
    packed["zstd"].write_bytes(pa.Codec("zstd").compress(path.read_bytes(), asbytes=True))
    return packed


def ours(source: Source, n_features: int, content_type: str) -> None:
    deque(BatchReader([source], n_features, BATCH_ROWS, format_of(content_type, "train")), 0)


def by_pipe(path: Path, n_features: int, content_type: str) -> None:
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)

    def feed() -> None:
        with path.open("rb", buffering=0) as file, pipe.open("wb", buffering=0) as out:
            while piece := file.read(PIECE_BYTES):
                out.write(piece)

    feeder = threading.Thread(target=feed)
    feeder.start()
    ours(Pipe(pipe), n_features, content_type)
    feeder.join()
    pipe.unlink()


def plain(path: Path) -> None:
    room = memoryview(bytearray(PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while file.readinto(room):
            pass


def igzip_alone(path: Path) -> None:
    with igzip.open(path, "rb") as file:
        while file.read(PIECE_BYTES):
            pass


def arrow_csv(path: Path, n_features: int) -> None:
    names = [f"{j}" for j in range(n_features)]
    reading = pa.csv.ReadOptions(use_threads=False, column_names=names)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float32()))
    deque(pa.csv.open_csv(path, reading, convert_options=types), 0)


def arrow_parquet(path: Path) -> None:
    deque(parquet.ParquetFile(path, pre_buffer=False).iter_batches(use_threads=False), 0)


def shell(command: str, path: Path) -> None:
    subprocess.run(["sh", "-c", command, "sh", path], check=True)


def pandas_csv(path: Path) -> None:
    import pandas as pd

    pd.read_csv(path, header=None, dtype=np.float32)


def pandas_parquet(path: Path) -> None:
    import pandas as pd

    pd.read_parquet(path, engine="pyarrow", use_threads=False)


def numpy_load(path: Path) -> None:
    np.load(path)


def by_sdk(python: Path, path: Path, record_bytes: int) -> Took:
    """Time the SDK's reader on whole records at the head of a file; returns that of all of it."""
    n_bytes = min(SDK_BYTES // record_bytes * record_bytes, path.stat().st_size)
    command = [python, "-W", "ignore", "-c", SDK_READER, path, str(n_bytes)]
    quiet = {**os.environ, "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet).stdout
    scale = path.stat().st_size / n_bytes
    return Took(*(scale * float(seconds) for seconds in printed.splitlines()[-1].split()))


Way = Callable[[], Took | None]
"""What is timed; it returns nothing, or what it took by a clock of its own."""


def others(name: str, path: Path, n_features: int) -> dict[str, Way]:
    """Return what other programs do with the file."""
    found: dict[str, Way] = {"cat": partial(shell, 'cat "$1" > /dev/null', path)}
    if name == "Parquet":
        found["pyarrow alone"] = lambda: arrow_parquet(path)
    else:
        found["cat by pipe"] = partial(shell, 'cat "$1" | cat > /dev/null', path)
    if name == "CSV":
        found["pyarrow alone"] = lambda: arrow_csv(path, n_features)
    if name in ("CSV", "Parquet") and find_spec("pandas"):
        found["pandas"] = partial(pandas_csv if name == "CSV" else pandas_parquet, path)
    if name == "NumPy":
        found["numpy.load"] = partial(numpy_load, path)
    return found


def ways_in(name: str, path: Path, n_features: int) -> dict[str, Way]:
    """Return what is timed for one format, by name."""
    kind = TYPES[name]

    def of(file: Path) -> Way:
        return lambda: ours(whole_files([file])[0], n_features, kind)

    found: dict[str, Way] = {"read, not decoded": lambda: plain(path)}
    found["file"] = of(path)
    if name != "Parquet":
        packed = compress(path)
        found["pipe"] = lambda: by_pipe(path, n_features, kind)
        found |= {way: of(file) for way, file in packed.items()}
        found["igzip alone"] = lambda: igzip_alone(packed["gzip"])
    return found | others(name, path, n_features)


def took(way: Way) -> Took:
    before = clocks()
    own = way()
    after = clocks()
    return own or Took(after.cpu_s - before.cpu_s, after.wall_s - before.wall_s)


def measure(
    rows: np.ndarray, rounds: int, folder: Path, sdk: Path | None
) -> list[dict[str, object]]:
    figures = []
    for name, path in write_files(rows, folder).items():
        ways, seconds = ways_in(name, path, rows.shape[1]), defaultdict(list)
        if sdk and name == "RecordIO-protobuf":
            ways["SageMaker SDK"] = partial(by_sdk, sdk, path, path.stat().st_size // len(rows))
        for way, function in [*ways.items()] * rounds:
            seconds[way].append(took(function))
        gb = path.stat().st_size / 1e9
        for way, timed in seconds.items():
            cpu, wall = (statistics.median(values) for values in zip(*timed, strict=True))
            figures.append({"format": name, "way": way, "gb": gb, "cpu_s": cpu, "wall_s": wall})
            print(
                f"| {name} | {way} | {gb:.2f} | {gb / wall:.2f} | {cpu / gb:.2f} "
                f"| {len(rows) / wall / 1e6:.2f} |",
                flush=True,
            )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    sdk = find_sdk()
    if not find_spec("pandas"):
        print("pandas is not installed: its readers are left out", file=sys.stderr)
    print("| content | way | GB | GB/s | CPU s / GB | million rows/s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    rows = heavy_tailed(options.rows).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(rows, options.rounds, Path(folder), sdk)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
