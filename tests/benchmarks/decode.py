"""How fast RecordIO-protobuf is decoded, beside reading the same file without decoding it.

    python tests/benchmarks/decode.py [--gb 1] [--json FILE]

Prints a Markdown table. The files lie in the page cache; one thread reads them into one buffer that
is used again and again, and decodes that into one batch of rows likewise. Figures are medians of
rounds in which all readers take turns. Where ONEPASS_ORACLES names a folder with an environment
`sagemaker`, the SageMaker SDK's own reader is timed on the head of the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from onepass.data.ahead import Stop
from onepass.data.record_file import READ_BYTES, RecordFile
from onepass.data.sources import whole_files
from onepass.data.streams import OpenSource
from onepass.formats.record_writer import write_rows

WIDTHS = [10, 26, 100, 400, 784]
PAGE_BYTES = 4096
ROUNDS = 9
SDK_BYTES = 2**24
BLOCK_ROWS = 4096

SDK_READER = """
import io, sys, time
from sagemaker.amazon.common import read_records
with open(sys.argv[1], "rb") as file:
    head = file.read(int(sys.argv[2]))
start = time.perf_counter()
read_records(io.BytesIO(head))
print(len(head) / (time.perf_counter() - start))
"""


def write_file(path: Path, n_features: int, n_bytes: int) -> int:
    """Write about `n_bytes` of dense float32 records; return the bytes of one record."""
    rows = np.random.default_rng(20240229).random((BLOCK_ROWS, n_features), np.float32)
    block = write_rows(rows)
    with path.open("wb") as file:
        for _ in range(max(1, round(n_bytes / len(block)))):
            file.write(block)
    return len(block) // BLOCK_ROWS


def page_aligned(n_bytes: int) -> np.ndarray:
    """Make room that starts with a page, as copies from the page cache are slow to other places."""
    room = np.ones(n_bytes + PAGE_BYTES, np.uint8)
    start = -room.ctypes.data % PAGE_BYTES
    return room[start : start + n_bytes]


class Readers:
    """Two ways through a file: reading it, and reading and decoding it as training does."""

    def __init__(self, path: Path, n_features: int, record_bytes: int) -> None:
        self.path = path
        self.n_features = n_features
        self.buffer = page_aligned(READ_BYTES)
        self.rows = np.ones((READ_BYTES // record_bytes + 2, n_features), np.float32)

    def plain(self) -> int:
        n_bytes = 0
        with self.path.open("rb", buffering=0) as file:
            while n := file.readinto(self.buffer.data):
                n_bytes += n
        return n_bytes

    def decoded(self) -> int:
        n_bytes = 0
        with closing(Stop()) as stop, OpenSource(*whole_files([self.path]), stop) as source:
            file = RecordFile(next(source.objects()), self.n_features)
            while n := file.decode(self.rows).n_bytes:
                n_bytes += n
        return n_bytes


def bytes_per_s(read: Callable[[], int], n_bytes: int) -> float:
    start = time.perf_counter()
    if read() != n_bytes:
        raise RuntimeError("a reader did not come through the whole file")
    return n_bytes / (time.perf_counter() - start)


def measure(folder: Path, n_features: int, n_bytes: int, sdk: Path | None) -> dict[str, Any]:
    path = folder / f"d{n_features}.pbr"
    record_bytes = write_file(path, n_features, n_bytes)
    readers = Readers(path, n_features, record_bytes)
    size = path.stat().st_size
    readers.plain()
    rounds = [
        (bytes_per_s(readers.plain, size), bytes_per_s(readers.decoded, size))
        for _ in range(ROUNDS)
    ]
    found: dict[str, Any] = {
        "n_features": n_features,
        "record_bytes": record_bytes,
        "file_bytes": size,
        "read_gb_per_s": statistics.median(plain for plain, _ in rounds) / 1e9,
        "decode_gb_per_s": statistics.median(decoded for _, decoded in rounds) / 1e9,
        "ratio": statistics.median(decoded / plain for plain, decoded in rounds),
    }
    if sdk:
        head = SDK_BYTES // record_bytes * record_bytes
        command = [sdk, "-W", "ignore", "-c", SDK_READER, path, str(head)]
        quiet = {**os.environ, "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
        printed = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
        found["sdk_gb_per_s"] = float(printed.stdout.splitlines()[-1]) / 1e9
    path.unlink()
    return found


def find_sdk() -> Path | None:
    home = os.environ.get("ONEPASS_ORACLES")
    if not home:
        print("ONEPASS_ORACLES is not set: the SDK's reader is left out", file=sys.stderr)
        return None
    python = Path(home, "sagemaker", "bin", "python")
    if not python.exists():
        print(f"there is no {python}: the SDK's reader is left out", file=sys.stderr)
        return None
    return python


def table_row(found: dict[str, Any]) -> str:
    sdk = f"{found['sdk_gb_per_s']:.4f}" if "sdk_gb_per_s" in found else "-"
    return (
        f"| {found['n_features']} | {found['record_bytes']} | {found['read_gb_per_s']:.1f} "
        f"| {found['decode_gb_per_s']:.1f} | {found['ratio']:.2f} | {sdk} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gb", type=float, default=1, help="size of each file (1)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    arguments = parser.parse_args()
    sdk, figures = find_sdk(), []
    print("| d | record, bytes | read, GB/s | decode, GB/s | decode / read | SDK, GB/s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for n_features in WIDTHS:
            figures.append(measure(Path(folder), n_features, int(arguments.gb * 1e9), sdk))
            print(table_row(figures[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
