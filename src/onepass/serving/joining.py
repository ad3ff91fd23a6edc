"""The head of an answer and its body, in one packet."""

from __future__ import annotations

import asyncio
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
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
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

    def close(self) -> None:
        """Write what is kept, and close."""
        self.flush()
        self._transport.close()
