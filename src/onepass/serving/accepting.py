"""Who of several workers takes a new client: the one that has fewest.

Workers wait at the same door, and the kernel wakes all of them: without this, one that is awake
already takes all clients that come at once, and the others have nothing to do while these stay.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable

_PAUSE_S, _MOST_PAUSES = 0.002, 5
_NO_ROOM_S = 1.0
_BYTES = 4


class Balance:
    """How many clients each worker has, in memory that they share.

    Parameters
    ----------
    n_workers : int
    """

    def __init__(self, n_workers: int) -> None:
        self._shared = mmap.mmap(-1, _BYTES * n_workers)
        self._counts = memoryview(self._shared).cast("I")

    def tell(self, worker: int, n_clients: int) -> None:
        """Note how many clients a worker has."""
        self._counts[worker] = n_clients

    def count(self, worker: int) -> int:
        """Return how many clients a worker has."""
        return self._counts[worker]

    def is_ahead(self, worker: int) -> bool:
        """Whether another worker has fewer clients."""
        return self._counts[worker] > min(self._counts)


class Acceptor:
    """Takes clients in for one worker, and leaves others the time to do so when it is ahead.

    Parameters
    ----------
    listener : socket
        Not blocking.
    make_protocol : callable
        Returns the protocol of a client.
    balance : Balance
    worker : int
        Its place there.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        balance: Balance,
        worker: int,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._balance = balance
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._n_pauses = 0
        self._pause: asyncio.TimerHandle | None = None
        self._beginning: set[asyncio.Task[object]] = set()
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Take nobody in any more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._knocked)

    def _knocked(self) -> None:
        """Take a client in, or wait a moment for another worker to do it."""
        if self._balance.is_ahead(self._worker) and self._n_pauses < _MOST_PAUSES:
            self._n_pauses += 1
            self._wait(_PAUSE_S)
            return
        self._n_pauses = 0
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError:  # no descriptors, or no memory, for more
            self._wait(_NO_ROOM_S)
            return
        self._balance.tell(self._worker, self._balance.count(self._worker) + 1)
        connection.setblocking(False)
        beginning = self._loop.create_task(
            self._loop.connect_accepted_socket(self._make_protocol, connection)
        )
        self._beginning.add(beginning)
        beginning.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[object]) -> None:
        self._beginning.discard(task)
        if not task.cancelled():
            task.exception()  # a client that has gone already

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._listen)
