"""How much a server takes on at once; what is more is refused, not queued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onepass.resources import memory_limit_bytes
from onepass.serving.problems import HttpError
from onepass.serving.settings import ServingSettings

LEAST_BYTES_A_SECOND = 2**20
"""How slow a client may be, once a first while has passed."""

_SMALL_BYTES = 2**16
"""Of a body that is taken on whatever else is in flight."""

_COME_BACK = (("Retry-After", "1"),)


@dataclass(frozen=True)
class ConnectionLimits:
    """What one client may take.

    Attributes
    ----------
    headers_s : float
        From the first moment of a request, or of a connection, to the end of its headers.
    drain_s : float
        How long what follows is read on, and thrown away, after a request was refused.
    drain_bytes : int
        How much of it.
    connections : int
        Of all clients at once; one more is closed as soon as it comes.
    """

    headers_s: float = 15
    drain_s: float = 5
    drain_bytes: int = 2**28
    connections: int = 4096


@dataclass
class Budget:
    """What one worker takes on; used by one thread, that of its loop.

    Attributes
    ----------
    max_requests : int
        Requests in flight.
    max_bytes : int
        Of their bodies, or answers, together; one alone may have as many bytes as it likes.
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
        if n_bytes <= self.n_bytes:
            return
        others = self.budget.n_bytes - self.n_bytes
        is_too_much = others + n_bytes > self.budget.max_bytes
        if others and is_too_much and n_bytes > _SMALL_BYTES:
            raise _busy(f"bodies and answers of {others} bytes are in flight")
        self.hold(n_bytes)

    def hold(self, n_bytes: int) -> None:
        """Hold so many bytes, whatever others hold: an answer in the place of its body."""
        self.budget.n_bytes += n_bytes - self.n_bytes
        self.n_bytes = n_bytes


def answer_limit_bytes(settings: ServingSettings) -> int:
    """Return how long an answer may be: four times the longest body, or a quarter of the memory."""
    return min(4 * settings.max_payload_bytes, memory_limit_bytes() // 4)


def bytes_in_flight(settings: ServingSettings) -> int:
    """Return how many bytes of bodies a server takes on: as told, or a quarter of its memory."""
    return settings.max_bytes_in_flight or memory_limit_bytes() // 4


def _busy(reason: str) -> HttpError:
    return HttpError(503, "busy", f"{reason}; try again in a moment", headers=_COME_BACK)
