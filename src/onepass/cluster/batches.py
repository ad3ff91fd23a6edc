"""What stands between callers and the algorithm: checks, and batches of one size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Rows, WeightedRows
from onepass.cluster.kernels.cpu import peak
from onepass.errors import DataTypeError, UserError
from onepass.finite import first_non_finite

Batch: TypeAlias = npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike | None]
"""Rows, or a tuple of rows and their weights."""


_LIGHTEST, _HEAVIEST = 1e-100, 1e100
"""Sums of weights, and of squares times weights, must stay in the range of float64."""


def check_rows(X: npt.ArrayLike, n_features: int | None = None) -> Rows:
    """Return `X` as clean float32 rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    n_features : int, optional
        The width it must have.

    Raises
    ------
    UserError
        Naming the shape, or the row and column of the first value that is not finite. A
        `DataTypeError` for a sparse matrix and for values that are no numbers.
    """
    rows = _dense(X)
    if rows.ndim != 2:
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
    bad = None if math.isfinite(peak(rows)) else first_non_finite(rows)
    if bad:
        raise UserError(
            f"X[{bad[0]}, {bad[1]}] is NaN or infinite as float32; every value must be finite"
        )
    return rows


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
    X: npt.ArrayLike, sample_weight: npt.ArrayLike | None, n_features: int | None = None
) -> WeightedRows:
    """Return `X` as clean float32 rows, and the weight of each."""
    rows = check_rows(X, n_features)
    return WeightedRows(rows, check_weights(sample_weight, len(rows)))


def as_pair(batch: Batch) -> tuple[npt.ArrayLike, npt.ArrayLike | None]:
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


def _dense(X: npt.ArrayLike) -> Rows:
    """Return `X` as float32, of whatever shape."""
    if hasattr(X, "toarray"):
        raise DataTypeError(
            f"X must be a dense matrix, got the sparse {type(X).__name__}: pass X.toarray()"
        )
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


class RowBuffer:
    """Cuts a stream of pieces of any size into batches of one size.

    Parameters
    ----------
    batch_size : int
        Rows of a batch; may be changed between batches.
    n_features : int

    Notes
    -----
    Pieces of just that size are passed through without a copy; at most a batch is kept. Memory:
    ``4 * n_features + 8`` bytes for each row kept, and as much again where pieces are small.
    """

    def __init__(self, batch_size: int, n_features: int) -> None:
        self.batch_size = batch_size
        self._n_rows = 0
        self._rows = np.empty((0, n_features), np.float32)
        self._weights = np.empty(0)

    def __len__(self) -> int:
        return self._n_rows

    def __getstate__(self) -> dict[str, Any]:
        """Leave the room for more rows behind when it goes to another process."""
        rows, weights = self._held()
        return self.__dict__ | {"_rows": rows, "_weights": weights}

    def push(self, piece: WeightedRows) -> Iterator[WeightedRows]:
        """Add rows; yields the batches they complete, each valid until the next is asked for.

        Parameters
        ----------
        piece : WeightedRows
            Copied as far as it is kept; rows of weight 0 are dropped.
        """
        counted = piece.weights > 0
        rows, weights = piece
        if not counted.all():
            rows, weights = rows[counted], weights[counted]
        while self._n_rows + len(rows) >= self.batch_size:
            taken = self.batch_size - self._n_rows
            head = WeightedRows(rows[:taken], weights[:taken])
            rows, weights = rows[taken:], weights[taken:]
            if self._n_rows:
                self._keep(head)
                head = self._held()
                self._n_rows = 0
            yield head
        self._keep(WeightedRows(rows, weights))

    def flush(self) -> WeightedRows | None:
        """Return what is kept as a last, shorter batch; None if nothing is."""
        if not self._n_rows:
            return None
        rest = self._held()
        self._n_rows = 0
        return rest

    def _held(self) -> WeightedRows:
        return WeightedRows(self._rows[: self._n_rows], self._weights[: self._n_rows])

    def _keep(self, piece: WeightedRows) -> None:
        n = self._n_rows + len(piece.rows)
        if n > len(self._rows) or not self._rows.flags.writeable:  # as unpickled from such memory
            room = min(self.batch_size, 2 * n)
            held = self._held()
            self._rows = np.empty((room, self._rows.shape[1]), np.float32)
            self._weights = np.empty(room)
            self._rows[: self._n_rows], self._weights[: self._n_rows] = held
        self._rows[self._n_rows : n], self._weights[self._n_rows : n] = piece
        self._n_rows = n
