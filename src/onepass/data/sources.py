"""Where bytes of a channel come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from onepass.data.failures import cannot_read
from onepass.data.s3_path import S3Path

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


FilePath: TypeAlias = Path | S3Path
ReadAt: TypeAlias = Callable[[int, int], bytes]
"""``(n_bytes, at) -> bytes``: so many from a place on, or as many as there are."""

_WINDOW_BYTES = 2**16


class Span(NamedTuple):
    """Part of a file: whole records from one byte to another.

    Attributes
    ----------
    path : Path or S3Path
    start, stop : int
        Byte offsets; a record starts at `start`, and `stop` is where the last one ends.
    """

    path: FilePath
    start: int
    stop: int


class Pipe(NamedTuple):
    """A named pipe.

    Attributes
    ----------
    path : Path
        It may appear late.
    wrapped : bool
        Each object is one RecordIO record in it, whatever its format.
    """

    path: Path
    wrapped: bool = False


Source: TypeAlias = Span | Pipe


def whole_files(files: Sequence[FilePath]) -> list[Span]:
    """Return a span for each file, from its beginning to its end."""
    return [Span(path, 0, size_of(path)) for path in files]


def size_of(path: FilePath) -> int:
    """Return how many bytes a file has."""
    return path.n_bytes if isinstance(path, S3Path) else path.stat().st_size


@contextmanager
def opened_anywhere(path: FilePath) -> Iterator[ReadAt]:
    """Open a file, of which little is read here and there.

    Raises
    ------
    OSError
        When it cannot be opened; where it is read, when it cannot be read.
    PlatformError
        Of an object in S3.
    """
    if isinstance(path, S3Path):
        yield _Window(path).read
        return
    with path.open("rb", buffering=0) as file:
        yield lambda n_bytes, at: os.pread(file.fileno(), n_bytes, at)


class _Window:
    """Keeps what an object has around the last place, as each request takes its time."""

    def __init__(self, path: S3Path) -> None:
        self._path, self._at, self._data = path, 0, b""

    def read(self, n_bytes: int, at: int) -> bytes:
        stop = min(at + n_bytes, self._path.n_bytes)
        if not self._at <= at <= stop <= self._at + len(self._data):
            self._at, self._data = at, self._path.read(max(n_bytes, _WINDOW_BYTES), at)
        return self._data[at - self._at : stop - self._at]


def n_bytes_of(sources: Sequence[Source]) -> int:
    """Return how many bytes some sources have together, those of pipes, which none knows, not."""
    return sum(source.stop - source.start for source in sources if isinstance(source, Span))


def is_compressed(path: FilePath) -> bool:
    """Whether a file begins as compressed ones do: such a file cannot be read from the middle.

    Raises
    ------
    PlatformError
        When it cannot be read.
    """
    try:
        with opened_anywhere(path) as read:
            return read(len(ZSTD_MAGIC), 0).startswith((GZIP_MAGIC, ZSTD_MAGIC))
    except OSError as error:
        raise cannot_read(path, error) from error
