"""A body on its way from a connection to the one that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SMALL_BYTES = 2**16


class Upload:
    """What has come of a body.

    Until somebody takes it on, the connection keeps a little of it and reads no further; from then
    on, pieces are kept here as they come, and the reader is woken once, at the end.

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
    """

    def __init__(self, read_on: Callable[[], None]) -> None:
        self._read_on = read_on
        self._pieces: list[bytes | bytearray] = []
        self.n_bytes = 0
        self.broken = ""
        self.is_taken = False
        self._error: Exception | None = None
        self._is_whole = False
        self._ended = asyncio.Event()

    def take(self, admit: Callable[[int], None], first: bytes, *, is_whole: bool) -> None:
        """Take it on, with what has come before.

        Parameters
        ----------
        admit : callable
            Is given how many bytes there are with each piece, before that is kept; what it raises
            is raised by `wait`, and no more is kept.
        first : bytes
        is_whole : bool
        """
        self._admit = admit
        self.is_taken = True
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

    def give(self) -> bytes:
        """Hand over what was kept; nothing is kept any more, however long the client stays."""
        pieces, self._pieces = self._pieces, []
        first = pieces[0] if len(pieces) == 1 else b""
        return first if isinstance(first, bytes) and first else b"".join(pieces)

    def drop(self) -> None:
        """Keep nothing of what was kept."""
        self._pieces = []

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
