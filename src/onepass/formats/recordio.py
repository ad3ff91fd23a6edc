"""RecordIO framing: how records lie behind one another in a file.

Each frame is a magic number, a word with the kind of the frame (upper 3 bits) and the length of its
payload (lower 29 bits), the payload, and zeros up to a multiple of four bytes. A record is one
frame of kind `WHOLE`, or a `FIRST`, any number of `MIDDLE` and a `LAST`: writers split a payload
where the magic number itself stands in it (at a multiple of four bytes) and drop those four bytes;
the reader puts them back. Some writers, the SageMaker SDK's among them, never split; both are read.

Source: dmlc-core, ``include/dmlc/recordio.h`` and ``src/recordio.cc``.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from onepass.errors import DecodeError, TooLargeError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER_BYTES = 8
MAX_FRAME_BYTES = 2**29 - 1
"""The longest payload one frame can hold."""

_HEADER = struct.Struct("<II")


class FrameKind(IntEnum):
    """What part of a record a frame holds."""

    WHOLE = 0
    FIRST = 1
    MIDDLE = 2
    LAST = 3


class RawRecord(NamedTuple):
    """One record cut out of a buffer.

    Attributes
    ----------
    payload : memoryview or bytes
        The record's bytes: a view into the buffer, or a joined copy where the record was split.
    end : int
        Where the next record starts, relative to the buffer.
    """

    payload: memoryview | bytes
    end: int


def frame(payload: bytes, *, split: bool = False) -> bytes:
    """Wrap one record for a RecordIO file.

    Parameters
    ----------
    payload : bytes
        Fewer than 2**29 bytes.
    split : bool
        Split the payload where the magic number stands in it, as dmlc's own writer does, so that a
        reader may find record boundaries from any position. The SageMaker SDK's reader knows no
        split records, so this is off unless asked for.

    Returns
    -------
    bytes

    Examples
    --------
    >>> frame(b"abcde").hex(" ", 4)
    '0a23d7ce 05000000 61626364 65000000'
    """
    if len(payload) > MAX_FRAME_BYTES:
        raise TooLargeError(
            f"a record of {len(payload)} bytes does not fit a frame of {MAX_FRAME_BYTES} bytes"
        )
    if not split or MAGIC_BYTES not in payload:
        return _one_frame(FrameKind.WHOLE, payload)
    parts = _split_at_magic(payload)
    kinds = [FrameKind.FIRST, *[FrameKind.MIDDLE] * (len(parts) - 2), FrameKind.LAST]
    if len(parts) == 1:
        kinds = [FrameKind.WHOLE]
    return b"".join(_one_frame(kind, part) for kind, part in zip(kinds, parts, strict=True))


def next_record(data: memoryview, start: int, *, limit_bytes: int) -> RawRecord | None:
    """Cut the record that starts at `start` out of `data`.

    Parameters
    ----------
    data : memoryview
        Bytes (format ``B``).
    start : int
        Where a record starts.
    limit_bytes : int
        The longest record accepted.

    Returns
    -------
    RawRecord or None
        None when `data` ends before the record does.

    Raises
    ------
    DecodeError
        For a wrong magic number, a frame out of its place, or a record over the limit
        (`TooLargeError`). The error carries no position: the caller knows it.
    """
    part = _next_frame(data, start, limit_bytes)
    if part is None:
        return None
    if part.kind == FrameKind.WHOLE:
        return RawRecord(part.payload, part.end)
    if part.kind != FrameKind.FIRST:
        raise DecodeError(
            f"a frame of kind {part.kind} ({FrameKind(part.kind).name}) where a record must start; "
            "write the data anew"
        )
    return _join_parts(data, part, limit_bytes)


class _Frame(NamedTuple):
    kind: int
    payload: memoryview
    end: int


def _next_frame(data: memoryview, start: int, limit_bytes: int) -> _Frame | None:
    there = data[start : start + HEADER_BYTES]
    if len(there) >= len(MAGIC_BYTES) and there[: len(MAGIC_BYTES)] != MAGIC_BYTES:
        raise DecodeError(
            f"no RecordIO record starts here: found bytes {there[: len(MAGIC_BYTES)].hex()}, "
            f"a record starts with {MAGIC_BYTES.hex()}; check the content type, or write the data "
            "anew"
        )
    if len(there) < HEADER_BYTES:
        return None
    word = int.from_bytes(there[len(MAGIC_BYTES) :], "little")
    kind, length = word >> 29, word & MAX_FRAME_BYTES
    if kind > FrameKind.LAST:
        raise DecodeError(
            f"frame kind {kind} does not exist; kinds are 0 to 3: write the data anew"
        )
    if length > limit_bytes:
        raise TooLargeError(
            f"the record says it is {length} bytes long; at most {limit_bytes} are "
            "accepted: write the data anew"
        )
    begin = start + HEADER_BYTES
    if len(data) < begin + length:
        return None
    # Padding that is missing at the very end of a file takes nothing from the record.
    end = min(begin + length + (-length % 4), len(data))
    return _Frame(kind, data[begin : begin + length], end)


def _join_parts(data: memoryview, first: _Frame, limit_bytes: int) -> RawRecord | None:
    parts, total, end = [first.payload], len(first.payload), first.end
    while True:
        part = _next_frame(data, end, limit_bytes)
        if part is None:
            return None
        if part.kind not in (FrameKind.MIDDLE, FrameKind.LAST):
            raise DecodeError(
                f"a frame of kind {part.kind} inside a split record, where a MIDDLE or LAST must "
                "follow: write the data anew"
            )
        total += len(MAGIC_BYTES) + len(part.payload)
        if total > limit_bytes:
            raise TooLargeError(
                f"a split record is longer than the {limit_bytes} bytes accepted: write the data "
                "anew"
            )
        parts.append(part.payload)
        end = part.end
        if part.kind == FrameKind.LAST:
            return RawRecord(MAGIC_BYTES.join(parts), end)


def _one_frame(kind: FrameKind, payload: bytes) -> bytes:
    header = _HEADER.pack(MAGIC, (kind << 29) | len(payload))
    return header + payload + b"\0" * (-len(payload) % 4)


def _split_at_magic(payload: bytes) -> list[bytes]:
    parts, begin, look = [], 0, 0
    while (found := payload.find(MAGIC_BYTES, look)) >= 0:
        if found % 4:
            look = found + 1
            continue
        parts.append(payload[begin:found])
        begin = look = found + len(MAGIC_BYTES)
    return [*parts, payload[begin:]]
