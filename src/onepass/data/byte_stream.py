"""What all streams of bytes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

HEAD_BYTES = 4
"""Enough to tell whether a stream is compressed."""


class ByteStream(Protocol):
    """Bytes that can be read once, from the beginning to the end."""

    def head(self) -> bytes:
        """Return the first four bytes, or as many as there are, which are read again after that."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read as many bytes as are there, one at least; 0 only at the end."""

    def close(self) -> None:
        """Give back what the stream holds."""


@runtime_checkable
class SeekableStream(ByteStream, Protocol):
    """Bytes that can be read from any place, too."""

    @property
    def n_there(self) -> int:
        """Bytes that have not been read."""

    def seekable(self) -> Any:
        """Return the same bytes as a file with ``read``, ``seek`` and ``tell``."""


class ForwardStream(ABC):
    """A stream that cannot go back: what is asked for as its head is kept until it is read.

    Attributes
    ----------
    n_read : int
        Bytes.
    """

    def __init__(self) -> None:
        self.n_read = 0
        self._head = b""

    def head(self) -> bytes:
        """Return the first four bytes of what is left, or as many as there are."""
        while len(self._head) < HEAD_BYTES:
            piece = bytearray(HEAD_BYTES - len(self._head))
            n = self._read(memoryview(piece))
            if not n:
                break
            self._head += piece[:n]
        return self._head

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what is there."""
        if not self._head:
            return self._read(buffer)
        n = min(len(buffer), len(self._head))
        buffer[:n] = self._head[:n]
        self._head = self._head[n:]
        return n

    @abstractmethod
    def _read(self, buffer: memoryview) -> int:
        """Read what is there, behind the head."""
