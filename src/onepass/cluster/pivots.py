"""Which centers of a summary are looked at first, so that most of the others need not be.

A row is searched among the pivots, and then among the centers near its pivot: what
`onepass.cluster.kernels.cpu.nearest_by_pivots` finds is what a search among all finds. How many
pivots are best, and whether they help at all, depends on the data; it is learnt from how many
centers had to be looked at. They are chosen by k-means++, anew whenever centers have been united.

Source: Hamerly, "Making k-means even faster", 2010, and Newling and Fleuret, "Fast k-means with
accurate bounds", 2016, pass centers over by the same inequality from one iteration to the next.
"""

from __future__ import annotations

import math

import numpy as np

from onepass.cluster.arrays import Doubles, Indices, Rows, WeightedRows
from onepass.cluster.kernels import cpu, refining
from onepass.cluster.kernels.rounded import rounds

_LEAST_FEATURES = 12
_FEWEST, _LEAST_SHARE, _MOST_SHARE = 16, 1 / 16, 1 / 4
_ROWS_A_PIVOT = 8
_GAIN = 0.9
_WORTH, _HOPELESS = 0.55, 0.95
_GOLDEN = (math.sqrt(5) - 1) / 2


class Pivots:
    """Chooses pivots, searches by them, and learns.

    Twice as many pivots are tried as long as a tenth fewer centers are looked at with them. Where
    that leaves more than half of all, none are used for a while, and a longer while each time.
    Where looking at all takes less effort, because centers are rounded, they must leave less.

    Parameters
    ----------
    capacity : int
        Centers of the summary.
    n_features : int
        Of few features, all centers are looked at in less time than it takes to choose some.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self._fewest = max(_FEWEST, int(capacity * _LEAST_SHARE))
        self._most = int(capacity * _MOST_SHARE) if n_features >= _LEAST_FEATURES else 0
        self._effort = 1.0  # of looking at all centers
        self._chosen: Indices = np.empty(0, np.intp)
        self._patience = 1
        self._resting = int(rounds(capacity, n_features))  # to see what that is worth
        self._begin()

    among = staticmethod(cpu.nearest_centers)
    partners = staticmethod(cpu.partners)

    @property
    def n_chosen(self) -> int:
        """How many pivots there are now; none where they do not help."""
        return len(self._chosen)

    def choose(self, centers: Rows, weights: Doubles) -> None:
        """Choose pivots among centers, which may be others than before.

        Parameters
        ----------
        centers : ndarray of shape (n_centers, n_features), float32
        weights : ndarray of shape (n_centers,), float64

        Notes
        -----
        Costs 3 * n_pivots * n_centers * n_features operations.
        """
        self._learn()
        if self._resting:
            self._resting -= 1
            self._chosen = self._chosen[:0]
        elif self._n <= min(self._most, len(centers)):
            # Even numbers instead of random ones: what is found does not depend on them.
            uniforms = np.arange(1, self._n + 1, dtype=np.float64) * _GOLDEN % 1
            self._chosen = refining.plus_plus(WeightedRows(centers, weights), self._n, 1, uniforms)

    def nearest(self, rows: Rows, centers: Rows) -> cpu.Nearest:
        """Find the closest center of each row; see `onepass.cluster.kernels.cpu.nearest_centers`.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features), float32
        centers : ndarray of shape (n_centers, n_features), float32
            Those of `choose`, moved or not; more may have followed.
        """
        if not 0 < _ROWS_A_PIVOT * len(self._chosen) <= len(rows):
            of_all, self._effort = cpu.nearest_of_all(rows, centers)
            return of_all
        found, n_looked = cpu.nearest_by_pivots(rows, centers, self._chosen)
        self._n_looked += n_looked
        self._n_pairs += len(rows) * len(centers)
        if self._n_looked > _HOPELESS * self._effort * self._n_pairs:
            self._rest()
        return found

    def _begin(self) -> None:
        self._n = self._fewest
        self._with_half = math.inf
        self._settled = False
        self._n_looked = self._n_pairs = 0

    def _rest(self) -> None:
        self._chosen = self._chosen[:0]
        self._resting = self._patience
        self._patience *= 2
        self._begin()

    def _learn(self) -> None:
        """Decide how many pivots are next, from the share of centers looked at with these."""
        if not self._n_pairs:
            return
        share = self._n_looked / self._n_pairs
        self._n_looked = self._n_pairs = 0
        if not self._settled and share > _GAIN * self._with_half:
            self._n //= 2
            share = self._with_half
            self._settled = True
        elif not self._settled and 2 * self._n <= self._most:
            self._n *= 2
            self._with_half = share
            return
        self._settled = True
        if share > _WORTH * self._effort:
            self._rest()
        else:
            self._patience = 1
