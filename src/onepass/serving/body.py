"""The exact reader of request bodies.

Behind gunicorn, Flask takes a body that its client cut short for a whole one, and silently cuts a
chunked body at its limit: both would give wrong clusters with status 200. Here a body is read to
its end, to the byte, or refused.
"""

from __future__ import annotations

from typing import BinaryIO

from onepass.serving.problems import HttpError

_PIECE_BYTES = 65536


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
        breaks off.
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


def _read_piece(stream: BinaryIO, n_bytes: int, limit_bytes: int) -> bytes:
    try:
        return stream.read(min(_PIECE_BYTES, limit_bytes + 1 - n_bytes))
    except Exception as error:  # a reset connection, a chunk cut short: servers differ in the type
        raise HttpError(400, "broken_body", f"the body broke off after {n_bytes} bytes") from error


def _too_large(limit_bytes: int) -> HttpError:
    return HttpError(413, "too_large", f"the body is larger than the {limit_bytes} bytes accepted")
