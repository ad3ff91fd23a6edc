"""The array types that clustering works on."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from onepass.cluster.shifted_rows import ShiftedRows
from onepass.sparse import SparseRows

Rows: TypeAlias = npt.NDArray[np.float32]
"""Samples or centers, shape (n, n_features)."""
Labels: TypeAlias = npt.NDArray[np.int32]
"""The index of a center for each sample, shape (n_samples,)."""
Indices: TypeAlias = npt.NDArray[np.intp]
Floats: TypeAlias = npt.NDArray[np.float32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]


AnyRows: TypeAlias = Rows | SparseRows | ShiftedRows
"""Samples, dense or sparse."""

R = TypeVar("R", bound=AnyRows, covariant=True)  # noqa: PLC0105 - short, as it is all over


class Weighted(NamedTuple, Generic[R]):
    """Rows that stand for others.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32; or SparseRows or ShiftedRows
    weights : ndarray of shape (n,), float64
        How many samples each row stands for.
    """

    rows: R
    weights: Doubles


WeightedRows: TypeAlias = Weighted[Rows]
WeightedAny: TypeAlias = Weighted[AnyRows]
