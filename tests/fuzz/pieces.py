"""A stream of bytes in memory that comes in pieces of any size."""

from __future__ import annotations

import random


class Pieces:
    """Bytes read forward, as a `ByteStream` of `onepass.data` is.

    Parameters
    ----------
    content : bytes
    seed : int
        Of the sizes of the pieces, from 1 to 40 bytes; 0: all in one piece.
    """

    def __init__(self, content: bytes, seed: int = 0) -> None:
        self._content = content
        self._place = 0
        self._random = random.Random(seed) if seed else None

    def head(self) -> bytes:
        """Return the next four bytes, which are read again after that."""
        return self._content[self._place : self._place + 4]

    def readinto(self, buffer: memoryview, /) -> int:
        """Read the next piece; 0 at the end."""
        most = self._random.randint(1, 40) if self._random else len(self._content)
        piece = self._content[self._place : self._place + min(most, len(buffer))]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        """Do nothing: it holds nothing but bytes."""
