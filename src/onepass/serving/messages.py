"""Requests and answers, as the server's own parts see them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Response(NamedTuple):
    """An answer.

    Attributes
    ----------
    status : int
    body : bytes or bytearray
    content_type : str
        Empty where there is no body.
    headers : tuple of pairs of str
        Further ones.
    """

    status: int
    body: bytes | bytearray = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Durations(NamedTuple):
    """What answering took, in seconds."""

    decode: float = 0.0
    predict: float = 0.0
    encode: float = 0.0


@dataclass
class Request:
    """A request, and what becomes known of it while it is answered.

    Attributes
    ----------
    method : str
    path : str
        As it was sent: percent signs are not undone.
    headers : mapping of str to str
        Names in lower case; the first of each.
    identity : str
        The client's id for it, or ours.
    query : str
        What follows a question mark.
    route : str
        The pattern that its path matches.
    model : str
        The model's name; empty where the server has but one.
    started : float
        By `time.perf_counter`.
    n_bytes_in, n_rows : int
    durations : Durations
    held : ExitStack
        What is held until the answer has been sent.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    identity: str
    query: str = ""
    route: str = ""
    model: str = ""
    started: float = field(default_factory=time.perf_counter)
    n_bytes_in: int = 0
    n_rows: int = 0
    durations: Durations = field(default_factory=Durations)
    held: ExitStack = field(default_factory=ExitStack)


def to_json(value: Any) -> bytes:
    """Write JSON; text that is no Unicode is written as what stands for it."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(value))


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _encodable(member) for name, member in value.items()}
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
