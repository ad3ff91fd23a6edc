"""What every decoder must do with any bytes, and what two ways to decode must have in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from onepass.errors import DecodeError

MOST_ROWS = 4096
"""No more rows are asked of a decoder: a few bytes of a compressed file hold millions."""


class BrokenPromiseError(Exception):
    """A decoder has broken a promise: what a run is made to find."""


class Outcome(NamedTuple):
    """What came of decoding: a value, or the text of the refusal."""

    value: Any
    refusal: str = ""


def outcome(decode: Callable[..., Any], *given: Any) -> Outcome:
    """Decode; nothing but the one error may come out instead of a value."""
    try:
        return Outcome(decode(*given))
    except DecodeError as error:
        return Outcome(None, str(error) or "refused")


def check_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows that are what is promised: finite float32, in two dimensions, not empty."""
    if rows.dtype != np.float32 or rows.ndim != 2 or not rows.size:
        raise BrokenPromiseError(f"rows of type {rows.dtype} and shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise BrokenPromiseError("a value that is not finite")
    return rows


def same(one: Outcome, other: Outcome, what: str) -> None:
    """Refuse two ways to decode that differ in their values, or in whether there are any."""
    if bool(one.refusal) != bool(other.refusal):
        raise BrokenPromiseError(
            f"{what}: {one.refusal or 'decoded'!r} and {other.refusal or 'decoded'!r}"
        )
    if not one.refusal and not np.array_equal(one.value, other.value):
        raise BrokenPromiseError(f"{what}: {one.value!r} and {other.value!r}")


def rows_of(file: Any, n_features: int, seed: int = 0) -> np.ndarray:
    """Read a `RowFile` to its end, or as far as `MOST_ROWS`, into outputs of any length."""
    random_ = random.Random(seed)
    rows = np.empty((0, n_features), np.float32)
    while len(rows) < MOST_ROWS:
        out = np.full((random_.randint(1, 9) if seed else MOST_ROWS, n_features), np.nan, "f4")
        n_rows = file.decode(out).n_rows
        if not n_rows:
            break
        rows = np.concatenate([rows, check_rows(out[:n_rows])])
    return rows[:MOST_ROWS]


def everything(stream: Any, limit_bytes: int, room: int = 65536) -> bytes:
    """Read a stream to its end, or as far as the limit."""
    found, buffer = bytearray(), memoryview(bytearray(room))
    while len(found) < limit_bytes and (n := stream.readinto(buffer)):
        found += buffer[:n]
    return bytes(found[:limit_bytes])


@contextmanager
def smaller(module: ModuleType, **constants: int) -> Iterator[None]:
    """Give constants of a module smaller values, so that few bytes are many blocks."""
    before = {name: getattr(module, name) for name in constants}
    for name, value in constants.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
