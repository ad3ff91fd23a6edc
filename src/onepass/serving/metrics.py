"""Figures for Prometheus, summed over all workers.

The library keeps a file for each worker in the directory that the variable
``PROMETHEUS_MULTIPROC_DIR`` names when it is first imported: so it is imported late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onepass.serving.messages import Request, Response

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts what is answered. Labels are routes, statuses and reasons of ours only."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._requests = Counter(
            "onepass_requests", "Requests answered.", ("route", "code"), registry=None
        )
        self._refused = Counter("onepass_refused", "Requests refused.", ("reason",), registry=None)
        self._rows = Counter("onepass_rows", "Rows scored.", registry=None)
        self._bytes = Counter(
            "onepass_body_bytes", "Bytes of bodies.", ("direction",), registry=None
        )
        self._phases = Counter(
            "onepass_phase_seconds", "Time that phases took.", ("phase",), registry=None
        )
        self._seconds = Histogram(
            "onepass_request_seconds",
            "From the end of a request's headers to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=None,
        )
        self._in_flight = Gauge(
            "onepass_in_flight",
            "Requests being answered.",
            multiprocess_mode="livesum",
            registry=None,
        )

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request as being answered."""
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()

    def count(self, request: Request, response: Response, total_s: float, code: str) -> None:
        """Count a request that has been answered; `code` is what went wrong, in a word."""
        self._requests.labels(request.route, str(response.status)).inc()
        self._seconds.labels(request.route).observe(total_s)
        self._bytes.labels("in").inc(request.n_bytes_in)
        self._bytes.labels("out").inc(len(response.body))
        self._rows.inc(request.n_rows)
        for phase, seconds in request.durations._asdict().items():
            self._phases.labels(phase).inc(seconds)
        if code:
            self._refused.labels(code).inc()

    def exposition(self) -> bytes:
        """Return the figures of all workers, as Prometheus reads them."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def forget_worker(pid: int) -> None:
    """Drop what a worker that has ended was in the middle of; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
