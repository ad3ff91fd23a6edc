"""How fast every kind of channel is read, beside what others take for the same bytes.

    python tests/benchmarks/channels.py [--rows 1000000] [--rounds 5] [--json FILE]

Prints Markdown: for each content type and way in (file, pipe, gzip, zstd), gigabytes a second of
the bytes as they are before compression, CPU seconds for a gigabyte of them, and the same of others
on the same file: reading it without decoding, pyarrow's own readers, igzip alone. One thread, and
one that feeds the pipe; files lie in the page cache; medians of rounds in which all take turns.
Rows are drawn like GDELT's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

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

BLOCK_ROWS, BATCH_ROWS, PIECE_BYTES = 20_000, 16_000, 2**20
TYPES = {
    "RecordIO-protobuf": "application/x-recordio-protobuf",
    "CSV": "text/csv",
    "Parquet": "application/x-parquet",
    "NumPy": "application/x-npy",
}


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


def ways_in(name: str, path: Path, n_features: int) -> dict[str, Callable[[], object]]:
    """Return what is timed for one format, by name."""
    kind = TYPES[name]

    def of(file: Path) -> Callable[[], object]:
        return lambda: ours(whole_files([file])[0], n_features, kind)

    found: dict[str, Callable[[], object]] = {"read, not decoded": lambda: plain(path)}
    found["file"] = of(path)
    if name == "Parquet":
        return found | {"pyarrow alone": lambda: arrow_parquet(path)}
    packed = compress(path)
    found["pipe"] = lambda: by_pipe(path, n_features, kind)
    found |= {way: of(file) for way, file in packed.items()}
    found["igzip alone"] = lambda: igzip_alone(packed["gzip"])
    if name == "CSV":
        found["pyarrow alone"] = lambda: arrow_csv(path, n_features)
    return found


def measure(rows: np.ndarray, rounds: int, folder: Path) -> list[dict[str, object]]:
    figures = []
    for name, path in write_files(rows, folder).items():
        ways, seconds = ways_in(name, path, rows.shape[1]), defaultdict(list)
        for way, function in [*ways.items()] * rounds:
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            seconds[way].append((time.process_time() - cpu, time.perf_counter() - wall))
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
    print("| content | way | GB | GB/s | CPU s / GB | million rows/s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    rows = heavy_tailed(options.rows).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(rows, options.rounds, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
