"""One protobuf `Record` to one row: every shape the schema allows, checked."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError as ProtobufError

from onepass.errors import DecodeError, WidthError
from onepass.finite import first_non_finite
from onepass.formats.arrays import Array, Vector
from onepass.formats.record_pb2 import Float32Tensor, Float64Tensor, Int32Tensor, Record, Value

FEATURES = "values"
"""The key of a record's row, and of its label."""

_MAX_DIMENSIONS = 32


def read_row(payload: bytes, n_features: int) -> Vector:
    """Parse one protobuf `Record` into a row.

    Parameters
    ----------
    payload : bytes
        The record without its frame.
    n_features : int
        The width it must have.

    Returns
    -------
    ndarray of shape (n_features,), float32
        Finite; zero where a sparse record names no value.

    Raises
    ------
    DecodeError
        Without a position: the caller knows which record it is.

    Examples
    --------
    >>> record = Record()
    >>> record.features["values"].int32_tensor.values.extend([1, 2])
    >>> read_row(record.SerializeToString(), 2)
    array([1., 2.], dtype=float32)
    """
    tensor = _tensor(payload)
    width = _width(tensor)
    check_width(width, n_features)
    with np.errstate(over="ignore", invalid="ignore"):
        values = tensor.values.astype(np.float32)
    row = values if len(values) == width and not len(tensor.keys) else _scatter(tensor, values)
    bad = first_non_finite(row[None])
    if bad:
        raise DecodeError(not_finite(bad[1]))
    return row


class SparseRow(NamedTuple):
    """The values of a row that are given.

    Attributes
    ----------
    columns : ndarray of shape (n_values,), int32
        Rising; none twice.
    values : ndarray of shape (n_values,), float32
        Finite.
    """

    columns: npt.NDArray[np.int32]
    values: Vector


def read_sparse_row(payload: bytes, n_features: int) -> SparseRow:
    """Parse one protobuf `Record` into the values that are given, or not zero.

    As `read_row`, in memory that does not depend on the width.
    """
    tensor = _tensor(payload)
    check_width(_width(tensor), n_features)
    return _given(tensor)


def row_width(payload: bytes) -> int:
    """Return how many features a record has, without unfolding it."""
    return _width(_tensor(payload))


def is_sparse(payload: bytes) -> bool:
    """Whether a record names the places of its values, and leaves the zeros out."""
    tensor = _tensor(payload)
    return len(tensor.keys) > 0 or len(tensor.values) != _width(tensor)


def check_width(width: int, n_features: int) -> None:
    """Refuse a record of another width."""
    if width != n_features:
        raise WidthError(f"the record has {width} features, expected {n_features}")


def not_finite(column: int, what: str = "feature") -> str:
    """Word the refusal of a value that is no number."""
    return f"{what} {column} is NaN or infinite as float32; every value must be a finite number"


class LabelledRow(NamedTuple):
    """What a record holds, without being unfolded.

    Attributes
    ----------
    columns : ndarray of shape (n_values,), int32
        Rising; none twice.
    values : ndarray of shape (n_values,), float32
        Finite.
    n_features : int
    labels : ndarray of shape (n_labels,), float32
        Finite; those of the label ``values``, no number where there is none.
    is_sparse : bool
        The record has keys, or no value at all.
    """

    columns: npt.NDArray[np.int32]
    values: Vector
    n_features: int
    labels: Vector
    is_sparse: bool


def read_labelled(payload: bytes) -> LabelledRow:
    """Parse one protobuf `Record` with its label, in memory that does not depend on its width.

    Raises
    ------
    DecodeError
        Without a position: the caller knows which record it is.

    Examples
    --------
    >>> record = Record()
    >>> record.features["values"].float32_tensor.values.extend([0, 2.5])
    >>> record.label["values"].float32_tensor.values.append(7)
    >>> row = read_labelled(record.SerializeToString())
    >>> row.columns, row.values, row.labels
    (array([1], dtype=int32), array([2.5], dtype=float32), array([7.], dtype=float32))
    """
    record = _parse(payload)
    tensor = _tensor_of(record)
    width = _width(tensor)
    labels = np.empty(0, np.float32)
    if FEATURES in record.label:
        labels = _rounded(_numbers(record.label[FEATURES], "label").values)
        bad = np.flatnonzero(~np.isfinite(labels))
        if len(bad):
            raise DecodeError(not_finite(int(bad[0]), "label"))
    is_sparse = len(tensor.keys) > 0 or not len(tensor.values)
    return LabelledRow(*_given(tensor), width, labels, is_sparse)


def _given(tensor: _Tensor) -> SparseRow:
    """Return the values that are given, or not zero, in the order of their columns."""
    values = _rounded(tensor.values)
    if len(tensor.keys):
        columns = _checked_keys(tensor)
        order = np.argsort(columns)
        columns, values = columns[order], values[order]
    else:  # a dense record, or one of zeros
        columns = np.flatnonzero(values)
        values = values[columns]
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DecodeError(not_finite(int(columns[bad[0]])))
    return SparseRow(columns.astype(np.int32), values)


def _rounded(numbers: Array) -> Vector:
    with np.errstate(over="ignore", invalid="ignore"):
        return numbers.astype(np.float32)


class _Tensor(NamedTuple):
    values: Array
    keys: Array
    shape: tuple[int, ...]


def _tensor(payload: bytes) -> _Tensor:
    return _tensor_of(_parse(payload))


def _parse(payload: bytes) -> Record:
    try:
        return Record.FromString(payload)
    except (ProtobufError, UnicodeDecodeError) as error:
        raise DecodeError("the record is no protobuf message of the expected schema") from error


def _tensor_of(record: Record) -> _Tensor:
    if FEATURES not in record.features:
        # A name that is no UTF-8 comes as bytes, which have no order with text.
        found = ", ".join(sorted(map(repr, record.features))[:5]) or "none"
        raise DecodeError(f"the record has no feature named {FEATURES!r}; found: {found}")
    return _numbers(record.features[FEATURES], "feature")


def _numbers(value: Value, what: str) -> _Tensor:
    kind = value.WhichOneof("value")
    tensor: Float32Tensor | Float64Tensor | Int32Tensor
    if kind == "float32_tensor":
        tensor = value.float32_tensor
    elif kind == "float64_tensor":
        tensor = value.float64_tensor
    elif kind == "int32_tensor":
        tensor = value.int32_tensor
    else:
        raise DecodeError(
            f"{what} {FEATURES!r} holds {kind or 'nothing'}; accepted are float32_tensor, "
            "float64_tensor and int32_tensor"
        )
    values = np.array(tensor.values)
    return _Tensor(values, np.array(tensor.keys, np.uint64), tuple(tensor.shape))


def _width(tensor: _Tensor) -> int:
    """Return the number of features, having checked that keys, shape and values agree."""
    n_values, n_keys = len(tensor.values), len(tensor.keys)
    if len(tensor.shape) > _MAX_DIMENSIONS:
        raise DecodeError(f"the shape has {len(tensor.shape)} extents; one is expected")
    width = math.prod(tensor.shape) if tensor.shape else n_values
    if n_keys:
        if n_keys != n_values:
            raise DecodeError(f"the record has {n_keys} keys for {n_values} values")
        if not tensor.shape:
            raise DecodeError("the record is sparse (it has keys) but gives no shape")
    elif n_values and width != n_values:
        raise DecodeError(f"shape {list(tensor.shape)} does not fit {n_values} values")
    if not width:
        raise DecodeError("the record has no values and no shape: it is empty")
    return width


def _scatter(tensor: _Tensor, values: Vector) -> Vector:
    """Unfold a sparse record; one without any value is a row of zeros."""
    row = np.zeros(math.prod(tensor.shape), np.float32)
    if len(tensor.keys):
        row[_checked_keys(tensor)] = values
    return row


def _checked_keys(tensor: _Tensor) -> npt.NDArray[np.intp]:
    """Return the keys, of which there are some."""
    if int(tensor.keys.max()) >= math.prod(tensor.shape):
        raise DecodeError(f"key {tensor.keys.max()} lies outside shape {list(tensor.shape)}")
    keys = tensor.keys.astype(np.intp)
    if len(np.unique(keys)) != len(keys):
        raise DecodeError("a key occurs twice in the record")
    return keys
