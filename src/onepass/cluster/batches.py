"""What stands between callers and the algorithm: checks."""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import AnyRows, Doubles, Rows, Weighted, WeightedRows
from onepass.cluster.kernels.cpu import peak
from onepass.errors import DataTypeError, UserError
from onepass.finite import first_non_finite
from onepass.sparse import SparseRows

_MOST_CHECKED = 2**24  # values

Samples: TypeAlias = Rows | SparseRows
WeightedSamples: TypeAlias = Weighted[Rows] | Weighted[SparseRows]
Given: TypeAlias = npt.ArrayLike | SparseRows
"""Rows as callers give them; matrices of `scipy.sparse` count as array-like."""
Batch: TypeAlias = Given | tuple[Given, npt.ArrayLike | None]
"""Rows, or a tuple of rows and their weights."""


_LIGHTEST, _HEAVIEST = 1e-100, 1e100
"""Sums of weights, and of squares times weights, must stay in the range of float64."""


class Checked(NamedTuple):
    """Clean rows.

    Attributes
    ----------
    rows : ndarray or SparseRows
    peak : float
        The largest absolute value; 0 for no rows.
    """

    rows: Samples
    peak: float


def check_rows(X: Given, n_features: int | None = None) -> Samples:
    """Return `X` as clean float32 rows: see `checked`."""
    return checked(X, n_features).rows


def checked(X: Given, n_features: int | None = None) -> Checked:
    """Return `X` as clean float32 rows, and how large their values are.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), or sparse
        Any matrix of `scipy.sparse`, or `SparseRows`, stays sparse.
    n_features : int, optional
        The width it must have.

    Returns
    -------
    Checked

    Raises
    ------
    UserError
        Naming the shape, or the row and column of the first value that is not finite. A
        `DataTypeError` for values that are no numbers.
    """
    rows = _sparse(X) or _dense(X)
    if len(rows.shape) != 2:
        raise UserError(
            f"X must be a matrix of samples by features, got shape {rows.shape}. Reshape your "
            "data: X.reshape(-1, 1) is of one feature, X.reshape(1, -1) is one sample"
        )
    if not rows.shape[1]:
        raise UserError(
            f"X has 0 feature(s) (shape={rows.shape}) while a minimum of 1 is required."
        )
    if n_features is not None and rows.shape[1] != n_features:
        raise UserError(
            f"X has {rows.shape[1]} features, but KMeans is expecting {n_features} features as "
            "input"
        )
    largest = peak(rows)
    bad = None if math.isfinite(largest) else _first_non_finite(rows)
    if bad:
        raise UserError(
            f"X[{bad[0]}, {bad[1]}] is NaN or infinite as float32; every value must be finite"
        )
    return Checked(rows, largest)


def as_dense(rows: AnyRows) -> Rows:
    """Return rows with their zeros."""
    return rows if isinstance(rows, np.ndarray) else rows.dense()


def as_sparse(rows: Samples) -> SparseRows:
    """Return rows without their zeros."""
    return rows if isinstance(rows, SparseRows) else SparseRows.of_dense(rows)


def check_weights(sample_weight: npt.ArrayLike | None, n_samples: int) -> Doubles:
    """Return one weight for each sample, 1 by default; all 0, or from 1e-100 to 1e100."""
    if sample_weight is None:
        return np.ones(n_samples)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (n_samples,):
        raise UserError(f"sample_weight must have shape ({n_samples},), got {weights.shape}")
    bad = np.flatnonzero(~((weights >= _LIGHTEST) & (weights <= _HEAVIEST) | (weights == 0)))
    if len(bad):
        raise UserError(
            f"sample_weight[{bad[0]}] is {weights[bad[0]]}; weights are 0 or numbers from "
            f"{_LIGHTEST:g} to {_HEAVIEST:g}"
        )
    return weights


def check_weighted(
    X: Given,
    sample_weight: npt.ArrayLike | None,
    n_features: int | None = None,
) -> WeightedSamples:
    """Return `X` as clean float32 rows, and the weight of each."""
    rows = check_rows(X, n_features)
    weights = check_weights(sample_weight, len(rows))
    if isinstance(rows, SparseRows):
        return Weighted(rows, weights)
    return WeightedRows(rows, weights)


def as_pair(batch: Batch) -> tuple[Given, npt.ArrayLike | None]:
    """Return the rows and the weights of a batch, neither of them checked.

    Parameters
    ----------
    batch : array-like of shape (n_samples, n_features), or tuple
        A tuple is taken as rows and weights, whatever it holds.

    Raises
    ------
    UserError
        For a tuple of another number of items than two.
    """
    if not isinstance(batch, tuple):
        return batch, None
    if len(batch) != 2:
        raise UserError(
            f"a batch of {len(batch)} items: a tuple must hold rows and their weights; "
            "rows alone must be an array or a list"
        )
    X, sample_weight = batch
    return X, sample_weight


def _sparse(X: Given) -> SparseRows | None:
    """Return a sparse matrix as rows; None where it is none."""
    if isinstance(X, SparseRows):
        return X
    if not hasattr(X, "tocsr"):
        return None
    given: Any = X
    matrix = given.tocsr()
    if matrix.ndim != 2:
        raise UserError(f"X must be a matrix of samples by features, got shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise DataTypeError(f"X must hold numbers, got a sparse matrix of type {matrix.dtype}")
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    with np.errstate(over="ignore"):
        values = matrix.data.astype(np.float32)
    columns, starts = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64)
    return SparseRows(starts, columns, values, matrix.shape[1])


def _first_non_finite(rows: Samples) -> tuple[int, int] | None:
    if isinstance(rows, np.ndarray):
        return first_non_finite(rows)
    bad = int(np.isfinite(rows.values).argmin())
    return int(rows.owners()[bad]), int(rows.columns[bad])


def _dense(X: Given) -> Rows:
    """Return `X` as float32, of whatever shape."""
    if type(X) is np.ndarray and X.dtype == np.float32 and X.flags.c_contiguous and X.flags.aligned:
        return X
    given = np.asarray(X) if hasattr(X, "__array__") else X
    if isinstance(given, np.ndarray) and given.dtype.kind == "c":
        raise UserError(f"Complex data not supported: X is of dtype {given.dtype}, not real")
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.ascontiguousarray(given, np.float32)
            return rows if rows.flags.aligned else rows.copy()
    except (TypeError, ValueError) as error:
        kind = DataTypeError if isinstance(error, TypeError) else UserError
        raise kind(f"X must be a dense matrix of numbers: {error}") from error


def mean_values(rows: Rows | SparseRows) -> float:
    """Return how many values a row has on average."""
    if isinstance(rows, SparseRows):
        return rows.n_values / max(1, len(rows))
    return float(rows.shape[1])


def checksum(rows: Rows | SparseRows) -> int:
    """Return a number that the first rows make up, the same for dense and for sparse ones."""
    head = rows[: max(1, _MOST_CHECKED // rows.shape[1])]
    dense = head.dense() if isinstance(head, SparseRows) else head
    return zlib.crc32(np.ascontiguousarray(dense).data)
