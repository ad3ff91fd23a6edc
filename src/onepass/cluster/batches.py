"""What stands between callers and the algorithm: checks, and batches of one size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Rows, WeightedRows
from onepass.errors import UserError
from onepass.finite import first_non_finite


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
        Naming the shape, or the row and column of the first value that is not finite.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.ascontiguousarray(X, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"X must be a dense matrix of numbers: {error}") from error
    if rows.ndim != 2 or not rows.shape[1]:
        raise UserError(f"X must be a matrix of samples by features, got shape {rows.shape}")
    if n_features is not None and rows.shape[1] != n_features:
        raise UserError(f"X has {rows.shape[1]} features, expected {n_features}")
    bad = first_non_finite(rows)
    if bad:
        raise UserError(
            f"X[{bad[0]}, {bad[1]}] is NaN or infinite as float32; every value must be finite"
        )
    return rows


def check_weights(sample_weight: npt.ArrayLike | None, n_samples: int) -> Doubles:
    """Return one weight for each sample, 1 by default; all finite and not negative."""
    if sample_weight is None:
        return np.ones(n_samples)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (n_samples,):
        raise UserError(f"sample_weight must have shape ({n_samples},), got {weights.shape}")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise UserError(
            f"sample_weight[{bad[0]}] is {weights[bad[0]]}; weights are finite and not negative"
        )
    return weights


class RowBuffer:
    """Cuts a stream of pieces of any size into batches of one size.

    Parameters
    ----------
    batch_size : int
        Rows of a batch; may be changed between batches.

    Notes
    -----
    Pieces of just that size are passed through without a copy; at most a batch is kept.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._pieces: list[WeightedRows] = []
        self._n_rows = 0

    def __len__(self) -> int:
        return self._n_rows

    def push(self, piece: WeightedRows) -> Iterator[WeightedRows]:
        """Add rows; yields the batches they complete.

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
            yield _join([*self._empty(), head])
        if len(rows):
            self._pieces.append(WeightedRows(rows.copy(), weights.copy()))
            self._n_rows += len(rows)

    def flush(self) -> WeightedRows | None:
        """Return what is kept as a last, shorter batch; None if nothing is."""
        return _join(self._empty()) if self._n_rows else None

    def _empty(self) -> list[WeightedRows]:
        pieces, self._pieces, self._n_rows = self._pieces, [], 0
        return pieces


def _join(pieces: list[WeightedRows]) -> WeightedRows:
    if len(pieces) == 1:
        return pieces[0]
    rows, weights = zip(*pieces, strict=True)
    return WeightedRows(np.concatenate(rows), np.concatenate(weights))
