"""Who is told how far a job has come."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from onepass.sagemaker.metrics import progress_line

_log = logging.getLogger(__name__)

REPORT_EVERY_S = 10.0


class Progress(Protocol):
    """Something that shows how far a job has come."""

    def start(self, what: str, n_bytes: int) -> None:
        """Begin a pass over `n_bytes` bytes; 0 where none knows how many there are."""

    def advance(self, n_bytes: int, n_rows: int, msd: float = 0.0) -> None:
        """Tell that `n_bytes` bytes and `n_rows` rows of the pass are done.

        `msd` is that of the rows so far to the centers they found; 0 where it is not known.
        """

    def finish(self) -> None:
        """End the pass."""

    def abandon(self) -> None:
        """Leave the pass where it is: the job has failed."""


class LogProgress:
    """Writes a log line every ten seconds, for logs that people and metric filters read.

    Parameters
    ----------
    host : str
    n_epochs : int
        Passes that make the whole.
    """

    def __init__(self, host: str, n_epochs: int) -> None:
        self._host = host
        self._n_epochs = n_epochs
        self._epoch = -1
        self._n_bytes = 0

    def start(self, what: str, n_bytes: int) -> None:
        """Begin a pass."""
        self._what = what
        self._epoch += 1
        self._n_bytes = n_bytes
        self._started = self._reported = time.monotonic()

    def advance(self, n_bytes: int, n_rows: int, msd: float = 0.0) -> None:
        """Report, unless that has just been done; the msd has log lines of its own."""
        del msd
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY_S:
            return
        self._reported = now
        seconds = now - self._started
        speed = n_rows / seconds, n_bytes / seconds / 1e9
        if not self._n_bytes:
            _log.info("%s: %d rows, %.0f rows/s, %.2f GB/s", self._what, n_rows, *speed)
            return
        share = min(1.0, n_bytes / self._n_bytes)
        left = seconds / share - seconds if share else 0.0
        _log.info(
            "%s: %d rows, %.0f rows/s, %.2f GB/s, %.0f s left", self._what, n_rows, *speed, left
        )
        _log.info(progress_line(self._host, 100 * (self._epoch + share) / self._n_epochs))

    def finish(self) -> None:
        """Report that the pass is over."""
        _log.info(progress_line(self._host, 100 * (self._epoch + 1) / self._n_epochs))

    def abandon(self) -> None:
        """Do nothing: the error has a line of its own."""
