"""RecordIO-protobuf: a whole body of framed `Record` messages to rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from onepass.errors import DecodeError, TooLargeError
from onepass.formats.arrays import BLOCK_VALUES, MAX_MATRIX_VALUES, Rows
from onepass.formats.record_decoder import CUT_SHORT, RecordDecoder
from onepass.formats.record_row import row_width
from onepass.formats.recordio import (
    HEADER_BYTES,
    MAGIC_BYTES,
    MAX_FRAME_BYTES,
    frame,
    next_record,
)

_FIELDS = (b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a")
"""How a record without a frame begins: with any of its fields, in any order."""


def read_rows(data: bytes, n_features: int | None = None) -> Rows:
    """Decode a whole RecordIO-protobuf body.

    Parameters
    ----------
    data : bytes
    n_features : int, optional
        The width every record must have; by default that of the first record.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row.

    Raises
    ------
    DecodeError
        With the record number and its byte offset.
    TooLargeError
        When sparse records would unfold to more than `MAX_MATRIX_VALUES` numbers.

    Examples
    --------
    >>> from onepass.formats.record_writer import write_rows
    >>> read_rows(write_rows([[0.0, 2.0, 0.0, 5.0]], sparse=True))
    array([[0., 2., 0., 5.]], dtype=float32)
    """
    if not data:
        raise DecodeError("the data is empty; at least one record is needed")
    array = np.frombuffer(data, np.uint8)
    width = n_features or _width_of_first(data)
    decoder = RecordDecoder(width)
    blocks: list[Rows] = []
    while decoder.n_bytes < len(array):
        if (decoder.n_records + 1) * width > MAX_MATRIX_VALUES:
            raise TooLargeError(
                f"the records unfold to more than {MAX_MATRIX_VALUES} numbers; send fewer at once"
            )
        rest = array[decoder.n_bytes :]
        out = np.empty((_block_rows(width, len(rest)), width), np.float32)
        done = decoder.decode(rest, out)
        if not done.n_rows:
            decoder.finish(rest)
        blocks.append(out[: done.n_rows])
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(pieces: Iterable[bytes], n_features: int) -> Iterator[Rows]:
    """Decode a RecordIO-protobuf body, block by block.

    Parameters
    ----------
    pieces : iterable of bytes
        The body, cut anywhere. A single record without a frame must come in one piece.
    n_features : int

    Yields
    ------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row; sparse records are unfolded.

    Raises
    ------
    DecodeError
        As `read_rows`.
    """
    decoder = RecordDecoder(n_features)
    n_at_once = max(1, BLOCK_VALUES // n_features)
    rest = np.empty(0, np.uint8)
    for piece in pieces:
        if not (decoder.n_bytes or len(rest)) and _is_bare(piece, decoder.limit_bytes):
            yield read_rows(frame(piece), n_features)
            return
        new = np.frombuffer(piece, np.uint8)
        rest = np.concatenate([rest, new]) if len(rest) else new
        n_there = 0
        while len(rest):
            # Sparse records are shorter than what room is made for at first.
            n_there = min(n_at_once, max(_block_rows(n_features, len(rest)), 2 * n_there))
            out = np.empty((n_there, n_features), np.float32)
            done = decoder.decode(rest, out)
            if not done.n_rows:
                break
            rest = rest[done.n_bytes :]
            yield out[: done.n_rows]
    if not decoder.n_records and not len(rest):
        raise DecodeError("the data is empty; at least one record is needed")
    decoder.finish(rest)


def _is_bare(body: bytes, limit_bytes: int) -> bool:
    """Whether a body is one record without a frame, as the platform sends it record by record."""
    looks_so = not body.startswith(MAGIC_BYTES) and body[:1] in _FIELDS
    return looks_so and len(body) <= limit_bytes and _parses(body)


def _parses(payload: bytes) -> bool:
    try:
        return row_width(payload) > 0
    except DecodeError:
        return False


def _block_rows(n_features: int, n_bytes: int) -> int:
    """Rows to make room for: all dense ones, or 64 MiB of sparse ones at a time."""
    return max(1, min(n_bytes // (HEADER_BYTES + 4 * n_features) + 1, 2**24 // n_features + 1))


def _width_of_first(data: bytes) -> int:
    try:
        raw = next_record(memoryview(data), 0, limit_bytes=MAX_FRAME_BYTES)
        if raw is None:
            raise DecodeError(CUT_SHORT.format(len(data)))
        width = row_width(bytes(raw.payload))
        if width > MAX_MATRIX_VALUES:
            raise TooLargeError(f"{width} features a row; at most {MAX_MATRIX_VALUES} are accepted")
    except DecodeError as error:
        raise type(error)(error.reason, where="record 0 at byte 0") from error
    return width
