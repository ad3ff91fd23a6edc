"""A progress bar for people at a terminal."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

import click


class BarProgress:
    """Shows each pass over the data as a bar with rows and bytes a second and the time left."""

    def start(self, what: str, n_bytes: int) -> None:
        """Begin a pass."""
        self._started = time.monotonic()
        self._done = 0
        self._speed = ""
        self._bar: Any = click.progressbar(
            None if n_bytes else itertools.repeat(None),  # moves to and fro
            length=n_bytes or None,
            label=what,
            file=sys.stderr,
            item_show_func=lambda _: self._speed,
            update_min_steps=max(1, n_bytes // 200),
        )
        self._bar.__enter__()

    def advance(self, n_bytes: int, n_rows: int) -> None:
        """Move the bar."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._speed = f"{n_rows / seconds:,.0f} rows/s  {n_bytes / seconds / 1e9:.2f} GB/s"
        self._bar.update(n_bytes - self._done, self._speed)
        self._done = n_bytes

    def finish(self) -> None:
        """Fill the bar."""
        self._bar.finish()
        self._bar.__exit__(None, None, None)

    def abandon(self) -> None:
        """End the bar's line as it is and show the cursor again."""
        self._bar.__exit__(None, None, None)
