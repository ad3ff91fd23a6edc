"""Bytes of a channel, read forward: a file or part of one, a pipe, and what either has compressed.

Whether bytes are compressed is told by how they begin, not by a name.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from onepass.data.ahead import Stop
from onepass.data.byte_stream import HEAD_BYTES, ByteStream
from onepass.data.failures import cannot_read
from onepass.data.gzip_stream import GzipStream
from onepass.data.pipe_stream import PipeStream
from onepass.data.s3_path import S3Path
from onepass.data.s3_stream import S3Stream
from onepass.data.sources import GZIP_MAGIC, ZSTD_MAGIC, Source, Span
from onepass.data.wrapped import unwrap
from onepass.errors import PlatformError


class FileStream:
    """A file, or part of it.

    Parameters
    ----------
    span : Span

    Attributes
    ----------
    n_read : int
        Bytes.

    Raises
    ------
    PlatformError
        When it cannot be opened; in `readinto`, when it cannot be read or has become shorter.
    """

    def __init__(self, span: Span) -> None:
        self.n_read = 0
        path, self._start, _ = span
        self._path = Path(str(path))
        self._n_left = span.stop - span.start
        try:
            self._file = self._path.open("rb", buffering=0)
            self._file.seek(span.start)
        except OSError as error:
            raise cannot_read(path, error) from error

    def head(self) -> bytes:
        """Return the first four bytes of what is left, or as many as there are."""
        start = self._file.tell()
        head = bytearray(min(HEAD_BYTES, self._n_left))
        n = self.readinto(memoryview(head)) if head else 0
        self._file.seek(start)
        self._n_left += n
        self.n_read -= n
        return bytes(head[:n])

    def readinto(self, buffer: memoryview, /) -> int:
        """Read as many bytes as fit, up to the end of the part."""
        try:
            n = self._file.readinto(buffer[: self._n_left])
        except OSError as error:
            raise cannot_read(self._path, error, self._start + self.n_read) from error
        self._n_left -= n
        self.n_read += n
        if not n and self._n_left and buffer:
            raise PlatformError(
                f"{self._path} is {self._n_left} bytes shorter than it was; no file may change "
                "while a job reads it"
            )
        return n

    def beginning(self, n_bytes: int) -> bytes:
        """Return the first bytes of the file, wherever its part begins; they do not count."""
        try:
            return os.pread(self._file.fileno(), n_bytes, 0)
        except OSError as error:
            raise cannot_read(self._path, error, 0) from error

    @property
    def n_there(self) -> int:
        """Bytes that have not been read."""
        return self._n_left

    def seekable(self) -> SeekableFile:
        """Return the same file as one that can be read from any place: instead of `readinto`."""
        return SeekableFile(self._file, self, self._path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_span(span: Span) -> FileStream | S3Stream:
    """Open part of a file, or of an object in S3, for reading forward.

    Raises
    ------
    PlatformError
        When it cannot be opened.
    """
    path, start, stop = span
    return path.stream(start, stop) if isinstance(path, S3Path) else FileStream(span)


class SeekableFile:
    """What pyarrow wants of a file; what is read is counted where it was opened."""

    def __init__(self, file: io.FileIO, counted: FileStream, path: Path) -> None:
        self._file = file
        self._counted = counted
        self._path = path

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed

    def read(self, n_bytes: int = -1) -> bytes:
        """Read as many bytes as there are, up to so many."""
        try:
            data = self._file.read(n_bytes) or b""
        except OSError as error:
            raise cannot_read(self._path, error, self._file.tell()) from error
        self._counted.n_read += len(data)
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def close(self) -> None:
        """Do nothing: it is closed where it was opened."""


class Opened(NamedTuple):
    """One object of a channel, open for reading.

    Attributes
    ----------
    stream : ByteStream
        What it holds, unfolded where it is compressed.
    name : str
        For messages.
    start : int
        The byte of the file at which the stream begins.
    """

    stream: ByteStream
    name: str
    start: int = 0


class OpenSource:
    """A source that is open, and closed at the end of a ``with`` block.

    Parameters
    ----------
    source : Span or Pipe
    stop : Stop
        Ends the wait for a pipe.
    """

    def __init__(self, source: Source, stop: Stop) -> None:
        self._source = source
        if isinstance(source, Span):
            self._stream: FileStream | S3Stream | PipeStream = open_span(source)
        else:
            self._stream = PipeStream(source.path, stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    @property
    def n_read(self) -> int:
        """Bytes read so far, compressed as they are."""
        return self._stream.n_read

    def objects(self) -> Iterator[Opened]:
        """Yield its objects, each to be read before the next: one, but for a wrapped pipe."""
        name = str(self._source.path)
        if isinstance(self._source, Span) or not self._source.wrapped:
            start = self._source.start if isinstance(self._source, Span) else 0
            yield Opened(unfolded(self._stream), name, start)
            return
        for i, wrapped in enumerate(unwrap(self._stream, name)):
            yield Opened(unfolded(wrapped), f"{name}, object {i}")


def unfolded(stream: ByteStream) -> ByteStream:
    """Return a stream, or what it holds where it is compressed."""
    head = stream.head()
    if head.startswith(GZIP_MAGIC):
        return GzipStream(stream)
    if head == ZSTD_MAGIC:
        from onepass.data.zstd_stream import ZstdStream  # noqa: PLC0415 - slow to import

        return ZstdStream(stream)
    return stream
