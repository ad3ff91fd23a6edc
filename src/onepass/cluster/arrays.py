"""The array types that clustering works on."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.float32]
"""Samples or centers, shape (n, n_features)."""
Labels: TypeAlias = npt.NDArray[np.int32]
"""The index of a center for each sample, shape (n_samples,)."""
Indices: TypeAlias = npt.NDArray[np.intp]
Floats: TypeAlias = npt.NDArray[np.float32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]


class WeightedRows(NamedTuple):
    """Rows that stand for others.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32
    weights : ndarray of shape (n,), float64
        How many samples each row stands for.
    """

    rows: Rows
    weights: Doubles
