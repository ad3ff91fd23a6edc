"""By when the last step is to be done, where somebody waits for it."""

from __future__ import annotations

import math
import time


class Deadline:
    """A moment from which on nothing more is begun.

    It may be set by another thread, or a signal's handler, while the work is going on. Who looks at
    it sooner or later gets another result: without one, results do not depend on the time.

    Parameters
    ----------
    within_s : float
        Seconds from now; never by default.
    """

    def __init__(self, within_s: float = math.inf) -> None:
        self.set(within_s)

    def set(self, within_s: float) -> None:
        """Set it so many seconds from now."""
        now = time.monotonic()
        self._half, self._whole = now + within_s / 2, now + within_s

    @property
    def is_half_past(self) -> bool:
        """Whether half of the time has passed: what may be left out is not begun."""
        return time.monotonic() >= self._half

    @property
    def is_past(self) -> bool:
        """Whether all of it has passed."""
        return time.monotonic() >= self._whole


NEVER = Deadline()
"""The deadline of who has time; nobody sets it."""
