"""Many rows to RecordIO-protobuf at once, labels and sparse rows included.

The bytes are those that protobuf, and so `onepass.formats.record_writer` and the SageMaker SDK,
write row by row. Dense records are copies of one, into which values are filled. Sparse ones differ
in length, so each part of them (lengths, values, keys) is made for all rows, and the parts are then
laid out one behind the other.

Source: the protobuf encoding guide, "Message Structure"; `record.proto` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.errors import TooLargeError
from onepass.formats.arrays import Array, Bytes, Rows
from onepass.formats.recordio import HEADER_BYTES, MAGIC, MAX_FRAME_BYTES
from onepass.sparse import SparseRows

_NAME = b"\x0a\x06values"
_FEATURES, _LABEL, _VALUE, _FLOAT32 = b"\x0a", b"\x12", b"\x12", b"\x12"
_NUMBERS, _KEYS, _SHAPE = b"\x0a", b"\x12", b"\x1a"

Lengths = npt.NDArray[np.int64]


class _Part(NamedTuple):
    """A part of every record: its bytes, row behind row, and how many each row has."""

    data: Bytes
    lengths: Lengths


def dense_records(rows: Rows, labels: Rows) -> Bytes:
    """Encode a matrix.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
        At least one row.
    labels : ndarray of shape (n_samples, n_labels), float32
        No column where there are no labels.

    Returns
    -------
    ndarray of shape (n_samples, bytes of a record), uint8

    Examples
    --------
    >>> dense_records(np.float32([[1.5, 16]]), np.empty((1, 0), np.float32)).tobytes().hex(" ", 4)
    '0a23d7ce 18000000 0a160a06 76616c75 6573120c 120a0a08 0000c03f 00008041'
    """
    head, n_bytes = _dense_entry(_FEATURES, rows.shape[1]), 4 * rows.shape[1]
    tail = _dense_entry(_LABEL, labels.shape[1]) if labels.shape[1] else b""
    length = len(head) + n_bytes + len(tail) + 4 * labels.shape[1]
    _check_length(length)
    template = _header(length) + head + bytes(n_bytes) + tail + bytes(4 * labels.shape[1])
    template += bytes(-length % 4)
    frames = np.tile(np.frombuffer(template, np.uint8), (len(rows), 1))
    start = HEADER_BYTES + len(head)
    frames[:, start : start + n_bytes] = _bytes_of(rows)
    start += n_bytes + len(tail)
    frames[:, start : start + 4 * labels.shape[1]] = _bytes_of(labels)
    return frames


def sparse_records(rows: SparseRows, labels: Rows) -> Bytes:
    """Encode sparse rows.

    Parameters
    ----------
    rows : SparseRows
        At least one row.
    labels : ndarray of shape (n_samples, n_labels), float32
        No column where there are no labels.

    Returns
    -------
    ndarray of uint8
        Takes some ten bytes of memory for each of them while it is made.

    Examples
    --------
    >>> rows = SparseRows.of_dense(np.float32([[0, 2, 0, 5]]))
    >>> sparse_records(rows, np.empty((1, 0), np.float32)).tobytes().hex(" ", 4)
    '0a23d7ce 1f000000 0a1d0a06 76616c75 65731213 12110a08 00000040 0000a040 12020103 1a010400'
    """
    n = len(rows)
    keys, n_each = _varints(rows.columns.astype(np.int64))
    sizes_before = np.concatenate(([0], np.cumsum(n_each)))
    key_bytes = _Part(keys, np.diff(sizes_before[rows.starts]))
    values = _Part(_bytes_of(rows.values[:, None]).reshape(-1), 4 * rows.counts)
    shape = _constant(n, _SHAPE + _delimited(_varint(rows.n_features)))
    keys_head = _only_where(rows.counts > 0, _KEYS, key_bytes.lengths)
    values_head = _only_where(rows.counts > 0, _NUMBERS, values.lengths)
    tail = _label_part(labels)
    heads, lengths = _heads(
        values_head, _total(values_head, values, keys_head, key_bytes, shape), tail
    )
    padding = -lengths % 4
    return _interleave(
        [heads, values, keys_head, key_bytes, shape, tail,
         _Part(np.zeros(int(padding.sum()), np.uint8), padding)]
    ).data  # fmt: skip


def _heads(values_head: _Part, tensor_bytes: Lengths, tail: _Part) -> tuple[_Part, Lengths]:
    """Return all that stands before the values, from the frame on, and the records' lengths."""
    n = len(tensor_bytes)
    tensor_length = _varint_part(tensor_bytes)
    value_bytes = 1 + tensor_length.lengths + tensor_bytes
    value_length = _varint_part(value_bytes)
    entry_bytes = len(_NAME) + 1 + value_length.lengths + value_bytes
    entry_length = _varint_part(entry_bytes)
    record_bytes = 1 + entry_length.lengths + entry_bytes + tail.lengths
    _check_length(int(record_bytes.max()))
    words = np.empty((n, 2), "<u4")
    words[:, 0], words[:, 1] = MAGIC, record_bytes
    head = _interleave(
        [
            _Part(words.view(np.uint8).reshape(-1), np.full(n, HEADER_BYTES)),
            _constant(n, _FEATURES),
            entry_length,
            _constant(n, _NAME + _VALUE),
            value_length,
            _constant(n, _FLOAT32),
            tensor_length,
            values_head,
        ]
    )
    return head, record_bytes


def _only_where(there: npt.NDArray[np.bool_], tag: bytes, lengths: Lengths) -> _Part:
    """Return a tag and a length for the rows that have something, nothing for the others."""
    n = len(lengths)
    length = _varint_part(lengths)
    both = _interleave([_constant(n, tag), length])
    keep = np.repeat(there, both.lengths)
    return _Part(both.data[keep], np.where(there, both.lengths, 0))


def _label_part(labels: Rows) -> _Part:
    n, n_labels = labels.shape
    if not n_labels:
        return _constant(n, b"")
    head = _dense_entry(_LABEL, n_labels)
    part = np.tile(np.frombuffer(head + bytes(4 * n_labels), np.uint8), (n, 1))
    part[:, len(head) :] = _bytes_of(labels)
    return _Part(part.reshape(-1), np.full(n, part.shape[1]))


def _interleave(parts: Sequence[_Part]) -> _Part:
    """Lay parts out row by row: the first part of row 0, the second of row 0, ..."""
    lengths = np.stack([part.lengths for part in parts], axis=1)
    kinds = np.repeat(
        np.tile(np.arange(len(parts), dtype=np.uint8), len(lengths)), lengths.reshape(-1)
    )
    out = np.empty(len(kinds), np.uint8)
    for kind, part in enumerate(parts):
        if len(part.data):
            out[kinds == kind] = part.data
    return _Part(out, lengths.sum(axis=1))


def _total(*parts: _Part) -> Lengths:
    total: Lengths = np.sum([part.lengths for part in parts], axis=0, dtype=np.int64)
    return total


def _constant(n: int, data: bytes) -> _Part:
    return _Part(np.tile(np.frombuffer(data, np.uint8), n), np.full(n, len(data)))


def _varint_part(numbers: Lengths) -> _Part:
    return _Part(*_varints(numbers))


def _varints(numbers: Lengths) -> tuple[Bytes, Lengths]:
    """Encode whole numbers, not negative, as protobuf does; also how many bytes each takes."""
    sizes = np.ones(len(numbers), np.int64)
    longest = _varint(int(numbers.max())) if len(numbers) else b""
    for i in range(1, len(longest)):
        sizes += numbers >= 1 << (7 * i)
    if len(longest) <= 1:
        return numbers.astype(np.uint8), sizes
    columns = np.arange(len(longest))
    table = (numbers[:, None] >> (7 * columns) & 0x7F).astype(np.uint8)
    table |= (columns < sizes[:, None] - 1).astype(np.uint8) << 7
    return table[columns < sizes[:, None]], sizes


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _delimited(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _dense_entry(tag: bytes, n_values: int) -> bytes:
    """Return the bytes of a map entry up to its values, which end it."""
    n_bytes = 4 * n_values
    head = _NUMBERS + _varint(n_bytes)
    head = _FLOAT32 + _varint(len(head) + n_bytes) + head
    head = _NAME + _VALUE + _varint(len(head) + n_bytes) + head
    return tag + _varint(len(head) + n_bytes) + head


def _header(length: int) -> bytes:
    return MAGIC.to_bytes(4, "little") + length.to_bytes(4, "little")


def _check_length(length: int) -> None:
    if length > MAX_FRAME_BYTES:
        raise TooLargeError(
            f"a record of {length} bytes does not fit a frame of {MAX_FRAME_BYTES} bytes"
        )


def _bytes_of(matrix: Array) -> Bytes:
    """View each row's numbers as little-endian bytes."""
    return np.ascontiguousarray(matrix, "<f4").view(np.uint8)
