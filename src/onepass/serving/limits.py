"""How much a server takes on at once; what is more is refused, not queued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onepass.resources import memory_limit_bytes
from onepass.serving.problems import HttpError
from onepass.serving.settings import ServingSettings

_COME_BACK = (("Retry-After", "1"),)


@dataclass
class Budget:
    """What one worker takes on; used by one thread, that of its loop.

    Attributes
    ----------
    max_requests : int
        Requests in flight.
    max_bytes : int
        Of their bodies together; a body alone may have as many bytes as it likes.
    n_requests, n_bytes : int
        In flight.
    """

    max_requests: int
    max_bytes: int
    n_requests: int = 0
    n_bytes: int = 0

    @contextmanager
    def request(self) -> Iterator[Share]:
        """Take a request on, or refuse it with 503."""
        if self.n_requests >= self.max_requests:
            raise _busy(f"{self.max_requests} requests are in flight")
        share = Share(self)
        self.n_requests += 1
        try:
            yield share
        finally:
            self.n_requests -= 1
            self.n_bytes -= share.n_bytes


@dataclass
class Share:
    """One request's part of a budget."""

    budget: Budget
    n_bytes: int = 0

    def grow_to(self, n_bytes: int) -> None:
        """Take on a body of so many bytes, or refuse it with 503."""
        more = n_bytes - self.n_bytes
        if more <= 0:
            return
        others = self.budget.n_bytes - self.n_bytes
        if others and others + n_bytes > self.budget.max_bytes:
            raise _busy(f"bodies of {others} bytes are in flight")
        self.budget.n_bytes += more
        self.n_bytes = n_bytes


def bytes_in_flight(settings: ServingSettings) -> int:
    """Return how many bytes of bodies a server takes on: as told, or a quarter of its memory."""
    return settings.max_bytes_in_flight or memory_limit_bytes() // 4


def _busy(reason: str) -> HttpError:
    return HttpError(503, "busy", f"{reason}; try again in a moment", headers=_COME_BACK)
