"""How the hosts of a job meet: addresses, ports, certificates, and what Dask is told."""

from __future__ import annotations

import logging
import socket
import ssl
from pathlib import Path
from typing import Any, NamedTuple

import dask
import psutil
from distributed import Security

from onepass.distributed.crew import name_of
from onepass.distributed.inside import BASE
from onepass.errors import PlatformError, UserError

_log = logging.getLogger(__name__)

SCHEDULER_PORT = 8786
WORKER_PORT, NANNY_PORT, HTTP_PORT = 10_000, 12_000, 14_000
"""Of the first worker of a host; the others, of 1,024 at most, have the ports behind it."""

RETRY_S, ANSWER_S, LEAVING_S = 0.5, 5.0, 10.0
ASK = "onepass_end"
"""What the scheduler is asked beside what Dask's workers ask it."""


class Tls(NamedTuple):
    """Files by which hosts know one another.

    Attributes
    ----------
    ca_file, cert_file, key_file : str
        In PEM; all certificates are signed by that of `ca_file`.
    """

    ca_file: str
    cert_file: str
    key_file: str


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


def configure(*, pages: bool = False) -> None:
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


def nanny_options(meeting: Meeting, address: str, index: int) -> dict[str, Any]:
    """Return what Dask's nanny of one of this host's workers is given."""
    return {
        "name": name_of(meeting.host, index),
        "host": address,
        "port": NANNY_PORT + index,
        "worker_port": WORKER_PORT + index,
        "dashboard": False,
        "dashboard_address": f"{address}:{HTTP_PORT + index}",
        "nthreads": 1,
        "memory_limit": 0,
        "protocol": protocol_of(meeting),
        "security": security_of(meeting.tls),
        "config": {BASE: str(meeting.base)},
        "death_timeout": meeting.timeout_s,
        "silence_logs": logging.CRITICAL,
    }


def protocol_of(meeting: Meeting) -> str:
    """Return the protocol in addresses."""
    return "tls" if meeting.tls else "tcp"


def security_of(tls: Tls | None) -> Security:
    """Return how Dask's connections are kept safe.

    Raises
    ------
    UserError
        When files are missing, or no certificates.
    """
    if tls is None:
        return Security()
    for name, path in tls._asdict().items():
        if not path:
            raise UserError(
                f"tls_ca_file, tls_cert_file and tls_key_file go together: tls_{name} is missing"
            )
        if not Path(path).is_file():
            raise UserError(f"tls_{name}={path!r} is not accepted: there is no such file")
    try:
        ssl.create_default_context(cafile=tls.ca_file).load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ValueError) as error:
        raise UserError(
            f"tls_ca_file={tls.ca_file!r}, tls_cert_file={tls.cert_file!r} and "
            f"tls_key_file={tls.key_file!r} are no certificates and key in PEM: {error}"
        ) from error
    pair = {"cert": tls.cert_file, "key": tls.key_file}
    options = {
        f"tls_{role}_{kind}": path
        for role in ("client", "scheduler", "worker")
        for kind, path in pair.items()
    }
    return Security(tls_ca_file=tls.ca_file, require_encryption=True, **options)
