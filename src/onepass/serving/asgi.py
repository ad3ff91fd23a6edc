"""What ASGI hands over and takes: its requests to ours, our answers to its."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from onepass.serving.limits import LEAST_BYTES_A_SECOND
from onepass.serving.messages import Request, Response, Send
from onepass.serving.problems import request_id

CONNECTION = "onepass.connection"
"""Where a scope has the connection that its request came through."""

UPLOAD = "onepass.upload"
"""Where a scope has what comes of its body: an `Upload`."""

_PIECE_BYTES = 2**20


def request_of(scope: Mapping[str, Any]) -> Request:
    """Return the request that a scope describes."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return Request(
        scope["method"],
        scope["raw_path"].decode("ascii"),
        headers,
        request_id(headers),
        query=scope["query_string"].decode("latin-1"),
    )


async def send_response(
    response: Response, scope: Mapping[str, Any], send: Send, *, patience_s: float
) -> None:
    """Send an answer: a long one in pieces, each when the client has read most of those before.

    A client that takes longer than `patience_s`, and a second more for each MiB, is let go.
    """
    headers = [(b"content-length", b"%d" % len(response.body))]
    if response.content_type:
        headers.append((b"content-type", response.content_type.encode("latin-1")))
    headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    patience_s += len(response.body) / LEAST_BYTES_A_SECOND
    late = asyncio.get_running_loop().time() + patience_s
    try:
        for start in range(0, len(response.body), _PIECE_BYTES):
            piece = response.body[start : start + _PIECE_BYTES]
            more = start + _PIECE_BYTES < len(response.body)
            async with asyncio.timeout_at(late):
                await send({"type": "http.response.body", "body": piece, "more_body": more})
    except TimeoutError:
        scope[CONNECTION].let_go()
    if not response.body:
        await send({"type": "http.response.body"})
