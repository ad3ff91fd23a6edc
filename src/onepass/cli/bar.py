"""A progress bar for people at a terminal."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from typing import Any

import click

_REDRAWN_EVERY_S = 0.1
_BESIDE_SPEED = 34
"""Columns that a bar of ten characters, the share and the time left take."""


class BarProgress:
    """Shows each pass over the data as a bar, with the time left, the speed and the msd so far."""

    def start(self, what: str, n_bytes: int) -> None:
        """Begin a pass."""
        self._started = self._drawn = time.monotonic()
        self._seen = 0, 0, 0.0
        self._drawn_bytes = 0
        self._speed = ""
        click.echo(what, err=True)  # a line of its own: all of the bar's is needed
        self._bar: Any = click.progressbar(
            None if n_bytes else itertools.repeat(None),  # moves to and fro
            length=n_bytes or None,
            file=sys.stderr,
            bar_template="[%(bar)s]  %(info)s",
            item_show_func=lambda _: self._speed,
            width=0,  # as wide as the terminal leaves it
        )
        self._bar.__enter__()

    def advance(self, n_bytes: int, n_rows: int, msd: float = 0.0) -> None:
        """Move the bar, unless that has just been done."""
        self._seen = n_bytes, n_rows, msd
        now = time.monotonic()
        if not self._drawn_bytes or now - self._drawn >= _REDRAWN_EVERY_S:
            self._draw(now)

    def finish(self) -> None:
        """Fill the bar."""
        self._draw(time.monotonic())  # what has come since
        self._bar.finish()
        self._bar.render_progress()
        self._bar.__exit__(None, None, None)

    def abandon(self) -> None:
        """End the bar's line as it is and show the cursor again."""
        self._bar.__exit__(None, None, None)

    def _draw(self, now: float) -> None:
        n_bytes, n_rows, msd = self._seen
        seconds = max(now - self._started, 1e-9)
        facts = [f"{n_rows / seconds:,.0f} rows/s", f"{n_bytes / seconds / 1e9:.2f} GB/s"]
        if msd:
            facts.append(f"msd {msd:.4g} so far")
        self._speed = _as_fits(facts)
        self._bar.update(n_bytes - self._drawn_bytes)
        self._drawn, self._drawn_bytes = now, n_bytes


def _as_fits(facts: list[str]) -> str:
    """Return the first facts, as many as stand in one line beside the bar."""
    n_columns = shutil.get_terminal_size().columns - _BESIDE_SPEED
    lengths = itertools.accumulate(len(fact) + 2 for fact in facts)
    return "  ".join(fact for fact, n in zip(facts, lengths, strict=True) if n <= n_columns + 2)
