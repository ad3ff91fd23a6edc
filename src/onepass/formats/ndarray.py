"""The list file of MXNet NDArrays (``mx.nd.save``), in which SageMaker keeps k-means centers.

Layout, little-endian: ``u64 0x112, u64 0, u64 count``, the arrays, ``u64 n_names`` and the names,
each with its length as u64. An array is a magic number (its version), from version 2 on a storage
type, a shape (``i32`` rank, ``i64`` extents), the device it lived on (two i32, of no meaning here),
a type number (i32) and the values in row-major order. The oldest files have the rank in the place
of the magic number and extents of 32 bits.

MXNet is retired and its wheels do not install on current Pythons; this module reads versions 1, 2,
3 and the oldest, and writes version 2, which every MXNet since 1.0 reads.

Source: apache/mxnet 1.9.1, ``src/ndarray/ndarray.cc`` (``NDArray::Save``, ``NDArray::Load``).
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np

from onepass.errors import DecodeError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Array, Rows

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE = 0
_CPU = (1, 0)
_MAX_RANK = 32
_DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2"), 3: np.dtype("u1"),
    4: np.dtype("<i4"), 5: np.dtype("i1"), 6: np.dtype("<i8"),
}  # fmt: skip


class NDArrayFile(NamedTuple):
    """What a list file holds.

    Attributes
    ----------
    arrays : list of ndarray
    names : list of str
        As many as arrays, or none.
    """

    arrays: list[Array]
    names: list[str]


def write_centers(centers: Rows) -> bytes:
    """Encode centers as SageMaker's k-means does: one unnamed float32 array.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)

    Returns
    -------
    bytes
        Of length ``72 + 4 * n_clusters * n_features``.

    Examples
    --------
    >>> read_centers(write_centers(np.eye(2, dtype=np.float32)))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    values = np.ascontiguousarray(centers, "<f4")
    head = struct.pack("<QQQIiiqqiii", _LIST_MAGIC, 0, 1, _V2, _DENSE, 2, *values.shape, *_CPU, 0)
    return head + values.tobytes() + struct.pack("<Q", 0)


def read_centers(data: bytes) -> Rows:
    """Decode the one matrix a model file must hold.

    Parameters
    ----------
    data : bytes
        A list file with one array of two dimensions, named or not, of any number type.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        Finite.

    Raises
    ------
    DecodeError
    """
    arrays = read_arrays(data).arrays
    if len(arrays) != 1:
        raise DecodeError(f"the file holds {len(arrays)} arrays; a model is one matrix of centers")
    if arrays[0].ndim != 2:
        shape = list(arrays[0].shape)
        raise DecodeError(f"the array has shape {shape}; centers are [n_clusters, n_features]")
    with np.errstate(over="ignore", invalid="ignore"):
        centers = np.require(arrays[0], np.float32, ("C", "ALIGNED"))
    bad = first_non_finite(centers)
    if bad:
        raise DecodeError(f"center {bad[0]}, feature {bad[1]} is NaN or infinite as float32")
    return centers


def read_arrays(data: bytes) -> NDArrayFile:
    """Decode a list file.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    DecodeError
        With the byte offset. Sizes are checked against the bytes present before they are used.
    """
    cursor = _Cursor(data)
    magic, _, count = cursor.unpack("<QQQ")
    if magic != _LIST_MAGIC:
        raise DecodeError("this is no MXNet NDArray list file (its first bytes are not 1201)")
    arrays = [_read_array(cursor) for _ in range(cursor.check_count(count, "arrays"))]
    (n_names,) = cursor.unpack("<Q")
    if n_names not in (0, count):
        raise cursor.error(f"the file holds {count} arrays but {n_names} names")
    names = [_read_name(cursor) for _ in range(n_names)]
    if cursor.position != len(data):
        raise cursor.error(f"{len(data) - cursor.position} bytes follow the end of the list")
    return NDArrayFile(arrays, names)


class _Cursor:
    """Reads forward through bytes and never past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)  # nothing is copied
        self.position = 0

    def unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def take(self, n_bytes: int) -> memoryview:
        if n_bytes > len(self.data) - self.position:
            left = len(self.data) - self.position
            raise self.error(f"{n_bytes} bytes are needed here, {left} are left")
        self.position += n_bytes
        return self.data[self.position - n_bytes : self.position]

    def check_count(self, count: int, what: str) -> int:
        """Refuse a count that the bytes left cannot hold, at four bytes each at the least."""
        if count > (len(self.data) - self.position) // 4:
            raise self.error(f"the file says it holds {count} {what}, more than it has bytes for")
        return count

    def error(self, reason: str) -> DecodeError:
        return DecodeError(reason, where=f"byte {self.position}")


def _read_array(cursor: _Cursor) -> Array:
    (magic,) = cursor.unpack("<I")
    if magic in (_V2, _V3):
        (storage,) = cursor.unpack("<i")
        if storage != _DENSE:
            raise cursor.error(f"storage type {storage} is sparse; only dense arrays are read")
        shape = _read_shape(cursor, none=-1 if magic == _V3 else 0)
    elif magic == _V1:
        shape = _read_shape(cursor, none=0)
    else:
        shape = _extents(cursor, magic, "I") if magic else None
    if shape is None:
        raise cursor.error("an array of the list is empty (it has no shape)")
    _, _, type_number = cursor.unpack("<iii")
    dtype = _DTYPES.get(type_number)
    if dtype is None:
        raise cursor.error(
            f"type number {type_number} is not read; 0 to 6 are (f4 f8 f2 u1 i4 i1 i8)"
        )
    values = cursor.take(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(values, dtype).reshape(shape)


def _read_shape(cursor: _Cursor, none: int) -> tuple[int, ...] | None:
    (rank,) = cursor.unpack("<i")
    return None if rank == none else _extents(cursor, rank, "q")


def _extents(cursor: _Cursor, rank: int, code: str) -> tuple[int, ...]:
    if not 0 <= rank <= _MAX_RANK:
        raise cursor.error(f"an array of {rank} dimensions; at most {_MAX_RANK} are read")
    shape = cursor.unpack(f"<{rank}{code}")
    if any(extent < 1 for extent in shape):
        raise cursor.error(f"shape {list(shape)} has an extent below 1")
    return shape


def _read_name(cursor: _Cursor) -> str:
    (length,) = cursor.unpack("<Q")
    try:
        return bytes(cursor.take(length)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise cursor.error("the name of an array is no UTF-8 text") from error
