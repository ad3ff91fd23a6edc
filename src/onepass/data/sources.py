"""Where bytes of a channel come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from onepass.data.failures import cannot_read

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Span(NamedTuple):
    """Part of a file: whole records from one byte to another.

    Attributes
    ----------
    path : Path
    start, stop : int
        Byte offsets; a record starts at `start`, and `stop` is where the last one ends.
    """

    path: Path
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


def whole_files(files: Sequence[Path]) -> list[Span]:
    """Return a span for each file, from its beginning to its end."""
    return [Span(path, 0, path.stat().st_size) for path in files]


def n_bytes_of(sources: Sequence[Source]) -> int:
    """Return how many bytes some sources have together, those of pipes, which none knows, not."""
    return sum(source.stop - source.start for source in sources if isinstance(source, Span))


def is_compressed(path: Path) -> bool:
    """Whether a file begins as compressed ones do: such a file cannot be read from the middle.

    Raises
    ------
    PlatformError
        When it cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(len(ZSTD_MAGIC)).startswith((GZIP_MAGIC, ZSTD_MAGIC))
    except OSError as error:
        raise cannot_read(path, error) from error
