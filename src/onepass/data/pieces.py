"""Streams as pieces of bytes, for decoders that take these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from onepass.data.byte_stream import ByteStream, ForwardStream

_PIECE_BYTES = 2**20


class OpenedStream(ForwardStream):
    """What a file that others have opened still holds, such as standard input.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def _read(self, buffer: memoryview) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.n_read += len(data)
        return len(data)

    def close(self) -> None:
        """Leave that to those who opened it."""


def pieces_of(stream: ByteStream) -> Iterator[bytes]:
    """Yield what a stream holds, a MiB at a time, and close it."""
    room = memoryview(bytearray(_PIECE_BYTES))
    try:
        while n := stream.readinto(room):
            yield bytes(room[:n])
    finally:
        stream.close()
