"""Objects that the platform has wrapped in a RecordIO record each, before it put them in a pipe.

Source: "RecordWrapperType" in SageMaker's API; the framing is that of `onepass.formats.recordio`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from onepass.data.byte_stream import HEAD_BYTES, ByteStream
from onepass.errors import DecodeError
from onepass.formats.recordio import HEADER_BYTES, MAGIC, MAGIC_BYTES, MAX_FRAME_BYTES, FrameKind

_HEADER = struct.Struct("<II")


def unwrap(stream: ByteStream, name: str) -> Iterator[ByteStream]:
    """Yield the objects of a stream; each is read to its end before the next one is yielded.

    Parameters
    ----------
    stream : ByteStream
    name : str
        Of the stream, for messages.

    Raises
    ------
    DecodeError
        Where a record is expected and something else stands, or the stream ends inside one.
    """
    frames = _Frames(stream, name)
    while (kind := frames.begin()) is not None:
        if kind not in (FrameKind.WHOLE, FrameKind.FIRST):
            raise frames.broken(f"a frame of kind {kind} where a record must start")
        wrapped = _Object(frames, more_frames=kind == FrameKind.FIRST)
        yield wrapped
        rest = memoryview(bytearray(65536))
        while wrapped.readinto(rest):
            pass


class _Object:
    """What one record holds. Where it was split, the magic number is put back."""

    def __init__(self, frames: _Frames, *, more_frames: bool) -> None:
        self._frames = frames
        self._more_frames = more_frames
        self._first = b""

    def head(self) -> bytes:
        head = b""
        while len(head) < HEAD_BYTES:
            piece = bytearray(HEAD_BYTES - len(head))
            n = self.readinto(memoryview(piece))
            if not n:
                break
            head += piece[:n]
        self._first = head + self._first  # of a magic number put back, part may be left
        return head

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._first:
            return self._read(buffer)
        n = min(len(buffer), len(self._first))
        buffer[:n] = self._first[:n]
        self._first = self._first[n:]
        return n

    def close(self) -> None:
        """Do nothing: the stream is closed by whoever has opened it."""

    def _read(self, buffer: memoryview) -> int:
        n = self._frames.readinto(buffer)
        if n or not self._more_frames:
            return n
        kind = self._frames.begin()
        if kind not in (FrameKind.MIDDLE, FrameKind.LAST):
            raise self._frames.broken(f"a frame of kind {kind} inside a split record")
        self._more_frames = kind == FrameKind.MIDDLE
        self._first = MAGIC_BYTES
        return self.readinto(buffer)


class _Frames:
    """Frames one behind the other."""

    def __init__(self, stream: ByteStream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._n_read = 0
        self._n_left = self._n_padding = 0

    def begin(self) -> int | None:
        """Read the header of the next frame; return its kind, None at the end."""
        self._take(self._n_padding)
        header = self._take(HEADER_BYTES)
        if not header:
            return None
        if len(header) < HEADER_BYTES:
            raise self.broken("the stream ends inside the header of a record")
        magic, word = _HEADER.unpack(header)
        if magic != MAGIC:
            raise self.broken(
                f"no RecordIO record starts here: found bytes {header[:4].hex()}, a record starts "
                f"with {MAGIC_BYTES.hex()}"
            )
        self._n_left = word & MAX_FRAME_BYTES
        self._n_padding = -self._n_left % 4
        return int(word >> 29)

    def readinto(self, buffer: memoryview) -> int:
        """Read what the frame holds; 0 at its end."""
        if not self._n_left:
            return 0
        n = self._stream.readinto(buffer[: self._n_left])
        if not n:
            raise self.broken(f"the stream ends inside a record; {self._n_left} bytes are missing")
        self._n_read += n
        self._n_left -= n
        return n

    def broken(self, reason: str) -> DecodeError:
        reason = f"{reason}; check RecordWrapperType, or feed the pipe anew"
        return DecodeError(reason, where=f"byte {self._n_read}", source=self._name)

    def _take(self, n_bytes: int) -> bytes:
        taken = bytearray(n_bytes)
        n_there = 0
        while n_there < n_bytes:
            n = self._stream.readinto(memoryview(taken)[n_there:])
            if not n:
                break
            n_there += n
        self._n_read += n_there
        return bytes(taken[:n_there])
