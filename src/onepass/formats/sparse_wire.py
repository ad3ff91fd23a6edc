"""Runs of sparse protobuf records, taken apart all at once.

Sparse records differ in length, so no layout fits all of them, but the fields of those that
`onepass.formats.record_blocks` and the SageMaker SDK write come in one order. Each field is looked
at in all records of a block together: a tag that is not the expected one, or a length that does not
add up, ends the run before that record, which protobuf may make sense of.

Source: the protobuf encoding guide, "Message Structure"; `record.proto` beside this file.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.formats.arrays import Bytes, Rows
from onepass.formats.csr import CsrRows
from onepass.formats.recordio import HEADER_BYTES, MAGIC, MAX_FRAME_BYTES

Places = npt.NDArray[np.int64]

_HEADER = struct.Struct("<II")
_NAME = b"\x0a\x06values"
_VARINT_BYTES = 5
_FLOAT_BYTES = 4
_BEHIND_BYTES = 64
_NO_KEY = 2**62


class SparseRun(NamedTuple):
    """Sparse records behind one another.

    Attributes
    ----------
    rows : CsrRows
    labels : ndarray of shape (n_samples, n_labels), float32
    n_bytes : int
        That they take, padding included.
    """

    rows: CsrRows
    labels: Rows
    n_bytes: int


def read_sparse_run(
    data: Bytes, *, n_features: int, n_labels: int, most_records: int
) -> SparseRun | None:
    """Read sparse records of float32 values from the head of `data`.

    Parameters
    ----------
    data : ndarray of uint8, contiguous
        Starts with a record.
    n_features : int
        The width every record must have.
    n_labels : int
        Numbers in the label of every record; 0 where there is none.
    most_records : int

    Returns
    -------
    SparseRun or None
        Up to the first record that is not whole or of another form, of which none is an error here:
        other types, keys that do not rise, values that are no numbers, ...; None for no record.

    Examples
    --------
    >>> from onepass.formats.record_writer import write_rows
    >>> data = np.frombuffer(write_rows([[0, 2, 0, 5], [0, 0, 0, 0]], sparse=True), np.uint8)
    >>> read_sparse_run(data, n_features=4, n_labels=0, most_records=9).rows.to_dense()
    array([[0., 2., 0., 5.],
           [0., 0., 0., 0.]], dtype=float32)
    """
    starts, ends = _frames(data, most_records)
    if not len(starts):
        return None
    walk = _Walk(data, starts, ends)
    found = walk.record(n_features, n_labels)
    found = found.head(_n_whole(data, found.head(walk.n_good)))
    rows = CsrRows.from_counts(
        found.values.lengths // _FLOAT_BYTES,
        keys=_varints(_gather(data, found.keys)),
        values=_floats(data, found.values),
        n_features=n_features,
    )
    labels = _floats(data, found.labels).reshape(rows.n_samples, n_labels)
    n = _n_sound(rows, labels)
    if not n:
        return None
    end = int(ends[n - 1])
    return SparseRun(rows.part(0, n), labels[:n], min(end + -end % 4, len(data)))


class _Ranges(NamedTuple):
    """Where something lies in each record."""

    starts: Places
    lengths: Places


class _Found(NamedTuple):
    values: _Ranges
    keys: _Ranges
    labels: _Ranges

    def head(self, n: int) -> _Found:
        return _Found(*(_Ranges(starts[:n], lengths[:n]) for starts, lengths in self))


class _Walk:
    """Goes through the fields of all records at once; `n_good` first ones are as expected."""

    def __init__(self, data: Bytes, starts: Places, ends: Places) -> None:
        # What is read behind the end of a record, or of the data, is checked afterwards.
        self._data = np.concatenate((data, np.zeros(_BEHIND_BYTES, np.uint8)))
        self._at = starts.copy()
        self._ends = ends
        self.n_good = len(starts)

    def record(self, n_features: int, n_labels: int) -> _Found:
        """Go through whole records."""
        outer = self._open(b"\x0a", self._ends, exact=not n_labels)
        self._skip(_NAME)
        value = self._open(b"\x12", outer, exact=True)
        tensor = self._open(b"\x12", value, exact=True)
        values = self._optional(b"\x0a", tensor)
        keys = self._optional(b"\x12", tensor)
        shape = self._open(b"\x1a", tensor, exact=True)
        self._keep(self._varint() == n_features)
        self._keep(self._at == shape)
        labels = _Ranges(self._at, np.zeros_like(self._at))
        if n_labels:
            labels = self._label(n_labels)
        self._keep(self._at == self._ends)
        return _Found(values, keys, labels)

    def _label(self, n_labels: int) -> _Ranges:
        outer = self._open(b"\x12", self._ends, exact=True)
        self._skip(_NAME)
        value = self._open(b"\x12", outer, exact=True)
        tensor = self._open(b"\x12", value, exact=True)
        labels = self._optional(b"\x0a", tensor)
        self._keep(labels.lengths == _FLOAT_BYTES * n_labels)
        return labels

    def _open(self, tag: bytes, within: Places, *, exact: bool) -> Places:
        """Go into a field; return where it ends, which must be the end of its parent if exact."""
        self._skip(tag)
        length = self._varint()
        end = self._at + length
        self._keep(end == within if exact else end <= within)
        return end

    def _optional(self, tag: bytes, within: Places) -> _Ranges:
        """Pass a field of bytes, where it is there."""
        there = self._data[self._at] == tag[0]
        before = self._at
        self._at = before + 1
        length = self._varint()
        start = np.where(there, self._at, before)
        length = np.where(there, length, 0)
        self._at = start + length
        self._keep(self._at <= within)
        return _Ranges(start, length)

    def _skip(self, expected: bytes) -> None:
        for i, byte in enumerate(expected):
            self._keep(self._data[self._at + i] == byte)
        self._at = self._at + len(expected)

    def _varint(self) -> Places:
        number = np.zeros(len(self._at), np.int64)
        more = np.ones(len(self._at), bool)
        for i in range(_VARINT_BYTES):
            byte = self._data[self._at].astype(np.int64)
            number += np.where(more, (byte & 0x7F) << (7 * i), 0)
            self._at = self._at + more
            more = more & (byte >= 0x80)
            if not more.any():
                return number
        self._keep(~more)
        return number

    def _keep(self, good: npt.NDArray[np.bool_]) -> None:
        """Forget the first record that is not good, and all behind it."""
        good = good[: self.n_good]
        if not good.all():
            self.n_good = int(good.argmin())
        # Those that are forgotten are gone through as well, at a harmless place.
        self._at[self.n_good :] = 0


def _frames(data: Bytes, most_records: int) -> tuple[Places, Places]:
    """Return where the records that are whole begin and end, headers and padding aside."""
    starts: list[int] = []
    ends: list[int] = []
    view = data.data
    place, n_bytes = 0, len(data)
    while place + HEADER_BYTES <= n_bytes and len(starts) < most_records:
        magic, length = _HEADER.unpack_from(view, place)
        begin = place + HEADER_BYTES
        if magic != MAGIC or length > MAX_FRAME_BYTES or begin + length > n_bytes:
            break
        starts.append(begin)
        ends.append(begin + length)
        place = begin + length + -length % 4
    return np.array(starts, np.int64), np.array(ends, np.int64)


def _n_whole(data: Bytes, found: _Found) -> int:
    """Count the first records that have whole values and keys, as many of these as of those."""
    key_bytes = _gather(data, found.keys)
    n_last = np.concatenate(([0], np.cumsum(key_bytes < 0x80)))
    stops = np.cumsum(found.keys.lengths)
    n_keys = n_last[stops] - n_last[stops - found.keys.lengths]
    good = found.values.lengths == _FLOAT_BYTES * n_keys
    ends_whole = np.ones(len(stops), bool)
    some = found.keys.lengths > 0
    ends_whole[some] = key_bytes[stops[some] - 1] < 0x80
    good &= ends_whole & (found.keys.lengths <= _VARINT_BYTES * n_keys)
    return len(good) if good.all() else int(good.argmin())


def _n_sound(rows: CsrRows, labels: Rows) -> int:
    """Count the first records whose keys rise and fit, and whose numbers are finite."""
    rises = np.diff(rows.keys, prepend=-1) > 0
    rises[rows.starts[:-1][rows.counts > 0]] = True
    good = rises & (rows.keys < rows.n_features) & np.isfinite(rows.values)
    bad_rows = [np.searchsorted(rows.starts, np.flatnonzero(~good)[:1], side="right") - 1]
    bad_rows.append(np.flatnonzero(~np.isfinite(labels).all(axis=1))[:1])
    return int(min(np.concatenate(bad_rows), default=rows.n_samples))


def _gather(data: Bytes, ranges: _Ranges) -> Bytes:
    """Return the bytes of some ranges behind one another."""
    before = np.cumsum(ranges.lengths) - ranges.lengths
    places = np.repeat(ranges.starts - before, ranges.lengths)
    gathered: Bytes = data[places + np.arange(len(places))]
    return gathered


def _floats(data: Bytes, ranges: _Ranges) -> npt.NDArray[np.float32]:
    return _gather(data, ranges).view("<f4").astype(np.float32, copy=False)


def _varints(data: Bytes) -> Places:
    """Decode numbers behind one another, the last of them whole."""
    last = np.flatnonzero(data < 0x80)
    numbers = (data & 0x7F).astype(np.int64)
    if len(last) == len(data):
        return numbers
    sizes = np.diff(last, prepend=-1)
    first = last - sizes + 1
    places = np.arange(len(data)) - np.repeat(first, sizes)
    numbers <<= 7 * np.minimum(places, _VARINT_BYTES - 1)
    total: Places = np.add.reduceat(numbers, first)
    total[sizes > _VARINT_BYTES] = _NO_KEY
    return total
