"""Bodies of known length, read from the socket right into their place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from onepass.serving.upload import Upload

if TYPE_CHECKING:
    from onepass.serving.connections import Connection


class StraightReader(asyncio.BufferedProtocol):
    """What stands in for a connection while the rest of a body comes, if its length is known.

    A parser of HTTP would be called for each piece, which is copied three times on that way.

    Parameters
    ----------
    connection : Connection
        Is told of all that happens, and goes on at the end.
    upload : Upload
        With room.
    """

    def __init__(self, connection: Connection, upload: Upload) -> None:
        self._connection = connection
        self._upload = upload

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes shall be put: none behind the body."""
        del sizehint
        return self._upload.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Count what has come, and let the connection go on if that is all."""
        self._upload.fill(nbytes)
        if self._connection.cycle.response_complete:
            self._connection.on_drained(nbytes)
        if not self._upload.n_to_come:
            self._connection.on_straight_body()

    def eof_received(self) -> bool:
        """Pass on that the client has said all it has to say."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the client is gone."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client does not read its answer."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads its answer again."""
        self._connection.resume_writing()
