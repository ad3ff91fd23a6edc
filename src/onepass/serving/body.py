"""The exact reader of request bodies.

A body that its client cut short, or that is longer than what is accepted, must not be taken for a
whole one: that would give wrong clusters with status 200. Here a body is read to its end, to the
byte, or refused.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from onepass.data.byte_stream import ForwardStream
from onepass.data.gzip_stream import GzipStream
from onepass.serving.asgi import Upload
from onepass.serving.limits import Share
from onepass.serving.messages import Receive
from onepass.serving.problems import HttpError

_LEAST_BYTES_A_SECOND = 2**20
_UNZIPPED_BYTES = 2**20


@dataclass(frozen=True)
class BodyLimits:
    """How long and how slow a body may be.

    Attributes
    ----------
    n_bytes : int
    silence_s : float
        Between two pieces.
    total_s : float
        From the first piece to the last, and a second more for each MiB.
    """

    n_bytes: int
    silence_s: float
    total_s: float


async def read_body(
    receive: Receive, declared: str | None, share: Share, *, limits: BodyLimits, upload: Upload
) -> bytes:
    """Read a request's body.

    Parameters
    ----------
    receive : callable
        Gives the next piece, as ASGI has it.
    declared : str or None
        The Content-Length, a whole number; None for a chunked body.
    share : Share
        Grows with what is read.
    limits : BodyLimits
    upload : Upload
        What becomes of it on its way.

    Returns
    -------
    bytes
        Of the declared length, if one was declared.

    Raises
    ------
    HttpError
        413 beyond the limit, before it is read where its length is declared; 503 when there is no
        room for it now; 400 when the body breaks off, 408 when it stops coming.
    """
    n_declared = int(declared) if declared else None
    n_bytes, pieces, more = 0, [], True
    _take(n_declared or 0, limits, share)
    late = asyncio.get_running_loop().time() + limits.total_s
    while more:
        piece, more = await _next_piece(receive, upload, n_bytes, _patience(limits, late, n_bytes))
        n_bytes += len(piece)
        _take(n_bytes, limits, share)
        pieces.append(piece)
    if n_declared is not None and n_bytes != n_declared:
        raise _broken(n_bytes, f"Content-Length says {n_declared}")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def unzip(body: bytes, limit_bytes: int) -> bytes:
    """Unfold a body that was compressed by gzip.

    Raises
    ------
    DecodeError
        When it is no gzip, or cut short.
    HttpError
        413 when it unfolds to more than `limit_bytes`: no more than that is unfolded.
    """
    stream, unfolded = GzipStream(_Bytes(body)), bytearray()
    room = memoryview(bytearray(_UNZIPPED_BYTES))
    while n := stream.readinto(room):
        unfolded += room[:n]
        if len(unfolded) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(unfolded)


class _Bytes(ForwardStream):
    """A body as a stream."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._left = memoryview(body)

    def _read(self, buffer: memoryview) -> int:
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n

    def close(self) -> None:
        """Nothing is held."""


def _patience(limits: BodyLimits, late: float, n_bytes: int) -> float:
    """Return how long the next piece may take: at most what is left for the whole body."""
    left = late + n_bytes / _LEAST_BYTES_A_SECOND - asyncio.get_running_loop().time()
    return min(limits.silence_s, max(0.0, left))


async def _next_piece(
    receive: Receive, upload: Upload, n_bytes: int, patience_s: float
) -> tuple[bytes, bool]:
    """Return the next piece, and whether more follow."""
    try:
        async with asyncio.timeout(patience_s):
            message = await receive()
    except TimeoutError as error:
        reason = f"no more of the body came after {n_bytes} bytes"
        raise HttpError(408, "body_timeout", reason) from error
    if upload.broken:
        raise _broken(n_bytes + len(message.get("body", b"")), upload.broken)
    if message["type"] != "http.request":
        raise _broken(n_bytes, "the connection was lost")
    return message.get("body", b""), message.get("more_body", False)


def _take(n_bytes: int, limits: BodyLimits, share: Share) -> None:
    if n_bytes > limits.n_bytes:
        raise _too_large(limits.n_bytes)
    share.grow_to(n_bytes)


def _broken(n_bytes: int, reason: str) -> HttpError:
    return HttpError(400, "broken_body", f"the body broke off after {n_bytes} bytes: {reason}")


def _too_large(limit_bytes: int) -> HttpError:
    return HttpError(413, "too_large", f"the body is larger than the {limit_bytes} bytes accepted")
