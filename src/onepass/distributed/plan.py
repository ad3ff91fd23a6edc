"""What many workers make is united two by two, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_R = TypeVar("_R")


def tree(parts: Sequence[_R], unite: Callable[[_R, _R], _R]) -> _R:
    """Unite neighbours, then what came of them, until one is left.

    Parameters
    ----------
    parts : sequence
        One at least. They may be promises of parts, if those are what `unite` takes.
    unite : callable
        Takes two that follow one another.

    Returns
    -------
    One like `parts`
        Of all, in their order: it does not depend on which of them are there first.

    Notes
    -----
    The last of an odd number waits for the next round: a part goes through ``log2(len(parts)) + 1``
    unions at most, and unions of one round may be made at the same time.

    Examples
    --------
    >>> tree(["a", "b", "c", "d", "e"], lambda a, b: f"({a}{b})")
    '(((ab)(cd))e)'
    """
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [unite(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]
