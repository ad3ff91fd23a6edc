"""A client that asks one thing over and over, on several connections at once.

It sends bytes made beforehand, and looks at no more of an answer than its status and its length, so
that it takes little of the processors that it shares with the server.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

import numpy as np

PATIENCE_S = 600
PIECE_BYTES, RECEIVED_BYTES = 2**20, 2**18
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class BadAnswerError(RuntimeError):
    """An answer other than 200, or none."""


class Load(NamedTuple):
    """What came of asking.

    Attributes
    ----------
    wall_s : float
        From the first byte sent to the last received.
    latencies_s : ndarray
        Of each request that was answered.
    client_cpu_s : float
        What asking took itself.
    """

    wall_s: float
    latencies_s: np.ndarray
    client_cpu_s: float


def message(path: str, body: bytes, content_type: str, accept: str = "") -> bytes:
    """Return the bytes of a request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {content_type}"]
    lines += [f"Accept: {accept}"] * bool(accept) + [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def ask(port: int, request: bytes) -> bytes:
    """Ask once, and return the body of the answer."""
    with closing(_Connection(port, request)) as connection, select.epoll() as watch:
        connection.begin(watch)
        _follow(watch, {connection.number: connection}, lambda _: None)
        return connection.body()


def load(port: int, request: bytes, n_connections: int, seconds: float) -> Load:
    """Keep connections busy for so many seconds, and then wait for the answers still to come."""
    latencies: list[float] = []
    with ExitStack() as stack:
        watch = stack.enter_context(select.epoll())
        cpu, begun = time.process_time(), time.perf_counter()
        busy: dict[int, _Connection] = {}
        for _ in range(n_connections):
            connection = stack.enter_context(closing(_Connection(port, request)))
            connection.begin(watch)
            busy[connection.number] = connection

        def answered(connection: _Connection) -> _Connection | None:
            now = time.perf_counter()
            latencies.append(now - connection.begun)
            if now - begun >= seconds:
                return None
            connection.begin(watch)
            return connection

        _follow(watch, busy, answered)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return Load(wall, np.array(latencies), cpu)


def _follow(watch, busy, answered) -> None:
    """Send and receive until no connection has anything left to do."""
    while busy:
        ready = watch.poll(PATIENCE_S)
        if not ready:
            raise BadAnswerError(f"no answer within {PATIENCE_S} s")
        for number, _ in ready:
            connection = busy[number]
            if connection.go_on(watch):
                del busy[number]
                again = answered(connection)
                if again:
                    busy[again.number] = again
                else:
                    connection.close()  # or the watch would tell of its end


class _Connection:
    """One connection; it is made anew where the server ends it after an answer."""

    def __init__(self, port: int, request: bytes) -> None:
        self._address = ("127.0.0.1", port)
        self._request = memoryview(request)
        self._socket: socket.socket | None = None
        self.number = -1
        self.begun = 0.0

    def begin(self, watch: select.epoll) -> None:
        """Send the request, or as much of it as goes without waiting."""
        self.begun = time.perf_counter()
        self._unsent, self._received, self._n_whole = self._request, bytearray(), 0
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self.number = self._socket.fileno()
            watch.register(self.number, select.EPOLLIN)
        if not self._send():
            watch.modify(self.number, select.EPOLLIN | select.EPOLLOUT)

    def go_on(self, watch: select.epoll) -> bool:
        """Send and receive what can be; returns whether the answer is there."""
        if self._unsent and self._send():
            watch.modify(self.number, select.EPOLLIN)
        for piece in self._pieces():
            self._received += piece
            if self._is_whole():
                if CLOSE.search(self._head()):
                    watch.unregister(self.number)
                    self.close()
                return True
        return False

    def body(self) -> bytes:
        """Return the body of the last answer."""
        return bytes(self._received[self._received.index(HEAD_END) + len(HEAD_END) :])

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self) -> bool:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent[:PIECE_BYTES]) :]
        except BlockingIOError:
            return False
        return True

    def _pieces(self) -> Iterator[bytes]:
        try:
            while piece := self._socket.recv(RECEIVED_BYTES):
                yield piece
        except BlockingIOError:
            return
        raise BadAnswerError(f"the connection was closed after {bytes(self._received[:300])!r}")

    def _is_whole(self) -> bool:
        if not self._n_whole and HEAD_END in self._received:
            head = self._head()
            length = LENGTH.search(head)
            if head[9:12] != b"200" or not length:
                raise BadAnswerError(bytes(self._received[:500]).decode(errors="replace"))
            self._n_whole = len(head) + len(HEAD_END) + int(length[1])
        return 0 < self._n_whole <= len(self._received)

    def _head(self) -> bytes:
        return bytes(self._received[: self._received.index(HEAD_END)])
