"""Bytes of an object in S3, read forward or from any place."""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple

from onepass.data.byte_stream import ForwardStream
from onepass.data.s3_client import BrokenConnectionError, Client, S3Uri, read_answer
from onepass.errors import PlatformError

_N_ATTEMPTS = 5


class S3Object(NamedTuple):
    """An object that is there.

    Attributes
    ----------
    uri : S3Uri
    n_bytes : int
    etag : str
        Changes when the object is written anew.
    """

    uri: S3Uri
    n_bytes: int
    etag: str


class S3Stream(ForwardStream):
    """An object, or part of it; a connection that breaks is taken up where it broke.

    Attributes
    ----------
    n_read : int
        Bytes.
    """

    def __init__(self, client: Client, item: S3Object, start: int, stop: int) -> None:
        super().__init__()
        self._client, self._item = client, item
        self._at, self._stop = start, stop
        self._body: Any = None

    @property
    def n_there(self) -> int:
        """Bytes that have not been read."""
        return self._stop - self._at + len(self._head)

    def beginning(self, n_bytes: int) -> bytes:
        """Return the first bytes of the object, wherever its part begins; they do not count."""
        file = S3File(self._client, self._item, S3Stream(self._client, self._item, 0, 0))
        return file.read(n_bytes)

    def seekable(self) -> S3File:
        """Return the same object as one that can be read from any place: instead of `readinto`."""
        return S3File(self._client, self._item, self)

    def close(self) -> None:
        """Close the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _read(self, buffer: memoryview) -> int:
        n_wanted = min(len(buffer), self._stop - self._at)
        if not n_wanted:
            return 0
        n = self._try(buffer[:n_wanted])
        self._at += n
        self.n_read += n
        return n

    def _try(self, buffer: memoryview) -> int:
        uri = self._item.uri
        for _ in range(_N_ATTEMPTS - 1):
            with contextlib.suppress(BrokenConnectionError):
                if n := self._read_answer(buffer):
                    return n
            self.close()  # it has broken, or ended without a word
        if n := self._read_answer(buffer):
            return n
        raise PlatformError(f"{uri} ends {self._stop - self._at} bytes too early")

    def _read_answer(self, buffer: memoryview) -> int:
        uri = self._item.uri
        if self._body is None:
            answer = self._client.ask(
                "get_object",
                uri,
                Range=f"bytes={self._at}-{self._stop - 1}",
                IfMatch=self._item.etag,
            )
            self._body = answer["Body"]
        data = read_answer(self._body, uri, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class S3File:
    """What pyarrow wants of a file; what is read is counted where it was opened."""

    closed = False

    def __init__(self, client: Client, item: S3Object, counted: S3Stream) -> None:
        self._client, self._item = client, item
        self._counted = counted
        self._at = 0

    def read(self, n_bytes: int = -1) -> bytes:
        """Read as many bytes as there are, up to so many: one request."""
        left = self._item.n_bytes - self._at
        n = left if n_bytes < 0 else max(0, min(n_bytes, left))
        stream = S3Stream(self._client, self._item, self._at, self._at + n)
        data, n_there = bytearray(n), 0
        with contextlib.closing(stream):
            while n_there < n:
                n_there += stream.readinto(memoryview(data)[n_there:])
        self._at += n
        self._counted.n_read += n
        return bytes(data)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._item.n_bytes}[whence]
        self._at = base + place
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def close(self) -> None:
        """Do nothing: no connection stays open."""
