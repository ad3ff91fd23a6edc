"""Who reads what: files of records cut into shards of about equal size.

Records are found again in the middle of a file by the magic number they begin with, and by the
records that follow at just the distance their lengths say.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from onepass.data.sources import Span, is_compressed, n_bytes_of, whole_files
from onepass.errors import PlatformError
from onepass.formats.recordio import HEADER_BYTES, MAGIC, MAGIC_BYTES, MAX_FRAME_BYTES, FrameKind

_LOOKED_AT_BYTES = 2**20
_CHAIN = 16
_HEADER = struct.Struct("<II")


def cut(files: Sequence[Path], n_shards: int) -> list[list[Span]]:
    """Cut files into shards: every record is in just one of them, in the order of the files.

    Parameters
    ----------
    files : sequence of Path
        RecordIO files.
    n_shards : int

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
        found = (_boundary(path, at, size) for at in wanted)
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


def _boundary(path: Path, at: int, size: int) -> int:
    """Find where the first record at or behind a byte starts; the file's end where there is none.

    Records are padded to four bytes, so all start at a multiple of four.
    """
    if at <= 0 or at >= size:
        return min(max(at, 0), size)
    if is_compressed(path):
        return size
    start = at + -at % 4
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            window = file.read(_LOOKED_AT_BYTES)
    except OSError as error:
        raise PlatformError(f"cannot read {path}: {error.strerror}") from error
    at_end = start + len(window) >= size
    found = window.find(MAGIC_BYTES)
    while found >= 0:
        if found % 4 == 0 and _is_chain(window, found, at_end=at_end):
            return start + found
        found = window.find(MAGIC_BYTES, found + 1)
    return size


def _is_chain(window: bytes, first: int, *, at_end: bool) -> bool:
    """Whether records follow one another from here, as far as can be seen.

    Data may hold the magic number by chance, hardly one with a length that leads to the next.
    """
    place, n_seen = first, 0
    while n_seen < _CHAIN and place + HEADER_BYTES <= len(window):
        magic, word = _HEADER.unpack_from(window, place)
        kind, length = word >> 29, word & MAX_FRAME_BYTES
        starts = kind in (FrameKind.WHOLE, FrameKind.FIRST)
        if kind == FrameKind.WHOLE and not length:
            return False  # no record is empty: two values that look like a header are
        if magic != MAGIC or kind > FrameKind.LAST:
            return False
        if not n_seen and not starts:
            return False
        place += HEADER_BYTES + length + -length % 4
        n_seen += 1
    return n_seen > 1 or (at_end and place >= len(window))
