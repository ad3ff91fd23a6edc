"""JSON and JSON Lines bodies, in every shape that SageMaker's built-in algorithms document.

An instance is ``{"features": [...]}``, ``{"data": {"features": {"values": [...]}}}``,
``{"data": {"features": [...]}}``, a sparse ``{"keys": [...], "shape": [n], "values": [...]}`` in
the place of ``{"values": [...]}``, or a bare array. Other members of an instance, such as
``configuration``, are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np

from onepass.errors import DecodeError, TooLargeError
from onepass.finite import first_non_finite
from onepass.formats.arrays import BLOCK_VALUES, MAX_MATRIX_VALUES, Rows, Vector

_SHAPES = (
    'an instance is {"features": [numbers]}, {"data": {"features": {"values": [numbers]}}}, '
    'or sparse with "keys" and "shape"'
)


def read_rows(data: bytes, n_features: int | None = None, *, n_before: int = 0) -> Rows:
    """Decode ``{"instances": [instance, ...]}``.

    Parameters
    ----------
    data : bytes
        UTF-8.
    n_features : int, optional
        The width every instance must have; by default that of the first.
    n_before : int
        How many instances were read before these, for the places in messages.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row.

    Raises
    ------
    DecodeError
        Naming the instance, counted from 1.

    Examples
    --------
    >>> read_rows(b'{"instances": [{"features": [1.5, 16.0]}]}')
    array([[ 1.5, 16. ]], dtype=float32)
    """
    return _stack(instances_of(data), n_features, n_before)


def read_lines(data: bytes, n_features: int | None = None, *, n_before: int = 0) -> Rows:
    """Decode JSON Lines: one instance a line.

    Examples
    --------
    >>> read_lines(b'{"features": [1]}' + bytes([10]) + b'{"data": {"features": [2]}}')
    array([[1.],
           [2.]], dtype=float32)
    """
    return _stack(instances_of_lines(data, n_before=n_before), n_features, n_before)


def instances_of(data: bytes | bytearray) -> list[Any]:
    """Parse ``{"instances": [instance, ...]}``: one instance at least, of whatever it may be."""
    body = _parse(data, "")
    if not isinstance(body, dict) or not isinstance(body.get("instances"), list):
        raise DecodeError('the body must be {"instances": [instance, ...]}')
    instances: list[Any] = body["instances"]
    if not instances:
        raise DecodeError("the list of instances is empty; at least one is needed")
    return instances


def instances_of_lines(data: bytes, *, n_before: int = 0) -> list[Any]:
    """Parse lines of an instance each: one at least."""
    lines = data.rstrip(b" \t\r\n").split(b"\n")
    if lines == [b""]:
        raise DecodeError("the data is empty; at least one line is needed")
    return [_parse(line, _where(n_before + i)) for i, line in enumerate(lines)]


def unfold(instances: Sequence[Any], n_features: int, *, n_before: int = 0) -> Iterator[Rows]:
    """Turn instances into blocks of rows, of at most about a million numbers each.

    Sparse instances may be much shorter than their rows: these are not all there at once.

    Raises
    ------
    DecodeError
        As `read_rows`.
    """
    _check_size(len(instances), n_features)
    step = max(1, BLOCK_VALUES // n_features)
    for start in range(0, len(instances), step):
        yield _fill(instances[start : start + step], n_features, n_before + start)


def _parse(data: bytes | bytearray, where: str) -> Any:
    try:
        return json.loads(
            data.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates
        )
    except RecursionError as error:
        raise DecodeError("the JSON is nested too deeply", where=where) from error
    except UnicodeDecodeError as error:
        raise DecodeError("the body is not UTF-8 text", where=where) from error
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno}, column {error.colno}"
        raise DecodeError(f"the body is not valid JSON: {error.msg}", where=place) from error
    except ValueError as error:  # an integer of more digits than Python converts; our own two
        raise DecodeError(str(error).split(";")[0], where=where) from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has two members of the same name")
    return members


def _stack(instances: Sequence[Any], n_features: int | None, n_before: int) -> Rows:
    width = n_features or len(_row(instances[0], n_before, None))
    _check_size(len(instances), width)
    return _fill(instances, width, n_before)


def _check_size(n: int, width: int) -> None:
    if width * n > MAX_MATRIX_VALUES:
        raise TooLargeError(
            f"{n} instances of {width} features are more than {MAX_MATRIX_VALUES} numbers; send "
            "fewer at once"
        )


def _fill(instances: Sequence[Any], width: int, n_before: int) -> Rows:
    rows = np.empty((len(instances), width), np.float32)
    for i, instance in enumerate(instances):
        rows[i] = _row(instance, n_before + i, width)
    bad = first_non_finite(rows)
    if bad:
        raise DecodeError(
            f"feature {bad[1] + 1} is too large for float32", where=_where(n_before + bad[0])
        )
    return rows


def _row(instance: Any, i: int, width: int | None) -> Vector:
    try:
        row = _vector(_features(instance), width)
    except DecodeError as error:
        raise type(error)(error.reason, where=_where(i)) from error
    return row


def _features(instance: Any) -> Any:
    if isinstance(instance, dict) and isinstance(instance.get("data"), dict):
        instance = instance["data"]
    if isinstance(instance, dict):
        if "features" not in instance:
            raise DecodeError(f'there are no "features": {_SHAPES}')
        return instance["features"]
    return instance


def _vector(features: Any, width: int | None) -> Vector:
    if isinstance(features, list):
        row = _numbers(features, "features")
    elif isinstance(features, dict) and "keys" in features:
        row = _sparse(features, width)
    elif isinstance(features, dict):
        row = _numbers(features.get("values"), "values")
    else:
        raise DecodeError(_SHAPES)
    if not len(row):
        raise DecodeError("there are no values")
    if width is not None and len(row) != width:
        raise DecodeError(f"the instance has {len(row)} features, expected {width}")
    return row


def _numbers(values: Any, name: str) -> Vector:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise DecodeError(f'"{name}" must be an array of numbers')
    try:
        with np.errstate(over="ignore"):
            return np.array(values, np.float64).astype(np.float32)
    except OverflowError as error:
        raise DecodeError(f'"{name}" holds an integer too large for float32') from error


def _sparse(features: dict[str, Any], width: int | None) -> Vector:
    values = _numbers(features.get("values"), "values")
    keys, shape = features.get("keys"), features.get("shape")
    if not _are_indices(shape) or len(shape) != 1:
        raise DecodeError('a sparse instance needs "shape": [number of features]')
    if width is not None and shape[0] != width:
        raise DecodeError(f"the instance has {shape[0]} features, expected {width}")
    if shape[0] > MAX_MATRIX_VALUES:
        raise TooLargeError(f"{shape[0]} features; at most {MAX_MATRIX_VALUES} are accepted")
    if not _are_indices(keys) or len(keys) != len(values):
        raise DecodeError('"keys" must be one whole number from 0 for each value')
    if keys and max(keys) >= shape[0]:
        raise DecodeError(f"key {max(keys)} lies outside shape {shape}")
    if len(set(keys)) != len(keys):
        raise DecodeError("a key occurs twice")
    row = np.zeros(shape[0], np.float32)
    row[keys] = values
    return row


def _are_indices(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _where(i: int) -> str:
    return f"instance {i + 1}"
