"""The layout of one dense protobuf `Record`, found once so that records like it can be viewed.

A dense record has the same bytes around its values every time: frame header, tags, lengths,
padding. `learn_layout` walks one record's wire format and marks which bytes are numbers (the
values, and those of labels, which k-means ignores); all others are constant, and any record whose
constant bytes are equal has the same structure, so its values can be taken as they lie.

Source: the protobuf encoding guide, "Message Structure"; `record.proto` beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.formats.arrays import Bytes, Rows
from onepass.formats.compiled import DenseLayout, is_compiled

_BLOCK_BYTES = 2**20
_BLOCK_ROWS = 2**13
_FAST_BYTES = 16
_LENGTH_DELIMITED = 2
_FIXED_BYTES = {1: 8, 5: 4}
_TENSORS: dict[int, np.dtype[np.floating]] = {
    2: np.dtype("<f4"),
    3: np.dtype("<f8"),
}  # Value.float32_tensor, Value.float64_tensor


class _Field(NamedTuple):
    number: int
    wire_type: int
    start: int
    end: int


class _Span(NamedTuple):
    dtype: np.dtype[np.floating]
    start: int
    end: int


class _Constant(NamedTuple):
    """Bytes that are the same in every record: where they start, and many copies of them."""

    start: int
    piece: np.dtype[np.void]
    copies: bytes


class Words(NamedTuple):
    """A record in words of four bytes.

    Attributes
    ----------
    pattern, mask : ndarray of shape (n_words,), uint32
        What the words are, and which bits of them are the same in every record.
    """

    pattern: npt.NDArray[np.uint32]
    mask: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Layout:
    """Where the values of a framed dense record lie, and which bytes must not differ.

    Attributes
    ----------
    stride : int
        Bytes from one record to the next, header and padding included; a multiple of 4.
    values_start : int
        Offset of the values from the start of the frame.
    dtype : dtype
        Little-endian float32 or float64.
    n_features : int
    block_rows : int
        How many records are compared at a time.
    row : dtype
        The values of a record as one item, which NumPy copies in one move.
    constants : tuple
        The bytes around the numbers, each repeated `block_rows` times.
    compiled : DenseLayout or None
        What does the same in C, for float32 and where there is a compiler.
    label : tuple or None
        Where the numbers of the label ``values`` lie, and their type.
    """

    stride: int
    values_start: int
    dtype: np.dtype[np.floating]
    n_features: int
    block_rows: int
    row: np.dtype[np.void]
    constants: tuple[_Constant, ...]
    compiled: DenseLayout | None
    label: _Span | None = None

    @property
    def n_labels(self) -> int:
        """How many numbers the label has."""
        return (self.label.end - self.label.start) // self.label.dtype.itemsize if self.label else 0

    @property
    def is_float32(self) -> bool:
        """Whether the values are what rows are made of."""
        return self.dtype.itemsize == np.float32().itemsize

    def words(self) -> Words:
        """Return what a record is made of, word by word, where it must not differ."""
        pattern, mask = np.zeros((2, self.stride), np.uint8)
        for start, piece, copies in self.constants:
            constant = slice(start, start + piece.itemsize)
            pattern[constant] = np.frombuffer(copies, np.uint8, piece.itemsize)
            mask[constant] = 255
        return Words(pattern.view(np.uint32), mask.view(np.uint32))

    def count_matching(self, data: Bytes, n: int) -> int:
        """Count how many of the first `n` records have this layout, up to the first that has not.

        Parameters
        ----------
        data : ndarray of uint8, contiguous
            At least `n` times `stride` bytes.
        n : int
            From 1 to `block_rows`.
        """
        for start, piece, copies in self.constants:
            found = np.ndarray(n, piece, data, start, self.stride).tobytes()
            if not copies.startswith(found):
                n = _first_difference(found, copies) // piece.itemsize
                if not n:
                    break
        return n

    def copy_values(self, data: Bytes, out: Rows) -> None:
        """Copy the values of the records at the head of `data` to `out`, as float32.

        Parameters
        ----------
        data : ndarray of uint8, contiguous
            Starts with ``len(out)`` records of this layout.
        out : ndarray of shape (n, n_features), float32, C-contiguous
        """
        values = np.ndarray(len(out), self.row, data, self.values_start, self.stride)
        if self.is_float32:
            np.ndarray(len(out), self.row, out)[...] = values
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                out[:] = np.frombuffer(values.tobytes(), self.dtype).reshape(out.shape)

    def copy_labels(self, data: Bytes, out: Rows) -> None:
        """Copy the labels of the records at the head of `data` to `out`, as float32.

        Parameters
        ----------
        data : ndarray of uint8, contiguous
            Starts with ``len(out)`` records of this layout.
        out : ndarray of shape (n, n_labels), float32
        """
        if self.label:
            piece = _void(self.label.end - self.label.start)
            found = np.ndarray(len(out), piece, data, self.label.start, self.stride).tobytes()
            with np.errstate(over="ignore", invalid="ignore"):
                out[:] = np.frombuffer(found, self.label.dtype).reshape(out.shape)


def _first_difference(found: bytes, expected: bytes) -> int:
    ours, theirs = np.frombuffer(found, np.uint8), np.frombuffer(expected, np.uint8, len(found))
    return int(np.argmax(ours != theirs))


def learn_layout(framed: bytes, payload_start: int, payload_end: int) -> Layout | None:
    """Find the layout of one framed record.

    Parameters
    ----------
    framed : bytes
        A whole frame, padding included, whose payload is a `Record` that protobuf accepts.
    payload_start, payload_end : int
        Where the payload lies in it.

    Returns
    -------
    Layout or None
        None for records without a fixed layout: sparse, integer, unpacked, several features.
    """
    if len(framed) % 4:
        return None
    values: list[_Span] = []
    free: list[_Span] = []
    label: _Span | None = None
    try:
        for field in _fields(framed, payload_start, payload_end):
            if field.number in (1, 2) and field.wire_type == _LENGTH_DELIMITED:
                name, span = _map_entry(framed, field)
                (values if field.number == 1 and name == b"values" else free).append(span)
                if field.number == 2 and name == b"values":
                    label = span  # the last of its name counts, as protobuf has it
    except (ValueError, IndexError):
        return None
    if len(values) != 1:
        return None
    numbers = sorted([*values, *free], key=lambda span: span.start)
    return _layout(framed, values[0], numbers, label)


def _layout(framed: bytes, values: _Span, free: list[_Span], label: _Span | None) -> Layout:
    block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // len(framed)))
    ends = [0, *(span.end for span in free)]
    starts = [*(span.start for span in free), len(framed)]
    gaps = [gap for gap in zip(ends, starts, strict=True) if gap[0] < gap[1]]
    n_features = (values.end - values.start) // values.dtype.itemsize
    compiled = None
    if is_compiled() and values.dtype.itemsize == np.float32().itemsize:
        compiled = DenseLayout(framed, gaps, values.start, n_features)
    return Layout(
        stride=len(framed),
        values_start=values.start,
        dtype=values.dtype,
        n_features=n_features,
        block_rows=block_rows,
        row=_void(values.end - values.start),
        constants=tuple(
            _Constant(begin, _void(end - begin), framed[begin:end] * block_rows)
            for gap in gaps
            for begin, end in _pieces(*gap)
        ),
        compiled=compiled,
        label=label,
    )


def _pieces(begin: int, end: int) -> list[tuple[int, int]]:
    """Cut a few dozen bytes into pieces of 16, which NumPy moves fastest; the last may overlap."""
    if _FAST_BYTES < end - begin <= 4 * _FAST_BYTES:
        starts = [*range(begin, end - _FAST_BYTES, _FAST_BYTES), end - _FAST_BYTES]
        return [(start, start + _FAST_BYTES) for start in starts]
    return [(begin, end)]


def _void(n_bytes: int) -> np.dtype[np.void]:
    return np.dtype((np.void, n_bytes))


def _map_entry(data: bytes, entry: _Field) -> tuple[bytes, _Span]:
    """Read ``{key: Value{one tensor of packed floats}}``; anything else is a ValueError."""
    key, value = _exactly(data, entry, (1, 2))
    (tensor,) = _fields(data, value.start, value.end)
    (numbers,) = _fields(data, tensor.start, tensor.end)
    dtype = _TENSORS.get(tensor.number)
    length = numbers.end - numbers.start
    if (
        dtype is None
        or tensor.wire_type != _LENGTH_DELIMITED
        or (numbers.number, numbers.wire_type) != (1, _LENGTH_DELIMITED)
        or length % dtype.itemsize
    ):
        raise ValueError("not one tensor of packed floats")
    return data[key.start : key.end], _Span(dtype, numbers.start, numbers.end)


def _exactly(data: bytes, parent: _Field, numbers: tuple[int, ...]) -> list[_Field]:
    found = list(_fields(data, parent.start, parent.end))
    if tuple(field.number for field in found) != numbers:
        raise ValueError("other fields than expected")
    return found


def _fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    while start < end:
        tag, start = _varint(data, start)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _LENGTH_DELIMITED:
            length, start = _varint(data, start)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise ValueError("a varint or a group has no fixed length")
        if start + length > end:
            raise ValueError("a field ends behind its message")
        yield _Field(number, wire_type, start, start + length)
        start += length


def _varint(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
        if shift > 63:
            raise ValueError("a varint longer than ten bytes")
