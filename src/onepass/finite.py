"""The one test for numbers that cannot be clustered; decoders and `KMeans` share it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def first_non_finite(rows: npt.NDArray[Any]) -> tuple[int, int] | None:
    """Find the first NaN or infinity.

    A sum over all values is NaN or infinite when any of them is, and reads memory once; only when
    the sum is not finite (which large finite values can also cause) are the values looked at.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)

    Returns
    -------
    tuple of int or None
        Row and column, from 0; None when every value is finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.add.reduce(rows, axis=None)):
            return None
    bad = np.argwhere(~np.isfinite(rows))
    return (int(bad[0][0]), int(bad[0][1])) if len(bad) else None
