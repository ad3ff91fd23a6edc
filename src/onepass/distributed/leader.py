"""The host that leads a job: it runs Dask's scheduler, and tells all how the job has ended.

Every host, this one too, runs a process for each of its workers, which Dask's nanny starts anew
when one dies.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from distributed import Client, Nanny, Scheduler, SpecCluster

from onepass.distributed.crew import Crew, Departures, name_of
from onepass.distributed.meeting import (
    ASK,
    LEAVING_S,
    RETRY_S,
    SCHEDULER_PORT,
    Meeting,
    configure,
    nanny_options,
    own_address,
    protocol_of,
    security_of,
)
from onepass.errors import PlatformError, UserError
from onepass.sagemaker.outcome import SUCCESS, Failure, StoppedError, describe_failure

_log = logging.getLogger(__name__)

_SILENT_S = 5.0
"""A host that has not asked for so long is not waited for."""


@contextmanager
def lead(meeting: Meeting, gives_up: Callable[[], bool]) -> Iterator[Crew]:
    """Lead a job: within the ``with`` block, there is a crew of all hosts' workers.

    At its end all hosts are told how it has ended.

    Parameters
    ----------
    meeting : Meeting
    gives_up : callable
        Whether the hosts are not to be waited for any longer.

    Raises
    ------
    StoppedError
        When it gives up.
    PlatformError
        When not all hosts come.
    UserError
        When files of TLS cannot be read.
    """
    if meeting.dashboard and find_spec("bokeh") is None:
        raise UserError("dashboard=true needs the package bokeh, which is not installed")
    address = own_address(meeting)
    security = security_of(meeting.tls)
    configure(pages=meeting.dashboard)
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": address,
            "port": SCHEDULER_PORT,
            "protocol": protocol_of(meeting),
            "security": security,
            "dashboard": meeting.dashboard,
            "dashboard_address": f"{address}:8787",
        },
    }
    workers = {
        name_of(meeting.host, i): {"cls": Nanny, "options": nanny_options(meeting, address, i)}
        for i in range(meeting.n_workers)
    }
    try:
        started = SpecCluster(workers, scheduler, security=security, silence_logs=False)
    except RuntimeError as error:
        raise PlatformError(f"no scheduler can be started at {address}: {error}") from error
    with started as cluster, Client(cluster, set_as_default=False) as client:
        departures, endings = Departures(), _Endings()
        cluster.sync(_attach, cluster.scheduler, departures, endings)
        crew = Crew(client, departures)
        try:
            _wait_for_hosts(meeting, crew, endings, gives_up)
            yield crew
        except BaseException as error:
            endings.tell(describe_failure(error))
            raise
        endings.tell(Failure(SUCCESS, ""))


class _Endings:
    """How the job has ended, for hosts that ask.

    Handlers are called in the thread of the scheduler.
    """

    def __init__(self) -> None:
        self._end: Failure | None = None
        self._asked_at: dict[str, float] = {}
        self._know: set[str] = set()

    def answer(self, host: str, *, knows: bool) -> tuple[int, str] | None:
        """Answer a host: None as long as the job goes on.

        One that knows the end says so: an answer that has been given may not have come.
        """
        self._asked_at[host] = time.monotonic()
        if knows:
            self._know.add(host)
        return None if self._end is None else (self._end.exit_code, self._end.reason)

    def expect(self, hosts: Iterable[str]) -> None:
        """Take note of hosts that are there, and will ask."""
        for host in hosts:
            self._asked_at.setdefault(host, time.monotonic())

    def tell(self, end: Failure) -> None:
        """Let the end be known; returns when all hosts know it that have asked of late."""
        self._end = end
        deadline = time.monotonic() + LEAVING_S
        while time.monotonic() < deadline:
            since = time.monotonic() - _SILENT_S
            if all(host in self._know or at < since for host, at in self._asked_at.items()):
                return
            time.sleep(RETRY_S / 10)


async def _attach(scheduler: Scheduler, departures: Departures, endings: _Endings) -> None:
    await departures.start(scheduler)
    scheduler.add_plugin(departures)
    scheduler.handlers[ASK] = endings.answer


def _wait_for_hosts(
    meeting: Meeting, crew: Crew, endings: _Endings, gives_up: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + meeting.timeout_s
    told = 0.0
    while True:
        come = set(crew.workers())
        endings.expect(come - {meeting.host})
        missing = set(meeting.hosts) - come
        if not missing:
            return
        now = time.monotonic()
        if gives_up():
            raise StoppedError(
                f"stopped by SIGTERM before all hosts had come: {_names(missing)} had not"
            )
        if now > deadline:
            raise PlatformError(
                f"{_names(missing)} did not come within host_timeout_s={meeting.timeout_s:g}"
            )
        if now - told > 10:
            told = now
            _log.info("waiting for %s", _names(missing))
        time.sleep(RETRY_S / 5)


def _names(hosts: set[str]) -> str:
    return f"host{'s' if len(hosts) > 1 else ''} {', '.join(sorted(hosts))}"
