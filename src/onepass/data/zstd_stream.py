"""What a stream of zstd frames holds.

Source: RFC 8878.
"""

from __future__ import annotations

import pyarrow as pa

from onepass.data.byte_stream import ByteStream
from onepass.errors import DecodeError


class ZstdStream:
    """Unfolds frames behind one another.

    Parameters
    ----------
    compressed : ByteStream
        Closed with this one.

    Raises
    ------
    DecodeError
        In `readinto`, with the byte of the compressed stream at which it was noticed.
    """

    def __init__(self, compressed: ByteStream) -> None:
        self._compressed = _Counted(compressed)
        self._unfolded = pa.CompressedInputStream(pa.PythonFile(self._compressed, "r"), "zstd")

    def head(self) -> bytes:
        """Return the first bytes: of compressed data within compressed data, never asked."""
        raise NotImplementedError

    def readinto(self, buffer: memoryview, /) -> int:
        """Unfold the next bytes."""
        try:
            return int(self._unfolded.readinto(buffer))
        except OSError as error:
            where = f"compressed byte {self._compressed.n_read}"
            reason = f"the zstd data is broken or cut short ({error}); compress the file anew"
            raise DecodeError(reason, where=where) from error

    def close(self) -> None:
        """Close the compressed stream."""
        self._compressed.stream.close()


class _Counted:
    """What pyarrow wants of a file."""

    closed = False

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.n_read = 0

    def read(self, n_bytes: int) -> bytes:
        room = bytearray(n_bytes)
        n = self.stream.readinto(memoryview(room))
        self.n_read += n
        return bytes(memoryview(room)[:n])

    def close(self) -> None:
        """Do nothing: the stream is closed by whoever has opened it."""
