"""RecordIO-protobuf: a whole body of framed `Record` messages to rows."""

from __future__ import annotations

import numpy as np

from onepass.errors import DecodeError, TooLargeError
from onepass.formats.arrays import MAX_MATRIX_VALUES, Rows
from onepass.formats.record_decoder import CUT_SHORT, RecordDecoder
from onepass.formats.record_row import row_width
from onepass.formats.recordio import HEADER_BYTES, MAX_FRAME_BYTES, next_record


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
