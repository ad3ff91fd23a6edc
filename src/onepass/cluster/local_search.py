"""Out of local optima: swap a center for a row where that lowers the inertia.

Lloyd's iterations never take a center from where two share a cluster to where two clusters share a
center. A swap does: a row is drawn with a probability in proportion to what it adds to the inertia,
and takes the place of the center that is missed least, if all are better off.

Sources: Lattanzi and Sohler, "A better k-means++ algorithm via local search", 2019; Choo, Grunau,
Portmann and Rozhon, "k-means++: few more steps yield constant approximation", 2020.
"""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import Floats, Rows, WeightedRows
from onepass.cluster.kernels import refining

MAX_TABLE_VALUES = 2**24
"""Where rows times centers are more, nothing is swapped: it would take too long."""

_CANDIDATES = 5
_LEAST_GAIN = 1e-9


def swap_centers(
    data: WeightedRows,
    centers: Rows,
    n_steps: int,
    rng: np.random.Generator,
    apart: Floats | None = None,
) -> Rows:
    """Try to better centers by swaps.

    Parameters
    ----------
    data : WeightedRows
        A few thousand rows, such as the centers of a summary.
    centers : ndarray of shape (n_clusters, n_features), float32
        Best where Lloyd's iterations have ended; not changed.
    n_steps : int
        Swaps tried, each the best of five rows drawn.
    rng : numpy.random.Generator
    apart : ndarray, float32, optional
        Squared distances between the rows, by `onepass.cluster.kernels.refining.between`.

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        Of an inertia that is not higher; Lloyd's iterations may lower it further.

    Notes
    -----
    Costs 3 * n_clusters * n_rows * n_features operations to begin with, 15 * n_rows a step, and
    where it swaps a few for each center and each row that had the center as one of its two closest;
    n_features times as many where `apart` is not given. Memory: 4 bytes for each feature of a row,
    8 MiB, and some 60 bytes a row.
    """
    if len(centers) < 2 or len(data.rows) * len(centers) > MAX_TABLE_VALUES:
        return centers
    return refining.swap(data, centers, rng.random((n_steps, _CANDIDATES)), _LEAST_GAIN, apart)
