"""The head of an answer and its body, in one packet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_STATUS_LINE, _CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100"
_LARGEST_JOINED = 2**16


class JoiningTransport:
    """A transport that keeps the head of an answer until its body follows.

    uvicorn writes both by themselves, which are two calls of the kernel and two packets.

    Parameters
    ----------
    transport : Transport
        For everything else.
    lingers : callable
        Tells, when it shall be closed, whether only writing shall end yet.
    """

    def __init__(self, transport: asyncio.Transport, lingers: Callable[[], bool]) -> None:
        self._transport = transport
        self._lingers = lingers
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or keep what is the head of an answer."""
        if not self._head and data.startswith(_STATUS_LINE) and not data.startswith(_CONTINUE):
            self._head = data
        elif self._head and len(data) <= _LARGEST_JOINED:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self.flush()
            self._transport.write(data)

    def flush(self) -> None:
        """Write what is kept."""
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def write_eof(self) -> None:
        """Write what is kept, and end writing; close where the client is gone already."""
        self.flush()
        try:
            self._transport.write_eof()
        except OSError:  # it has reset the connection, which is not known here until it is read
            self._transport.close()

    def close(self) -> None:
        """Write what is kept, and close, for writing at least."""
        if self._lingers() and not self._transport.is_closing():
            self.write_eof()
        else:
            self.flush()
            self._transport.close()
