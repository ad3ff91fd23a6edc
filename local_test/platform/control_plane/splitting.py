"""Objects cut into records for batch transform, and put into requests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from control_plane.errors import invalid

_RECORDIO = struct.Struct("<II")
_RECORDIO_MAGIC, _LENGTH_BITS = 0xCED7230A, 29
_TFRECORD = struct.Struct("<Q")


def records_of(content: bytes, split_type: str) -> Iterator[bytes]:
    """Yield the records of an object, as they lie there.

    Parameters
    ----------
    content : bytes
    split_type : str
        ``None``, ``Line``, ``RecordIO`` or ``TFRecord``.
    """
    if split_type == "Line":
        yield from content.splitlines(keepends=True)
    elif split_type in ("RecordIO", "TFRecord"):
        length_of = _recordio if split_type == "RecordIO" else _tfrecord
        start = 0
        while start < len(content):
            end = start + length_of(content, start)
            yield content[start:end]
            start = end
    else:
        yield content


def _recordio(content: bytes, start: int) -> int:
    magic, flags_and_length = _RECORDIO.unpack_from(content, start)
    if magic != _RECORDIO_MAGIC:
        raise invalid(f"no RecordIO record starts at byte {start}")
    length = flags_and_length & (1 << _LENGTH_BITS) - 1
    return int(_RECORDIO.size + (length + 3) // 4 * 4)


def _tfrecord(content: bytes, start: int) -> int:
    (length,) = _TFRECORD.unpack_from(content, start)
    return int(_TFRECORD.size + 4 + length + 4)


def payloads_of(records: Iterable[bytes], strategy: str, n_most: int) -> Iterator[bytes]:
    """Yield what is sent: single records, or as many as a payload holds.

    Raises
    ------
    ApiError
        When a record alone is too large.
    """
    payload = b""
    for record in records:
        if len(record) > n_most:
            raise invalid(f"a record of {len(record)} bytes is larger than MaxPayloadInMB")
        if payload and (strategy == "SingleRecord" or len(payload) + len(record) > n_most):
            yield payload
            payload = b""
        payload += record
    if payload:
        yield payload


def assembled(answers: Iterable[bytes], assemble_with: str) -> bytes:
    """Return answers as one object."""
    if assemble_with == "Line":
        return b"".join(one if one.endswith(b"\n") else one + b"\n" for one in answers)
    return b"".join(answers)
