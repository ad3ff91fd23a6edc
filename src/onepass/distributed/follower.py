"""A host that lends its workers to a job, and stays until the leader has told how it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable

from distributed import Nanny
from distributed.core import rpc

from onepass.distributed.meeting import (
    ANSWER_S,
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
from onepass.errors import PlatformError
from onepass.sagemaker.outcome import Failure, StoppedError

_log = logging.getLogger(__name__)

_GONE_S, _LOST_S = 5.0, 40.0
"""A leader that has not answered for so long is lost, where its host answers and where it does not:
then longer than Dask waits for one."""


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
    configure()
    return asyncio.run(_Follower(meeting, gives_up).run())


class _Follower:
    def __init__(self, meeting: Meeting, gives_up: Callable[[], bool]) -> None:
        self._meeting, self._gives_up = meeting, gives_up
        self._security = security_of(meeting.tls)

    async def run(self) -> Failure:
        meeting = self._meeting
        leader = await self._find_leader()
        async with contextlib.AsyncExitStack() as stack:
            address = own_address(meeting)
            nannies = [
                Nanny(leader, **nanny_options(meeting, address, i))
                for i in range(meeting.n_workers)
            ]
            try:
                async with asyncio.timeout(meeting.timeout_s):
                    await asyncio.gather(*nannies)
            except (OSError, TimeoutError) as error:
                raise PlatformError(f"no worker can join the leader {leader}: {error}") from error
            for nanny in nannies:
                stack.push_async_callback(nanny.close, timeout=LEAVING_S)
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
                address = f"{protocol_of(meeting)}://{host}:{SCHEDULER_PORT}"
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
            await asyncio.sleep(RETRY_S)

    async def _ask(self, leader: str, *, knows: bool = False) -> Failure | None:
        """Ask the leader how the job has ended, if it has, or say that it is known.

        Raises
        ------
        OSError
            When it does not answer.
        """
        arguments = self._security.get_connection_args("worker")
        async with rpc(leader, timeout=ANSWER_S, connection_args=arguments) as scheduler:
            try:
                async with asyncio.timeout(2 * ANSWER_S):
                    end = await getattr(scheduler, ASK)(host=self._meeting.host, knows=knows)
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
            await asyncio.sleep(RETRY_S)


async def _is_refused(leader: str) -> bool:
    """Whether the host of the leader is there, and nothing listens on it."""
    host, port = leader.rpartition("/")[2].split(":")
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False
