"""Rows and answers to RecordIO-protobuf."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.errors import AlgorithmError, UserError
from onepass.formats.answers import (
    CLOSEST_CLUSTER,
    DISTANCE_TO_CLUSTER,
    DISTANCES,
    Answers,
)
from onepass.formats.arrays import Array, Bytes
from onepass.formats.record_pb2 import Float32Tensor, Float64Tensor, Int32Tensor, Record, Value
from onepass.formats.record_row import FEATURES
from onepass.formats.recordio import HEADER_BYTES, frame
from onepass.formats.wire import learn_layout

_STAND_INS = (math.pi, math.e, math.tau)


def write_rows(
    rows: npt.ArrayLike, labels: npt.ArrayLike | None = None, *, sparse: bool = False
) -> bytes:
    """Encode rows as RecordIO-protobuf.

    Parameters
    ----------
    rows : array-like of shape (n_samples, n_features)
        Integers become int32 tensors, float64 stays, all else becomes float32. Lists of Python
        numbers count as float32.
    labels : array-like of shape (n_samples,), optional
        One label a row, of the same type.
    sparse : bool
        Write only the values that are not zero, with their keys and the shape.

    Returns
    -------
    bytes
        What `onepass.formats.records.read_rows` and the SageMaker SDK read. Dense float rows
        without labels are written at memory speed, all others one by one.

    Examples
    --------
    >>> write_rows([[1.5, 16.0]]).hex(" ", 4)
    '0a23d7ce 18000000 0a160a06 76616c75 6573120c 120a0a08 0000c03f 00008041'
    """
    matrix = _as_array(rows)
    if matrix.ndim != 2 or not matrix.size:
        raise UserError(f"rows must be a matrix with rows and columns, got shape {matrix.shape}")
    if matrix.dtype.kind in "iu" and (matrix.min() < -(2**31) or matrix.max() >= 2**31):
        raise UserError("integer rows must fit 32 bits; convert them to float")
    if labels is None and not sparse and matrix.dtype.kind == "f":
        return _dense_frames(matrix).tobytes()
    targets = None if labels is None else _as_array(labels)
    if targets is not None and targets.shape != (len(matrix),):
        raise UserError(f"labels must have shape ({len(matrix)},), got {targets.shape}")
    return b"".join(_frames(matrix, targets, sparse))


def write_answers(answers: Answers) -> bytes:
    """Encode answers: for each row one framed record with a float32 label for each figure.

    Parameters
    ----------
    answers : Answers

    Notes
    -----
    All records are copies of one, in which each figure is found by a number that stands in for it.
    """
    figures: dict[str, Array] = {
        CLOSEST_CLUSTER: answers.labels[:, None],
        DISTANCE_TO_CLUSTER: answers.distances[:, None],
    }
    if answers.table is not None:
        figures[DISTANCES] = answers.table
    record = Record()
    for stand_in, (name, columns) in zip(_STAND_INS, figures.items(), strict=False):
        record.label[name].float32_tensor.values.extend([stand_in] * columns.shape[1])
    template = frame(record.SerializeToString(deterministic=True))
    places = [
        (name, ("<f4", columns.shape[1:]), template.index(struct.pack("<f", stand_in)))
        for stand_in, (name, columns) in zip(_STAND_INS, figures.items(), strict=False)
    ]
    names, formats, offsets = zip(*places, strict=True)
    layout: Any = {
        "names": names,
        "formats": formats,
        "offsets": offsets,
        "itemsize": len(template),
    }
    frames = bytearray(template * len(answers.labels))
    table: Array = np.frombuffer(frames, np.dtype(layout))
    for name, columns in figures.items():
        table[name] = columns
    return bytes(frames)


def _as_array(numbers: npt.ArrayLike) -> Array:
    array = numbers if isinstance(numbers, np.ndarray) else np.asarray(numbers, np.float32)
    return array if array.dtype.kind in "iu" or array.dtype == np.float64 else array.astype("f4")


def _dense_frames(matrix: Array) -> Bytes:
    """Fill copies of one record's bytes with every row's values."""
    payload = _record(matrix[0], None, sparse=False).SerializeToString()
    template = frame(payload)
    layout = learn_layout(template, HEADER_BYTES, HEADER_BYTES + len(payload))
    if layout is None:
        raise AlgorithmError("a dense record of our own has no fixed layout")
    frames = np.tile(np.frombuffer(template, np.uint8), (len(matrix), 1))
    values = _byte_rows(matrix)
    frames[:, layout.values_start : layout.values_start + values.shape[1]] = values
    return frames


def _byte_rows(matrix: Array) -> Bytes:
    """View each row's numbers as little-endian bytes."""
    little = np.ascontiguousarray(matrix, matrix.dtype.newbyteorder("<"))
    return little.view(np.uint8)


def _frames(matrix: Array, labels: Array | None, sparse: bool) -> Iterator[bytes]:
    for i, row in enumerate(matrix):
        label = None if labels is None else labels[i : i + 1]
        yield frame(_record(row, label, sparse=sparse).SerializeToString())


def _record(row: Array, label: Array | None, *, sparse: bool) -> Record:
    record = Record()
    if sparse:
        keys = np.flatnonzero(row)
        _fill(record.features[FEATURES], row[keys], keys.tolist(), [len(row)])
    else:
        _fill(record.features[FEATURES], row)
    if label is not None:
        _fill(record.label[FEATURES], label)
    return record


def _fill(
    value: Value, numbers: Array, keys: Iterable[int] = (), shape: Iterable[int] = ()
) -> None:
    tensor: Float32Tensor | Float64Tensor | Int32Tensor
    if numbers.dtype.kind in "iu":
        tensor = value.int32_tensor
    elif numbers.dtype == np.float64:
        tensor = value.float64_tensor
    else:
        tensor = value.float32_tensor
    tensor.values.extend(numbers.tolist())
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)
