"""Connections: uvicorn's, with limits to what a client may take of time and memory.

uvicorn reads requests without a thread for each, so that silent and slow clients keep nobody
waiting; but it never lets go of a client that does not go on, reads headers of any length, takes a
client that has said all it has to say for one that is gone, loses the body of a request that offers
another protocol, and answers what is no HTTP before the requests that came first. These are mended
here.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from onepass.serving.asgi import CONNECTION, UPLOAD
from onepass.serving.joining import JoiningTransport
from onepass.serving.limits import ConnectionLimits
from onepass.serving.problems import HttpError, request_id, to_response
from onepass.serving.straight import StraightReader
from onepass.serving.upload import Upload

MAX_HEADERS_BYTES = 2**16
"""Of one request: its line and all its headers."""

_REFUSED_BYTES = 2**22
"""Of headers that were refused, read on so that the client sees the answer."""


class Connection(HttpToolsProtocol):
    """One client's connection.

    Attributes
    ----------
    limits : ConnectionLimits
        Of the class: `limited` makes one.
    """

    limits = ConnectionLimits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._upload: Upload | None = None
        self._data = b""
        self._n_header_bytes = self._n_drained = 0
        self._in_message = self._in_body = self._deaf = self._is_parting = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client in, if there is room."""
        super().connection_made(transport)
        self._joining = JoiningTransport(transport, self._lingers)
        self.transport = cast("asyncio.Transport", self._joining)
        self._set_deadline(self.limits.headers_s, self._headers_are_late)
        if len(self.connections) > self.limits.connections:
            self.let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client that is gone."""
        self._clear_deadline()
        if self._upload:
            self._upload.break_off("the connection was lost")
        super().connection_lost(exc)

    def let_go(self) -> None:
        """End the connection at once; what the client has not read yet is lost."""
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        if connection is not None:  # else the kernel would keep the answer for the client
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on in a request."""
        if self._deaf:
            self._n_drained += len(data)
            if self._n_drained > _REFUSED_BYTES:
                self.let_go()
            return
        if not self._in_body:
            self._n_header_bytes += len(data)
            if self._deadline is None and self._is_idle():
                self._set_deadline(self.limits.headers_s, self._headers_are_late)
        self._data = data
        super().data_received(data)
        self._data = b""
        if not self._in_body and self._n_header_bytes > MAX_HEADERS_BYTES and self._is_idle():
            self._refuse(_headers_too_large())

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what has come, when a client has said all it has to say."""
        if self._is_idle() or self._deaf:
            return False
        self._deaf = True
        if self._in_message:
            self._break("the client ended the connection")
        self.cycle.keep_alive = False  # the last one closes
        return True

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._upload = Upload(self._read_on)
        self.scope[CONNECTION] = self  # type: ignore[literal-required]
        self.scope[UPLOAD] = self._upload  # type: ignore[literal-required]
        self._in_message, self._in_body = True, False

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if self._n_header_bytes > MAX_HEADERS_BYTES:  # if not the beginning of the body
            n_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if n_bytes > MAX_HEADERS_BYTES:
                raise _headers_too_large()
        self._clear_deadline()
        self._n_header_bytes = self._n_drained = 0
        super().on_headers_complete()  # which fails where the path is none
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, or throw it away where its request has been refused."""
        if self.cycle.response_complete:
            self.on_drained(len(body))
        elif self._upload and self._upload.is_taken:
            self._upload.put(body)
        else:
            super().on_body(body)

    def on_drained(self, n_bytes: int) -> None:
        """Count what comes of a body after its request has been answered."""
        self._n_drained += n_bytes
        if self._n_drained > self.limits.drain_bytes:
            self.let_go()

    def on_straight_body(self) -> None:
        """Go on behind a body that a `StraightReader` has read."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.transport.set_protocol(self)
        self.on_message_complete()

    def on_message_complete(self) -> None:
        """End a request; one that offers another protocol only seems to end with its headers."""
        if self.parser.should_upgrade():
            return
        self._in_message = self._in_body = False
        if self.cycle.response_complete:
            self._clear_deadline()
            if not self.cycle.keep_alive:
                self.transport.close()
        if self._upload and self._upload.is_taken:
            self._upload.end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for the rest of a body that was refused."""
        self._joining.flush()  # of what has no body
        super().on_response_complete()
        if self._in_message and self.cycle.response_complete and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._set_deadline(self.limits.drain_s, self._part)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, once the requests before it are answered."""
        if self._in_body and not self.cycle.response_complete:
            self._break("it is not framed as HTTP asks for")
        if self._is_idle():
            cause = sys.exc_info()[1]
            within = cause.__context__ if cause else None
            self._refuse(
                within if isinstance(within, HttpError) else HttpError(400, "bad_request", msg)
            )
        else:
            self.cycle.keep_alive = False  # the last one closes
        self._deaf = True

    def timeout_keep_alive_handler(self) -> None:
        """Let go of a client that asks nothing more, or does not read its answer."""
        self._part()

    def _unsupported_upgrade_warning(self) -> None:
        """Read on in a request that offers another protocol, which is passed over."""
        error = sys.exc_info()[1]
        rest = self._data[error.args[0] :] if error and error.args else b""
        self.cycle.keep_alive = False
        names = (b"content-length", b"transfer-encoding")
        told = [b"%b: %b\r\n" % field for field in self.headers if field[0] in names]
        self.parser = httptools.HttpRequestParser(_BodyOnly(self.on_body, self._end_of_body))
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(told))
            if rest and self._in_message:
                self.parser.feed_data(rest)
        except httptools.HttpParserError:
            self.send_400_response("the body is not framed as HTTP asks for")

    def _end_of_body(self) -> None:
        self.on_message_complete()
        self._deaf = True

    def _read_on(self) -> None:
        """Read the rest of a body that somebody has taken on."""
        if self._upload and self._upload.n_to_come:
            self.transport.set_protocol(StraightReader(self, self._upload))
        self.flow.resume_reading()

    def _is_idle(self) -> bool:
        """Whether no request waits for its answer."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or (cycle.response_complete and not self.pipeline)

    def _break(self, reason: str) -> None:
        """Tell the one that reads the body that no more will come."""
        if self._upload:
            self._upload.break_off(reason)
        self.cycle.message_event.set()

    def _headers_are_late(self) -> None:
        self._deadline = None
        if self._in_message or self._n_header_bytes:
            self._refuse(HttpError(408, "headers_timeout", "the headers did not come in time"))
        else:
            self.transport.close()

    def _refuse(self, problem: HttpError) -> None:
        """Answer without a request, and close: at once for writing, a little later for reading.

        A connection that is closed with unread data in it is reset, and many clients then never see
        the answer that says why.
        """
        if self.transport.is_closing() or self._deaf:
            return
        response = to_response(problem, request_id({}))
        lines = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            "connection: close",
        )
        self.transport.write("\r\n".join((*lines, "", "")).encode())
        self.transport.write(response.body)
        self.transport.write_eof()
        self._deaf, self._n_drained = True, 0
        self._set_deadline(self.limits.drain_s, self._part)

    def _lingers(self) -> bool:
        """Whether a connection that is to be closed reads on: the rest of a body, once."""
        lingers = self._in_message and not (self._deaf or self._is_parting)
        self._is_parting = True
        return lingers

    def _part(self) -> None:
        """End the connection, so that the client sees what it was answered if it reads at all."""
        if self.transport.get_write_buffer_size():
            self.let_go()
        self.transport.close()

    def _set_deadline(self, seconds: float, late: Callable[[], None]) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _BodyOnly:
    """What a parser of nothing but a body tells.

    Parameters
    ----------
    on_body, on_message_complete : callable
    """

    def __init__(
        self, on_body: Callable[[bytes], None], on_message_complete: Callable[[], None]
    ) -> None:
        self.on_body = on_body
        self.on_message_complete = on_message_complete


def limited(limits: ConnectionLimits) -> type[Connection]:
    """Return a class of connections with other limits."""
    return type("Connection", (Connection,), {"limits": limits})


def _headers_too_large() -> HttpError:
    message = f"the headers are longer than the {MAX_HEADERS_BYTES} bytes accepted"
    return HttpError(431, "headers_too_large", message)
