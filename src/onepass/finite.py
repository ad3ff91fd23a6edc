"""The one test for numbers that cannot be clustered; decoders and `KMeans` share it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_VALUES_AT_ONCE = 2**18


def first_non_finite(rows: npt.NDArray[Any]) -> tuple[int, int] | None:
    """Find the first NaN or infinity.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)

    Returns
    -------
    tuple of int or None
        Row and column, from 0; None when every value is finite.
    """
    step = max(1, _VALUES_AT_ONCE // rows.shape[1])
    for start in range(0, len(rows), step):
        finite = np.isfinite(rows[start : start + step]).reshape(-1)
        first = int(finite.argmin())  # the first False; 0 where there is none
        if not finite[first]:
            row, column = divmod(first, rows.shape[1])
            return start + row, column
    return None
