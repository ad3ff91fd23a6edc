"""A body on its way from a connection to the one that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SMALL_BYTES = 2**16

_LONG_BYTES, _ROOM_BYTES = 2**16, 2**23
"""What is to come at least for room to be made, and the most that is made at once."""


class Upload:
    """What has come of a body.

    Until somebody takes it on, the connection keeps a little of it and reads no further; from then
    on, pieces are kept here as they come, and the reader is woken once, at the end. Where much is
    known to come, there is room for it here, to be filled without copying.

    Parameters
    ----------
    read_on : callable
        Lets the connection read on.

    Attributes
    ----------
    n_bytes : int
    broken : str
        Why no more will come, where the client did not send it whole; else empty.
    is_taken : bool
        Whether somebody has taken it on.
    n_to_come : int
        How many bytes there is room for, at once or by and by; 0 where `put` keeps all of them.
    """

    def __init__(self, read_on: Callable[[], None]) -> None:
        self._read_on = read_on
        self._pieces: list[bytes | bytearray] = []
        self._room = memoryview(b"")
        self.n_bytes = self.n_to_come = 0
        self.broken = ""
        self.is_taken = False
        self._error: Exception | None = None
        self._is_whole = self._is_over = False
        self._ended = asyncio.Event()

    def take(
        self, admit: Callable[[int], None], first: bytes, *, is_whole: bool, n_bytes: int = 0
    ) -> None:
        """Take it on, with what has come before.

        Parameters
        ----------
        admit : callable
            Is given how many bytes there are with each piece, before that is kept; what it raises
            is raised by `wait`, and no more is kept.
        first : bytes
        is_whole : bool
        n_bytes : int
            Of the whole body, which is admitted already; 0 where that is not known.
        """
        self._admit = admit
        self.is_taken = True
        if n_bytes >= len(first) + _LONG_BYTES:
            self.n_to_come = n_bytes
            self.room()[: len(first)] = first
            self.fill(len(first))
        else:
            self.put(first)
        if is_whole:
            self.end()
        self._read_on()

    def put(self, piece: bytes) -> None:
        """Keep a piece, if it is admitted."""
        if self._error is not None:
            return
        self.n_bytes += len(piece)
        try:
            self._admit(self.n_bytes)
        except Exception as error:  # noqa: BLE001 - it is for the one who waits
            self._error = error
            self.drop()
            self._ended.set()
        else:
            self._keep(piece)

    def room(self) -> memoryview:
        """Return where the next of the bytes to come shall be put: room for one at least."""
        if not self._room:
            room = bytearray(min(self.n_to_come, _SMALL_BYTES if self._is_over else _ROOM_BYTES))
            self._room = memoryview(room)
            if not self._is_over:
                self._pieces.append(room)
        return self._room

    def fill(self, n_bytes: int) -> None:
        """Say that so much of the room has been filled."""
        self.n_bytes += n_bytes
        self.n_to_come -= n_bytes
        self._room = self._room[n_bytes:]

    def give(self) -> bytes | bytearray:
        """Hand over what was kept; nothing is kept any more, however long the client stays."""
        pieces = self._pieces
        self.drop()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drop(self) -> None:
        """Keep nothing of what was kept, or will come."""
        self._pieces, self._room, self._is_over = [], memoryview(b""), True

    def end(self) -> None:
        """Say that it is whole."""
        self._is_whole = True
        self._ended.set()

    def break_off(self, reason: str) -> None:
        """Say that no more will come."""
        if not self._is_whole:
            self.broken = self.broken or reason
            self._ended.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False where it has not come in time.

        Raises
        ------
        Exception
            What refused to admit a piece.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        if self._error is not None:
            raise self._error
        return True

    def _keep(self, piece: bytes) -> None:
        """Keep a piece: small ones in one, as each by itself takes more than its bytes."""
        last = self._pieces[-1] if self._pieces else b""
        if len(piece) >= _SMALL_BYTES or (piece and not self._pieces):
            self._pieces.append(piece)
        elif isinstance(last, bytearray) and len(last) < _SMALL_BYTES:
            last += piece
        elif piece:
            self._pieces.append(bytearray(piece))
