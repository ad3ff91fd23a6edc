"""What all streams of bytes have in common."""

from __future__ import annotations

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
