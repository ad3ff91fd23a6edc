"""The exact reader of request bodies.

Behind gunicorn, Flask takes a body that its client cut short for a whole one, and silently cuts a
chunked body at its limit: both would give wrong clusters with status 200. Here a body is read to
its end, to the byte, or refused.
"""

from __future__ import annotations

import socket
from typing import BinaryIO

from onepass.serving.problems import HttpError

_PIECE_BYTES = 65536
_PATIENCE_S = 2.0


def read_body(stream: BinaryIO, declared_bytes: int | None, *, limit_bytes: int) -> bytes:
    """Read a request body.

    Parameters
    ----------
    stream : binary file
        The server's own input, which ends where the body ends.
    declared_bytes : int or None
        The Content-Length; None for a chunked body.
    limit_bytes : int

    Returns
    -------
    bytes
        Of the declared length, if one was declared.

    Raises
    ------
    HttpError
        413 beyond the limit, before it is read where its length is declared; 400 when the body
        breaks off, 408 when it stops coming.
    """
    if declared_bytes is not None and declared_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    n_bytes = 0
    while piece := _read_piece(stream, n_bytes, limit_bytes):
        pieces.append(piece)
        n_bytes += len(piece)
        if n_bytes > limit_bytes:
            raise _too_large(limit_bytes)
    if declared_bytes is not None and n_bytes != declared_bytes:
        message = f"the body has {n_bytes} bytes where Content-Length says {declared_bytes}"
        raise HttpError(400, "broken_body", message)
    return b"".join(pieces)


def discard_body(stream: BinaryIO, connection: socket.socket | None, *, limit_bytes: int) -> None:
    """Read on, after the answer, what a client still sends of a body that was refused.

    A connection that is closed with unread data in it is reset, and many clients then never see
    the answer that says why.

    Parameters
    ----------
    stream : binary file
        The server's own input.
    connection : socket.socket or None
        What it comes through, if known: a client that falls silent is not waited for.
    limit_bytes : int
        A client that sends more than this is cut off.
    """
    n_bytes = 0
    try:
        if connection is not None:
            connection.settimeout(_PATIENCE_S)
        while n_bytes < limit_bytes and (piece := stream.read(_PIECE_BYTES)):
            n_bytes += len(piece)
        if connection is not None:
            connection.settimeout(None)
    except Exception:  # noqa: BLE001 - the answer is out; the connection ends with the client's
        return


def _read_piece(stream: BinaryIO, n_bytes: int, limit_bytes: int) -> bytes:
    try:
        return stream.read(min(_PIECE_BYTES, limit_bytes + 1 - n_bytes))
    except BlockingIOError as error:  # the listener's limit of silence
        message = f"no more of the body came after {n_bytes} bytes"
        raise HttpError(408, "body_timeout", message) from error
    except Exception as error:  # a reset connection, a chunk cut short: servers differ in the type
        raise HttpError(400, "broken_body", f"the body broke off after {n_bytes} bytes") from error


def _too_large(limit_bytes: int) -> HttpError:
    return HttpError(413, "too_large", f"the body is larger than the {limit_bytes} bytes accepted")
