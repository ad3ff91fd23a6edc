"""A Dask cluster of the user's own, whose workers are a crew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from onepass import __version__
from onepass.distributed.crew import Crew
from onepass.distributed.meeting import Tls, configure, security_of
from onepass.errors import PlatformError, UserError

_ADDRESS = re.compile(r"(tcp|tls)://[^/:]+:[0-9]{1,5}")


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
    security = security_of(tls)
    configure()
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
