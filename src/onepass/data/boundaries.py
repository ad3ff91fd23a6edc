"""Where rows begin in the middle of a file.

Records are found again by the magic number they begin with, and by the records that follow at just
the distance their lengths say; lines by what ends the one before. Either depends on the file alone,
not on where the search began: all who look for the first row behind some byte find the same.
"""

from __future__ import annotations

import struct

from onepass.data.failures import cannot_read
from onepass.data.sources import FilePath, ReadAt, opened_anywhere
from onepass.formats.recordio import HEADER_BYTES, MAGIC, MAGIC_BYTES, MAX_FRAME_BYTES, FrameKind

_LOOKED_AT_BYTES = 2**20
_CHAIN = 16
_HEADER = struct.Struct("<II")


def find_record(path: FilePath, at: int, size: int) -> int:
    """Find where the first record at or behind a byte starts; the file's end where there is none.

    Records are padded to four bytes, so all start at a multiple of four.
    """
    start = at + -at % 4
    try:
        with opened_anywhere(path) as read:
            while window := read(_LOOKED_AT_BYTES, start):
                found = window.find(MAGIC_BYTES)
                while found >= 0:
                    if found % 4 == 0 and _is_chain(read, start + found, size):
                        return start + found
                    found = window.find(MAGIC_BYTES, found + 1)
                start += len(window) - len(window) % 4 or len(window)
    except OSError as error:
        raise cannot_read(path, error, start) from error
    return size


def _is_chain(read: ReadAt, first: int, size: int) -> bool:
    """Whether records follow one another from here: sixteen, or as many as there are.

    Data may hold the magic number by chance, hardly one with a length that leads to the next.
    """
    place, n_seen = first, 0
    while n_seen < _CHAIN and place + HEADER_BYTES <= size:
        header = read(HEADER_BYTES, place)
        if len(header) < HEADER_BYTES:
            return False  # the file has become shorter: whoever reads it will say so
        magic, word = _HEADER.unpack(header)
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
    return n_seen > 1 or (n_seen == 1 and place >= size)


def find_line(path: FilePath, at: int, size: int) -> int:
    """Find where the first line at or behind a byte starts; the file's end where there is none."""
    place = at - 1  # a line that starts at `at` is one
    try:
        with opened_anywhere(path) as read:
            while window := read(_LOOKED_AT_BYTES, place):
                end = window.find(b"\n")
                if end >= 0:
                    return place + end + 1
                place += len(window)
    except OSError as error:
        raise cannot_read(path, error, place) from error
    return size


def uncut(path: FilePath, at: int, size: int) -> int:
    """Return the nearer end of the file: what can only be read as a whole is not cut."""
    del path
    return 0 if at <= size // 2 else size
