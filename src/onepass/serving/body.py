"""The exact reader of request bodies.

A body that its client cut short, or that is longer than what is accepted, must not be taken for a
whole one: that would give wrong clusters with status 200. Here a body is read to its end, to the
byte, or refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from onepass.data.byte_stream import ForwardStream
from onepass.data.gzip_stream import GzipStream
from onepass.data.pieces import pieces_of
from onepass.serving.limits import LEAST_BYTES_A_SECOND, Share
from onepass.serving.messages import Receive
from onepass.serving.problems import HttpError
from onepass.serving.upload import Upload


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
) -> bytes | bytearray:
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
        What comes of it.

    Returns
    -------
    bytes or bytearray
        Of the declared length, if one was declared.

    Raises
    ------
    HttpError
        413 beyond the limit, before it is read where its length is declared; 503 when there is no
        room for it now; 400 when the body breaks off, 408 when it stops coming.
    """
    n_declared = int(declared) if declared else None
    admit = partial(_admit, limits=limits, share=share)
    admit(n_declared or 0)
    first = await _first_piece(receive, upload, limits)
    is_whole = not first.get("more_body", False)
    upload.take(admit, first.get("body", b""), is_whole=is_whole, n_bytes=n_declared or 0)
    try:
        await _end_of(upload, limits)
        if upload.broken:
            raise _broken(upload.n_bytes, upload.broken)
        if n_declared is not None and upload.n_bytes != n_declared:
            raise _broken(upload.n_bytes, f"Content-Length says {n_declared}")
    except BaseException:
        upload.drop()  # the connection may stay, or its memory with it for a while
        raise
    return upload.give()


def unzipped(body: bytes | bytearray, limit_bytes: int) -> Iterator[bytes]:
    """Unfold a body that was compressed by gzip, piece by piece.

    Raises
    ------
    DecodeError
        When it is no gzip, or cut short.
    HttpError
        413 when it unfolds to more than `limit_bytes`: no more than that is unfolded.
    """
    n_bytes = 0
    for piece in pieces_of(GzipStream(_Bytes(body))):
        n_bytes += len(piece)
        if n_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        yield piece


class _Bytes(ForwardStream):
    """A body as a stream."""

    def __init__(self, body: bytes | bytearray) -> None:
        super().__init__()
        self._left = memoryview(body)

    def _read(self, buffer: memoryview) -> int:
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n

    def close(self) -> None:
        """Nothing is held."""


async def _first_piece(receive: Receive, upload: Upload, limits: BodyLimits) -> Mapping[str, Any]:
    """Return what has come of the body, which asks for the rest of it."""
    try:
        async with asyncio.timeout(limits.silence_s):
            message = await receive()
    except TimeoutError as error:
        raise _late(0) from error
    if message["type"] != "http.request":
        raise _broken(0, upload.broken or "the connection was lost")
    return message


async def _end_of(upload: Upload, limits: BodyLimits) -> None:
    """Wait for the end of a body, as long as enough of it comes."""
    began = asyncio.get_running_loop().time()
    n_before = -1
    while True:
        left = began + limits.total_s - asyncio.get_running_loop().time()
        left += upload.n_bytes / LEAST_BYTES_A_SECOND
        if upload.n_bytes == n_before or left <= 0:
            raise _late(upload.n_bytes)
        n_before = upload.n_bytes
        if await upload.wait(min(limits.silence_s, left)):
            return


def _admit(n_bytes: int, limits: BodyLimits, share: Share) -> None:
    if n_bytes > limits.n_bytes:
        raise _too_large(limits.n_bytes)
    share.grow_to(n_bytes)


def _late(n_bytes: int) -> HttpError:
    message = f"no more of the body came after {n_bytes} bytes"
    return HttpError(408, "body_timeout", message)


def _broken(n_bytes: int, reason: str) -> HttpError:
    return HttpError(400, "broken_body", f"the body broke off after {n_bytes} bytes: {reason}")


def _too_large(limit_bytes: int) -> HttpError:
    return HttpError(413, "too_large", f"the body is larger than the {limit_bytes} bytes accepted")
