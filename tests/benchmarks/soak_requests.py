"""Requests of every kind, good and bad, with what must be answered to each.

What makes this module long is how many ways there are to be wrong.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from serving_bodies import FORMATS, Truth, csv, npy
from serving_bodies import json as json_of

LIMIT_MB = 32
SIZES = {"small": (1, 50), "1,000 rows": (1000, 1000), "large": (20_000, 20_000)}
"""How many rows there are in a body: from, and to."""

SHARES = {"small": 60, "1,000 rows": 12, "large": 1, "huge": 0.05}
POOL = {"small": 0, "1,000 rows": 4, "large": 2, "huge": 1}
"""How many bodies there are of each format; small ones are made anew each time."""

BAD, BAD_AND_LARGE, PLAIN = 1, 0.05, 2


class Answer(NamedTuple):
    """What a server said."""

    status: int
    head: bytes
    body: bytes


Check = Callable[[bytes], str]
"""Says what is wrong with the body of an answer; nothing where it is right."""


@dataclass(frozen=True)
class Case:
    """A request, and its right answer.

    Attributes
    ----------
    size : str
        What its latency is counted under; empty where it is not.
    start : str
        Such as ``POST /invocations``.
    body : bytes or None
        None for a request that has none, and says so by not speaking of it.
    raw : bytes
        Where given, all that is sent.
    unsent : bool
        The body is declared, and never sent.
    """

    kind: str
    status: int
    start: str = "POST /invocations"
    headers: tuple[str, ...] = ()
    body: bytes | None = None
    check: Check = lambda _: ""
    size: str = ""
    raw: bytes = b""
    unsent: bool = False


class Kind(NamedTuple):
    """A kind of request; `make` draws one."""

    title: str
    share: float
    make: Callable[[random.Random], Case]


class Body(NamedTuple):
    """Rows in a format, and zipped; from a pool they are shared by all clients."""

    truth: Truth
    plain: bytes
    zipped: bytes


class Requests:
    """Draws requests for a model.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    huge_mb : float
        Of the largest good bodies.
    formats : list of str
        What the server reads and writes.
    zipped : bool
        Whether it reads bodies that are zipped.
    """

    def __init__(
        self, centers: np.ndarray, huge_mb: float, formats: list[str], *, zipped: bool
    ) -> None:
        self._centers, self._formats, self._zipped = centers, formats, zipped
        self._rng = np.random.default_rng(0)
        self._sizes = {**SIZES, "huge": self._rows_of(huge_mb)}
        self._pool = {
            (name, size): [self._body(name, size) for _ in range(POOL[size])]
            for name in formats
            for size in SHARES
        }

    def kinds(self) -> list[Kind]:
        """Return all kinds of requests."""
        found = [
            Kind(f"{FORMATS[name].title}, {size}", share, self._maker(name, size))
            for name in self._formats
            for size, share in SHARES.items()
        ]
        found += [_kind(case, PLAIN) for case in _plain()]
        found += [_kind(case, BAD) for case in self._bad()]
        return found + [_kind(case, BAD_AND_LARGE) for case in self._bad_and_large()]

    def reseed(self, seed: int) -> None:
        """Draw other rows than other clients do."""
        self._rng = np.random.default_rng(seed)

    def _rows_of(self, megabytes: float) -> tuple[int, int]:
        n = int(megabytes * 1e6 / len(json_of(self._rows(100))) * 100)
        return n, n

    def _rows(self, n: int) -> np.ndarray:
        rows = self._centers[self._rng.integers(0, len(self._centers), n)]
        return rows + self._rng.standard_normal(rows.shape, np.float32)

    def _body(self, name: str, size: str) -> Body:
        n = int(self._rng.integers(*self._sizes[size], endpoint=True))
        rows = self._rows(n)
        plain = FORMATS[name].write(rows)
        return Body(Truth(rows, self._centers), plain, gzip.compress(plain, 1))

    def _maker(self, name: str, size: str) -> Callable[[random.Random], Case]:
        def make(draw: random.Random) -> Case:
            pool = self._pool[name, size]
            body = draw.choice(pool) if pool else self._body(name, size)
            wanted, zipped = draw.choice(self._formats), self._zipped and draw.random() < 0.2
            headers = [f"Content-Type: {FORMATS[name].content_type}"]
            headers += [f"Accept: {FORMATS[wanted].content_type}"]
            headers += ["Content-Encoding: gzip"] * zipped

            def check(answer: bytes) -> str:
                return body.truth.complaint(FORMATS[wanted].read(answer))

            sent = body.zipped if zipped else body.plain
            title = f"{FORMATS[name].title} to {FORMATS[wanted].title}"
            return Case(title, 200, headers=tuple(headers), body=sent, check=check, size=size)

        return make

    def _bad(self) -> Iterator[Case]:
        """Yield small requests that must be refused."""
        rows = self._rows(3)
        good = csv(rows)
        for kind, body in {
            "no numbers": b"a,b,c",
            "too few columns": csv(rows[:, 1:]),
            "a ragged row": good + b"\n1,2",
            "NaN": good.replace(b",", b",nan,", 1),
            "too large for float32": b",".join([b"1e39"] * rows.shape[1]),
            "nothing": b"",
            "a header": b",".join(b"x%d" % j for j in range(rows.shape[1])) + b"\n" + good,
        }.items():
            yield _refused(f"CSV: {kind}", 400, "text/csv", body)
        text = json_of(rows)
        for kind, body in {
            "cut short": text[:-5],
            "another name": text.replace(b"instances", b"rows"),
            "a string": text.replace(b"[", b'["1",', 2),
            "no object": b"[]",
            "deep": b"[" * 100_000,
            "NaN": text.replace(b'"features":[', b'"features":[NaN,', 1),
        }.items():
            yield _refused(f"JSON: {kind}", 400, "application/json", body)
        yield from self._bad_bytes(rows)
        yield from _bad_headers(good)

    def _bad_bytes(self, rows: np.ndarray) -> Iterator[Case]:
        for name, cut, bad in (
            ("jsonlines", -3, b"{}\n{}"),
            ("recordio", -7, bytes(16)),
            ("npy", -1, b"\x93NUMPY\x01\x00\x10\x00"),
        ):
            if name in self._formats:
                title, content_type, write, _ = FORMATS[name]
                yield _refused(f"{title}: cut short", 400, content_type, write(rows)[:cut])
                yield _refused(f"{title}: nonsense", 400, content_type, bad)
        if "npy" in self._formats:
            yield _refused("NumPy: text", 400, FORMATS["npy"].content_type, npy(rows.astype("U")))
        if self._zipped:
            zipped = gzip.compress(csv(rows))
            for kind, body in (("cut short", zipped[:-4]), ("no gzip", csv(rows))):
                yield _refused(f"gzip: {kind}", 400, "text/csv", body, "Content-Encoding: gzip")

    def _bad_and_large(self) -> Iterator[Case]:
        """Yield requests that are longer than what is accepted."""
        longer = LIMIT_MB * 2**20 + 1
        zeros = bytes(longer)
        yield _refused("too long", 413, "text/csv", zeros)
        yield _refused("too long, in chunks", 413, "text/csv", zeros, chunked=True)
        yield Case(
            "declared too long", 413, headers=("Content-Type: text/csv",), body=zeros, unsent=True
        )
        if self._zipped:
            bomb = gzip.compress(zeros)
            yield _refused("gzip bomb", 413, "text/csv", bomb, "Content-Encoding: gzip")


CHUNKED = "Transfer-Encoding: chunked"


def _refused(
    kind: str, status: int, content_type: str, body: bytes, *more: str, chunked: bool = False
) -> Case:
    headers = (f"Content-Type: {content_type}", *more, *[CHUNKED] * chunked)
    return Case(kind, status, headers=headers, body=body, check=_is_told)


def _bad_headers(good: bytes) -> Iterator[Case]:
    for kind, status, *headers in (
        ("Accept: a picture", 406, "Content-Type: text/csv", "Accept: image/png"),
        ("Content-Type: text", 415, "Content-Type: text/plain"),
        ("Content-Type: none", 415),
        ("Content-Encoding: br", 415, "Content-Type: text/csv", "Content-Encoding: br"),
    ):
        yield Case(kind, status, headers=tuple(headers), body=good, check=_is_told)
    for start, status in (
        ("GET /nothing", 404),
        ("POST /invocations/", 404),
        ("GET /invocations", 405),
        ("DELETE /ping", 405),
    ):
        yield Case(start, status, start, check=_is_told)
    yield Case("no HTTP", 400, raw=b"HELLO\r\n\r\n")


def _plain() -> Iterator[Case]:
    def is_empty(body: bytes) -> str:
        return "a ping's answer has a body" if body else ""

    def is_object(body: bytes) -> str:
        return "" if isinstance(json.loads(body), dict) else "no object"

    yield Case("ping", 200, "GET /ping", check=is_empty, size="ping")
    yield Case("execution parameters", 200, "GET /execution-parameters", check=is_object)


def _is_told(body: bytes) -> str:
    """A client that is refused is told why."""
    return "" if body.strip() else "the reason is not told"


def _kind(case: Case, share: float) -> Kind:
    return Kind(case.kind, share, lambda _: case)
