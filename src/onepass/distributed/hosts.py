"""The hosts of a job as one crew: the first one leads, the others lend their workers.

The first of the sorted hosts runs Dask's scheduler; every host, the first one too, runs a process
for each of its workers, which Dask's nanny starts anew when one dies. A host that lends its workers
stays until the leader has told how the job has ended, which it does when the model is saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import dask
import psutil
from distributed import Client, Nanny, Scheduler, Security, SpecCluster
from distributed.core import rpc

from onepass import __version__
from onepass.distributed.crew import Crew, Departures, name_of
from onepass.distributed.inside import BASE
from onepass.errors import PlatformError, UserError
from onepass.sagemaker.outcome import SUCCESS, Failure, StoppedError, describe_failure

_log = logging.getLogger(__name__)

SCHEDULER_PORT = 8786
WORKER_PORT, NANNY_PORT, HTTP_PORT = 10_000, 12_000, 14_000
"""Of the first worker of a host; the others, of 1,024 at most, have the ports behind it."""

_ADDRESS = re.compile(r"(tcp|tls)://[^/:]+:[0-9]{1,5}")

_RETRY_S = 0.5
_GONE_S, _LOST_S = 5.0, 40.0
"""A leader that has not answered for so long is lost, where its host answers and where it does not:
then longer than Dask waits for one."""

_ANSWER_S, _SILENT_S, _LEAVING_S = 5.0, 5.0, 10.0
_ASK = "onepass_end"
"""What the scheduler is asked beside what Dask's workers ask it."""


class Tls(NamedTuple):
    """Files by which hosts know one another.

    Attributes
    ----------
    ca_file, cert_file, key_file : Path
        In PEM; all certificates are signed by that of `ca_file`.
    """

    ca_file: Path
    cert_file: Path
    key_file: Path


class Meeting(NamedTuple):
    """Who is to meet, and how.

    Attributes
    ----------
    hosts : tuple of str
        Sorted: the first one leads.
    host : str
        This one.
    interface : str
        Of the network that hosts meet in; empty where the host's name tells.
    n_workers : int
        Of this host.
    base : Path
        Of this host's job.
    timeout_s : float
        Until all hosts must have come.
    tls : Tls or None
    dashboard : bool
        Whether Dask's pages are served.
    """

    hosts: tuple[str, ...]
    host: str
    interface: str
    n_workers: int
    base: Path
    timeout_s: float
    tls: Tls | None = None
    dashboard: bool = False

    @property
    def leader(self) -> str:
        """The host that leads."""
        return self.hosts[0]


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
    security = _security(meeting.tls)
    _configure(pages=meeting.dashboard)
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": address,
            "port": SCHEDULER_PORT,
            "protocol": _protocol(meeting),
            "security": security,
            "dashboard": meeting.dashboard,
            "dashboard_address": f"{address}:8787",
        },
    }
    workers = {
        name_of(meeting.host, i): {"cls": Nanny, "options": _nanny_options(meeting, address, i)}
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


@contextmanager
def joined(address: str, tls: Tls | None, timeout_s: float) -> Iterator[Crew]:
    """Join a cluster that is there: within the ``with`` block, its workers are a crew.

    Parameters
    ----------
    address : str
        Of its scheduler: ``tcp://host:port``, or ``tls://host:port``.
    tls : Tls or None
    timeout_s : float
        Until it must have answered.

    Raises
    ------
    UserError
        When the address is none, or the workers have no Onepass, or another one.
    PlatformError
        When it does not answer, or has no workers.
    """
    security = _security(tls)
    _configure()
    if not _ADDRESS.fullmatch(address):
        raise UserError(
            f"--scheduler={address} is not accepted: it must be an address such as tcp://host:8786"
        )
    options = {"set_as_default": False, "direct_to_workers": False}
    try:
        client = Client(address, timeout=timeout_s, security=security, **options)
    except OSError as error:
        raise PlatformError(f"the scheduler at {address} does not answer: {error}") from error
    with client:
        crew = Crew(client)
        if not crew.n_workers:
            raise PlatformError(f"the cluster at {address} has no workers")
        try:
            versions = set(client.run(_version).values())
        except ModuleNotFoundError as error:
            raise UserError(
                f"the workers at {address} need onepass-kmeans=={__version__}: {error}"
            ) from error
        if versions != {__version__}:
            raise UserError(
                f"the workers at {address} need onepass-kmeans=={__version__}, and have "
                f"{', '.join(sorted(versions))}"
            )
        yield crew


def _version() -> str:
    return __version__


def follow(meeting: Meeting, gives_up: Callable[[], bool]) -> Failure:
    """Lend this host's workers to a job, and return how it has ended.

    Parameters
    ----------
    meeting : Meeting
    gives_up : callable
        Whether the leader is not to be waited for any longer.

    Returns
    -------
    Failure
        Of exit code 0 where the job has succeeded.

    Raises
    ------
    PlatformError
        When the leader does not come, or is lost.
    """
    _configure()
    return asyncio.run(_Follower(meeting, gives_up).run())


def own_address(meeting: Meeting) -> str:
    """Return the address of this host in the network that hosts meet in.

    Raises
    ------
    PlatformError
        When it has none.
    """
    addresses = psutil.net_if_addrs().get(meeting.interface, []) if meeting.interface else []
    for address in addresses:
        if address.family == socket.AF_INET:
            return str(address.address)
    if meeting.interface:
        _log.warning("there is no network interface %s: going by the name", meeting.interface)
    try:
        return str(socket.getaddrinfo(meeting.host, None, socket.AF_INET)[0][4][0])
    except OSError as error:
        raise PlatformError(f"host {meeting.host} has no address: {error}") from error


class _Follower:
    def __init__(self, meeting: Meeting, gives_up: Callable[[], bool]) -> None:
        self._meeting, self._gives_up = meeting, gives_up
        self._security = _security(meeting.tls)

    async def run(self) -> Failure:
        meeting = self._meeting
        leader = await self._find_leader()
        async with contextlib.AsyncExitStack() as stack:
            address = own_address(meeting)
            nannies = [
                Nanny(leader, **_nanny_options(meeting, address, i))
                for i in range(meeting.n_workers)
            ]
            try:
                async with asyncio.timeout(meeting.timeout_s):
                    await asyncio.gather(*nannies)
            except (OSError, TimeoutError) as error:
                raise PlatformError(f"no worker can join the leader {leader}: {error}") from error
            for nanny in nannies:
                stack.push_async_callback(nanny.close, timeout=_LEAVING_S)
            _log.info("%d workers have joined the leader %s", meeting.n_workers, meeting.leader)
            return await self._end(leader)

    async def _find_leader(self) -> str:
        """Return the address of the leader's scheduler, once it answers."""
        meeting = self._meeting
        deadline = time.monotonic() + meeting.timeout_s
        while True:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(
                    meeting.leader, SCHEDULER_PORT, family=socket.AF_INET
                )
                host = str(found[0][4][0])
                address = f"{_protocol(meeting)}://{host}:{SCHEDULER_PORT}"
                await self._ask(address)
            except OSError as error:
                if self._gives_up():
                    raise StoppedError("stopped by SIGTERM before the leader had come") from error
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"host {meeting.leader}, which leads, has not answered in "
                        f"host_timeout_s={meeting.timeout_s:g}: {error}"
                    ) from error
            else:
                return address
            await asyncio.sleep(_RETRY_S)

    async def _ask(self, leader: str, *, knows: bool = False) -> Failure | None:
        """Ask the leader how the job has ended, if it has, or say that it is known.

        Raises
        ------
        OSError
            When it does not answer.
        """
        arguments = self._security.get_connection_args("worker")
        async with rpc(leader, timeout=_ANSWER_S, connection_args=arguments) as scheduler:
            try:
                async with asyncio.timeout(2 * _ANSWER_S):
                    end = await getattr(scheduler, _ASK)(host=self._meeting.host, knows=knows)
            except TimeoutError as error:
                raise OSError("it does not answer") from error
        return Failure(*end) if end else None

    async def _end(self, leader: str) -> Failure:
        """Wait until the leader has told how the job has ended."""
        answered = time.monotonic()
        while True:
            try:
                end = await self._ask(leader)
            except OSError as error:
                silent_s = time.monotonic() - answered
                if silent_s > (_GONE_S if await _is_refused(leader) else _LOST_S):
                    raise PlatformError(
                        f"host {self._meeting.leader}, which leads, is lost: {error}"
                    ) from error
            else:
                answered = time.monotonic()
                if end is not None:
                    with contextlib.suppress(OSError):
                        await self._ask(leader, knows=True)
                    return end
            if self._gives_up():
                raise StoppedError("stopped by SIGTERM, and the leader has not ended the job")
            await asyncio.sleep(_RETRY_S)


async def _is_refused(leader: str) -> bool:
    """Whether the host of the leader is there, and nothing listens on it."""
    host, port = leader.rpartition("/")[2].split(":")
    try:
        async with asyncio.timeout(_ANSWER_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


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
        deadline = time.monotonic() + _LEAVING_S
        while time.monotonic() < deadline:
            since = time.monotonic() - _SILENT_S
            if all(host in self._know or at < since for host, at in self._asked_at.items()):
                return
            time.sleep(_RETRY_S / 10)


async def _attach(scheduler: Scheduler, departures: Departures, endings: _Endings) -> None:
    await departures.start(scheduler)
    scheduler.add_plugin(departures)
    scheduler.handlers[_ASK] = endings.answer


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
        time.sleep(_RETRY_S / 5)


def _names(hosts: set[str]) -> str:
    return f"host{'s' if len(hosts) > 1 else ''} {', '.join(sorted(hosts))}"


def _configure(*, pages: bool = False) -> None:
    """Set what Dask reads from its configuration, for this process and those it starts."""
    for name in ("distributed", "distributed.client", "bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set(
        {
            "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
            "distributed.scheduler.worker-saturation": 1.0,
            "distributed.comm.timeouts.connect": "30s",
            "distributed.comm.timeouts.tcp": "30s",
            "distributed.admin.tick.limit": "1h",
            "distributed.worker.http.routes": [],
            "distributed.worker.profile.enabled": False,  # it looks a hundred times a second
            "distributed.scheduler.active-memory-manager.start": False,
        }
    )
    if not pages:
        dask.config.set({"distributed.scheduler.http.routes": []})


def _nanny_options(meeting: Meeting, address: str, index: int) -> dict[str, Any]:
    return {
        "name": name_of(meeting.host, index),
        "host": address,
        "port": NANNY_PORT + index,
        "worker_port": WORKER_PORT + index,
        "dashboard": False,
        "dashboard_address": f"{address}:{HTTP_PORT + index}",
        "nthreads": 1,
        "memory_limit": 0,
        "protocol": _protocol(meeting),
        "security": _security(meeting.tls),
        "config": {BASE: str(meeting.base)},
        "death_timeout": meeting.timeout_s,
        "silence_logs": logging.CRITICAL,
    }


def _protocol(meeting: Meeting) -> str:
    return "tls" if meeting.tls else "tcp"


def _security(tls: Tls | None) -> Security:
    if tls is None:
        return Security()
    for name, path in tls._asdict().items():
        if not path.is_file():
            raise UserError(f"tls_{name}={str(path)!r} is not accepted: there is no such file")
    pair = {"cert": str(tls.cert_file), "key": str(tls.key_file)}
    options = {
        f"tls_{role}_{kind}": path
        for role in ("client", "scheduler", "worker")
        for kind, path in pair.items()
    }
    return Security(tls_ca_file=str(tls.ca_file), require_encryption=True, **options)
