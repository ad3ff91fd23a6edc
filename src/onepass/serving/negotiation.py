"""Which format a body is in, and which one the client wants back."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from onepass.formats.media import CODECS, MediaType
from onepass.serving.problems import HttpError

_QUALITY = re.compile(r"0?\.[0-9]*|[01](\.[0-9]*)?", re.ASCII)
_LONGEST_ACCEPT = 2**12
_ANY = ("*/*", "*")  # the second is what Java's own client sends


class Wanted(NamedTuple):
    """The form of an answer.

    Attributes
    ----------
    name : str
        Its media type.
    verbose : bool
        Whether the distances to all clusters are wanted, too.
    """

    name: str
    verbose: bool = False


class _Range(NamedTuple):
    """One element of an Accept header, such as ``text/*;q=0.5``."""

    name: str
    quality: float
    verbose: bool


@lru_cache(maxsize=256)
def content_type(header: str | None) -> MediaType:
    """Return the media type of a body; 415 when it is not read here."""
    media = MediaType.parse(header or "")
    if media.name not in CODECS:
        raise HttpError(
            415,
            "unsupported_content_type",
            f"content-type {header or 'missing'!s} is not supported; "
            f"supported are {', '.join(CODECS)}",
        )
    return media


@lru_cache(maxsize=256)
def answer_type(accept: str | None, default: str) -> Wanted:
    """Return the form to answer in; 406 when none that the client accepts is written here.

    Parameters
    ----------
    accept : str or None
        The Accept header.
    default : str
        Where the client does not care.

    Examples
    --------
    >>> answer_type("text/*;q=0.5, application/jsonlines; verbose=true", "application/json")
    Wanted(name='application/jsonlines', verbose=True)
    """
    if accept and len(accept) > _LONGEST_ACCEPT:
        raise HttpError(
            406,
            "not_acceptable",
            f"Accept has {len(accept)} characters; at most {_LONGEST_ACCEPT} are read",
        )
    ranges = [_parse(element) for element in (accept or "").split(",") if element.strip()]
    if not ranges:
        return Wanted(default)
    ours = (default, *(name for name in CODECS if name != default))
    best = max(ours, key=lambda name: _preference(name, ranges))  # the first of equals
    quality, _, minus_place = _preference(best, ranges)
    if quality <= 0:
        raise HttpError(
            406,
            "not_acceptable",
            f"Accept {accept!r} is not supported; supported are {', '.join(CODECS)}",
        )
    return Wanted(best, ranges[-minus_place].verbose)


def _parse(element: str) -> _Range:
    media = MediaType.parse(element)
    quality = media.parameters.get("q", "1")
    readable = _QUALITY.fullmatch(quality) and quality != "."
    verbose = media.parameters.get("verbose", "").lower() == "true"
    return _Range(media.name, min(1.0, float(quality)) if readable else 1.0, verbose)


def _preference(name: str, ranges: list[_Range]) -> tuple[float, int, int]:
    """Rank a type: its quality in the range that names it most closely, how closely, how early."""
    family = f"{name.partition('/')[0]}/*"
    for closeness, spellings in ((2, (name,)), (1, (family,)), (0, _ANY)):
        ranks = [
            (range_.quality, closeness, -i)
            for i, range_ in enumerate(ranges)
            if range_.name in spellings
        ]
        if ranks:
            return max(ranks)
    return 0.0, 0, 0
