"""What a stream of gzip members holds, unfolded by Intel's igzip: several times as fast as zlib.

Source: RFC 1952; a file may hold several members behind one another.
"""

from __future__ import annotations

from isal import isal_zlib

from onepass.data.byte_stream import ByteStream
from onepass.data.sources import GZIP_MAGIC
from onepass.errors import DecodeError

_WITH_GZIP_HEADER = 31  # zlib's name for it
_BROKEN: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # as its stub has it
_COMPRESSED_BYTES = 2**18
_FIXED_HEADER_BYTES, _LONGEST_HEADER = 10, 2**20
_HEADER_CRC, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16  # flags of the fourth byte


class GzipStream:
    """What a stream of gzip members holds.

    Parameters
    ----------
    compressed : ByteStream
        Closed with this one.

    Raises
    ------
    DecodeError
        In `readinto`, with the byte of the compressed stream up to which it was whole.
    """

    def __init__(self, compressed: ByteStream) -> None:
        self._compressed = compressed
        self._room = memoryview(bytearray(_COMPRESSED_BYTES))
        self._pending: bytes | memoryview = b""
        self._n_read = 0
        self._member = isal_zlib.decompressobj(wbits=_WITH_GZIP_HEADER)
        self._in_member = self._more_within = False

    def head(self) -> bytes:
        """Return the first four bytes: of compressed data within compressed data, never asked."""
        raise NotImplementedError

    def readinto(self, buffer: memoryview, /) -> int:
        """Unfold the next bytes."""
        while True:
            if not self._pending and not self._more_within and not self._fill():
                if self._in_member:
                    raise self._broken("the data ends inside a gzip member: it was cut short")
                return 0
            if self._member.eof:
                self._begin_member()
                continue
            if not self._in_member:
                self._gather_header()
            unfolded = self._unfold(len(buffer))
            if unfolded:
                buffer[: len(unfolded)] = unfolded
                return len(unfolded)

    def close(self) -> None:
        """Close the compressed stream."""
        self._compressed.close()

    def _fill(self) -> bool:
        n = self._compressed.readinto(self._room)
        self._n_read += n
        self._pending = self._room[:n]
        return n > 0

    def _unfold(self, n_bytes: int) -> bytes:
        try:
            unfolded: bytes = self._member.decompress(self._pending, n_bytes)
        except _BROKEN as error:
            raise self._broken(f"the gzip data is broken ({error})") from error
        self._in_member = not self._member.eof
        self._more_within = self._in_member and len(unfolded) == n_bytes
        self._pending = (
            self._member.unconsumed_tail if self._in_member else self._member.unused_data
        )
        return unfolded

    def _begin_member(self) -> None:
        """Begin the next member, behind zeros that some writers fill up with."""
        self._pending = bytes(self._pending).lstrip(b"\0")
        if self._pending:
            start = self._pending[: len(GZIP_MAGIC)]
            if not GZIP_MAGIC.startswith(start):
                raise self._broken(f"bytes {start.hex()} follow a gzip member and begin no other")
            self._member = isal_zlib.decompressobj(wbits=_WITH_GZIP_HEADER)

    def _gather_header(self) -> None:
        """Read on until a member's header is whole: igzip misreads some that come in two pieces."""
        while not _has_header(bytes(self._pending)):
            before = bytes(self._pending)
            if len(before) > _LONGEST_HEADER:
                raise self._broken(f"a gzip header is longer than {_LONGEST_HEADER} bytes")
            more = self._fill()
            self._pending = before + bytes(self._pending)
            if not more:
                return

    def _broken(self, reason: str) -> DecodeError:
        at = self._n_read - len(self._pending)
        return DecodeError(f"{reason}; compress the file anew", where=f"compressed byte {at}")


def _has_header(data: bytes) -> bool:
    """Whether all of a member's header is there."""
    if len(data) < _FIXED_HEADER_BYTES:
        return False
    flags, end = data[3], _FIXED_HEADER_BYTES
    if flags & _EXTRA:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            end = data.find(0, end) + 1 or len(data) + 1  # each ends with a zero
    return len(data) >= end + (2 if flags & _HEADER_CRC else 0)
