"""Centers that are searched again and again: laid out once, as a search reads them."""

from __future__ import annotations

from typing import Any

from onepass.cluster.arrays import Rows
from onepass.cluster.kernels.cpu import Nearest, kernels, search_doubtful_again


class PreparedCenters:
    """Centers, ready to be searched.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
        At least one; not to be changed as long as this is used.
    origin : ndarray of shape (n_features,), float32
        A point near the rows that will come.

    Notes
    -----
    Takes the memory of the centers once more, or twice where there are few.
    """

    def __init__(self, centers: Rows, origin: Rows) -> None:
        self._centers = centers
        self._origin = origin
        self._kernels = kernels()
        self._layout: Any = self._kernels.layout(centers, origin)

    def nearest(self, rows: Rows) -> Nearest:
        """Find the closest center of each row, as `onepass.cluster.kernels.cpu.nearest_centers`.

        Whatever rows stand beside it: a row's answer is the same to the last bit.
        """
        if self._layout is None:
            found = self._kernels.search(rows, self._centers, self._origin)
        else:
            found = self._kernels.search_among(rows, self._layout)
        search_doubtful_again(found, rows, self._centers)
        return Nearest(found.labels, found.sq_distances)
