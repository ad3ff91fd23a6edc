"""Who reads what: files cut into shards of about equal size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

from onepass.data.boundaries import find_record
from onepass.data.sources import Span, is_compressed, n_bytes_of, whole_files

Boundary: TypeAlias = Callable[[Path, int, int], int]


def cut(files: Sequence[Path], n_shards: int, boundary: Boundary = find_record) -> list[list[Span]]:
    """Cut files into shards: every row is in just one of them, in the order of the files.

    Parameters
    ----------
    files : sequence of Path
    n_shards : int
    boundary : callable
        ``(path, at, size) -> int``: where the first row at or behind a byte starts.

    Returns
    -------
    list of list of Span
        One list for each shard, of about the same number of bytes; some may be empty. A file that
        is compressed, or in which no record is found again, is not cut.

    Raises
    ------
    PlatformError
        When a file cannot be read.
    """
    shards: list[list[Span]] = [[] for _ in range(n_shards)]
    total = sum(path.stat().st_size for path in files)
    before = 0
    for path in files:
        size = path.stat().st_size
        wanted = [total * i // n_shards - before for i in range(1, n_shards)]
        found = (_boundary(path, at, size, boundary) for at in wanted)
        cuts = [*accumulate(found, max, initial=0), size]  # one not found sends all behind it along
        for shard, start, stop in zip(shards, cuts, cuts[1:], strict=False):
            if start < stop:
                shard.append(Span(path, start, stop))
        before += size
    return shards


def share(files: Sequence[Path], n_shards: int) -> list[list[Span]]:
    """Share files out whole, in their order, so that each shard has about as many bytes.

    Parameters and result are those of `cut`.
    """
    shards: list[list[Span]] = [[] for _ in range(n_shards)]
    spans = whole_files(files)
    total, before = max(1, n_bytes_of(spans)), 0
    for span in spans:
        middle = before + span.stop // 2
        shards[min(middle * n_shards // total, n_shards - 1)].append(span)
        before += span.stop
    return shards


def _boundary(path: Path, at: int, size: int, boundary: Boundary) -> int:
    if at <= 0 or at >= size:
        return min(max(at, 0), size)
    return size if is_compressed(path) else boundary(path, at, size)
