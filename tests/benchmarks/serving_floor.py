"""What answering cannot go below: the fastest parse known, one product, and writing the answers.

In this process, on one thread, without HTTP, and without a look at whether the body is right.
"""

from __future__ import annotations

import importlib.util
import io
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from threading import local
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
from threadpoolctl import threadpool_limits

from onepass.formats.compiled import Form, is_compiled
from onepass.formats.numbers import read_rows

TILE_VALUES = 2**18
TRIES = 5
OPTIONAL = "simdjson", "pandas"

Parse = Callable[[bytes], np.ndarray]

_of_simdjson = local()


def floor_s(name: str, body: bytes, rows: np.ndarray, centers: np.ndarray, seconds: float) -> float:
    """Return the seconds of a processor that one request takes at least: median of many."""
    with threadpool_limits(1):
        parses = parsers(name, body, rows)
        for parse in parses.values():
            np.testing.assert_array_equal(parse(body), rows)
        fastest = min(
            parses.values(), key=lambda parse: median_s(partial(parse, body), seconds / 10)
        )
        search = Search(centers)
        encode = encode_records if name == "recordio" else encode_text
        return median_s(lambda: encode(*search(fastest(body))), seconds)


def median_s(function: Callable[[], object], seconds: float) -> float:
    took: list[float] = []
    begun = time.perf_counter()
    while len(took) < TRIES or time.perf_counter() < begun + seconds:
        before = time.thread_time()
        function()
        took.append(time.thread_time() - before)
    return statistics.median(took)


def parsers(name: str, body: bytes, rows: np.ndarray) -> dict[str, Parse]:
    """Return ways to read just this kind of body, where it is as `serving_bodies` writes it.

    Those of packages that are not installed are left out.
    """
    if name == "recordio":
        return {"numpy": _records(body, rows)}
    parses = _csv_parsers(rows.shape) if name == "csv" else _json_parsers(rows.shape)
    if not is_compiled():
        del parses["onepass"]
    for package in OPTIONAL:
        if package in parses and importlib.util.find_spec(package) is None:
            del parses[package]
    return parses


def _csv_parsers(shape: tuple[int, int]) -> dict[str, Parse]:
    form = Form(b"\n", shape[1], is_lines=True, is_lax=True)

    def pandas(body: bytes) -> np.ndarray:
        import pandas as pd

        return pd.read_csv(io.BytesIO(body), header=None, dtype=np.float32).to_numpy()

    return {
        "onepass": lambda body: read_rows(body, form),
        "simdjson": lambda body: _simdjson(b"[%b]" % body.replace(b"\n", b","), shape),
        "pyarrow": partial(_arrow, shape[1]),
        "orjson": lambda body: _orjson(b"[%b]" % body.replace(b"\n", b",")).reshape(shape),
        "pandas": pandas,
        "numpy": lambda body: np.loadtxt(io.BytesIO(body), np.float32, delimiter=",", ndmin=2),
    }


def _json_parsers(shape: tuple[int, int]) -> dict[str, Parse]:
    head, between, tail = b'{"instances":[{"features":', b']},{"features":[', b"}]}"
    form = Form(between, shape[1])

    def table(parsed: Any) -> np.ndarray:
        return np.array([instance["features"] for instance in parsed["instances"]], np.float32)

    return {
        "onepass": lambda body: read_rows(memoryview(body)[len(head) + 1 : -len(tail) - 1], form),
        "simdjson": lambda body: _simdjson(
            body[len(head) : -len(tail)].replace(between, b","), shape
        ),
        "orjson": lambda body: table(orjson.loads(body)),
        "json": lambda body: table(json.loads(body)),
    }


def _simdjson(array: bytes, shape: tuple[int, int]) -> np.ndarray:
    import simdjson

    if not hasattr(_of_simdjson, "parser"):
        _of_simdjson.parser = simdjson.Parser()  # memory that is used again takes half the time
    numbers = np.frombuffer(_of_simdjson.parser.parse(array).as_buffer(of_type="d"))
    return numbers.astype(np.float32).reshape(shape)


def _orjson(array: bytes) -> np.ndarray:
    return np.array(orjson.loads(array), np.float32)


def _arrow(n_features: int, body: bytes) -> np.ndarray:
    names = [f"{j}" for j in range(n_features)]
    reading = pa.csv.ReadOptions(use_threads=False, column_names=names)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float32()))
    table = pa.csv.read_csv(pa.py_buffer(body), reading, convert_options=types)
    rows = np.empty(table.shape, np.float32)
    for j, column in enumerate(table.columns):
        rows[:, j] = column.to_numpy()
    return rows


def _records(body: bytes, rows: np.ndarray) -> Parse:
    """Take every row from the same place in its record: all records here are alike."""
    size, start = len(body) // len(rows), body.index(rows[0].tobytes())
    stop = start + rows[0].nbytes

    def parse(body: bytes) -> np.ndarray:
        frames = np.frombuffer(body, np.uint8).reshape(-1, size)
        return np.ascontiguousarray(frames[:, start:stop]).view(np.float32)

    return parse


class Search:
    """The closest centers by |c|^2 - 2 x.c, tile by tile; what depends on centers is made once."""

    def __init__(self, centers: np.ndarray) -> None:
        self._minus_twice = np.ascontiguousarray(-2 * centers.T)
        self._squares = np.einsum("ij,ij->i", centers, centers)
        self._step = max(1, TILE_VALUES // len(centers))

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = np.empty(len(rows), np.intp)
        least = np.einsum("ij,ij->i", rows, rows)
        for start in range(0, len(rows), self._step):
            part = slice(start, start + self._step)
            scores = rows[part] @ self._minus_twice
            scores += self._squares
            labels[part] = scores.argmin(axis=1)
            least[part] += scores[np.arange(len(scores)), labels[part]]
        return labels, np.sqrt(np.maximum(least, 0, out=least), out=least)


def encode_text(labels: np.ndarray, distances: np.ndarray) -> bytes:
    pairs = np.column_stack((labels.astype(np.float32), distances))
    return orjson.dumps(pairs, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_records(labels: np.ndarray, distances: np.ndarray) -> bytes:
    return np.column_stack((labels.astype(np.float32), distances)).tobytes()
