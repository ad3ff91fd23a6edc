"""How the strings of hyperparameters become values.

Clients spell the same value differently: plain (``7``), JSON-quoted (``"7"`` within the string),
Python's ``True`` and ``['msd']``, or as JSON numbers and lists. All are accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

LARGEST = 2**31 - 1
"""The largest whole number, where nothing else is said: sizes beyond it are slips of the pen."""

_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_RANGE = re.compile(r"([1-9][0-9]{0,17})(?:\s*-\s*([1-9][0-9]{0,17}))?")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Kind(NamedTuple):
    """A kind of value.

    Attributes
    ----------
    accepted : str
        What is accepted, for messages and documentation.
    parse : callable
        Turns the plain text into the value, or raises `ValueError`.
    words : tuple of str
        What may be written in so many words, for shells to complete.
    """

    accepted: str
    parse: Callable[[str], Any]
    words: tuple[str, ...] = ()


def plain_text(value: object) -> str:
    """Reduce any client's spelling to plain text.

    Examples
    --------
    >>> [plain_text(value) for value in (7, '"kmeans++"', True, ["msd"], " 7 ")]
    ['7', 'kmeans++', 'true', '["msd"]', '7']
    """
    if not isinstance(value, str):
        return json.dumps(value)
    text = value.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            text = str(json.loads(text)).strip()
        except ValueError:
            return text
    return text


def whole(minimum: int, maximum: int = LARGEST) -> Kind:
    """Accept whole numbers between two others, both included."""

    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not minimum <= int(text) <= maximum:
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number from {minimum} to {maximum}", parse)


def real(minimum: float, maximum: float) -> Kind:
    """Accept numbers between two others, both included."""

    def parse(text: str) -> float:
        if not _REAL.fullmatch(text) or not minimum <= float(text) <= maximum:
            raise ValueError(text)
        return float(text)

    return Kind(f"a number from {minimum:g} to {maximum:g}", parse)


def choice(*names: str, aliases: dict[str, str] | None = None) -> Kind:
    """Accept one of some words."""
    spelled = {**{name: name for name in names}, **(aliases or {})}

    def parse(text: str) -> str:
        if text not in spelled:
            raise ValueError(text)
        return spelled[text]

    return Kind(" or ".join(names), parse, names)


def auto_or(kind: Kind) -> Kind:
    """Accept the word ``auto``, or a value of another kind."""

    def parse(text: str) -> Any:
        return text if text == "auto" else kind.parse(text)

    return Kind(f"auto or {kind.accepted}", parse, ("auto", *kind.words))


def flag() -> Kind:
    """Accept true or false, in any case."""

    def parse(text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"

    return Kind("true or false", parse, ("true", "false"))


def some_of(*names: str) -> Kind:
    """Accept a list of some words, each at most once: JSON, or as Python prints it."""

    def parse(text: str) -> tuple[str, ...]:
        items = json.loads(text.replace("'", '"')) if text.startswith("[") else [text]
        if not items or len(set(items)) != len(items) or not set(items) <= set(names):
            raise ValueError(text)
        return tuple(items)

    return Kind(f"a JSON list of some of {json.dumps(names)}", parse, names)


def numbers(minimum: int, maximum: int, n_most: int) -> Kind:
    """Accept numbers and ranges of them, or nothing: ``2-12``, ``2,4,8``, ``[2, 4, "8-10"]``."""

    def parse(text: str) -> tuple[int, ...]:
        found: set[int] = set()
        for part in text.strip("[]").split(",") if text else ():
            match = _RANGE.fullmatch(part.strip().strip("\"'"))
            if not match:
                raise ValueError(text)
            low, high = int(match[1]), int(match[2] or match[1])
            if not minimum <= low <= high <= maximum or len(found) + high - low >= n_most:
                raise ValueError(text)
            found.update(range(low, high + 1))
        return tuple(sorted(found))

    return Kind(
        f"numbers and ranges from {minimum} to {maximum}, {n_most} in all at most: 2-12 or 2,4,8",
        parse,
    )


def names() -> Kind:
    """Accept any names, or none: a JSON list, or words between commas."""

    def parse(text: str) -> tuple[str, ...]:
        items = json.loads(text) if text.startswith("[") else text.split(",") if text else []
        if not all(isinstance(item, str) and item.strip() for item in items):
            raise ValueError(text)
        return tuple(item.strip() for item in items)

    return Kind("a JSON list of names, or names between commas", parse)


def text() -> Kind:
    """Accept anything."""
    return Kind("any text", str)
