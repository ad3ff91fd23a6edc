"""Swaps of centers with NumPy, in float64.

`onepass.cluster.local_search` says what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Rows, WeightedRows
from onepass.cluster.draws import draw

_TABLE_ROWS = 512


def swap(
    data: WeightedRows,
    centers: Rows,
    uniforms: Doubles,
    least_gain: float,
    apart: Floats | None = None,
) -> Rows:
    """Put rows in the place of centers where that lowers the inertia.

    Memory: 16 bytes for each feature of a row, and for each pair of 512 rows and a center.
    """
    state = _State.of(data, centers)
    for numbers in uniforms:
        candidates = state.draw(numbers)
        if not len(candidates):
            break
        best = state.best_swap(candidates, apart)
        if best.inertia < state.inertia * (1 - least_gain):
            state.apply(best)
    return state.centers.astype(np.float32) + state.origin


@dataclass(frozen=True)
class _Swap:
    row: int
    center: int
    inertia: float
    sq_distances: Doubles


@dataclass
class _State:
    """Rows with their two closest centers, in float64 and near the origin."""

    rows: Doubles
    norms: Doubles
    weights: Doubles
    origin: Rows
    centers: Doubles
    closest: npt.NDArray[np.intp]
    sq_distances: Doubles

    @classmethod
    def of(cls, data: WeightedRows, centers: Rows) -> _State:
        origin = data.rows.mean(axis=0)
        rows = data.rows.astype(np.float64) - origin
        exact = centers.astype(np.float64) - origin
        norms = np.einsum("ij,ij->i", rows, rows)
        return cls(rows, norms, data.weights, origin, exact, *_two_closest(rows, exact))

    @property
    def inertia(self) -> float:
        return float(self.weights @ self.sq_distances[:, 0])

    def draw(self, uniforms: Doubles) -> npt.NDArray[np.intp]:
        """Draw rows in proportion to what they add to the inertia; none if that is 0."""
        drawn = draw(self.weights * self.sq_distances[:, 0], uniforms)
        return np.unique(drawn).astype(np.intp)

    def best_swap(self, candidates: npt.NDArray[np.intp], apart: Floats | None = None) -> _Swap:
        """Find the row, and the center missed least when the row takes its place."""
        table = self._measured(candidates) if apart is None else apart[candidates]
        first, second = self.sq_distances.T
        with_all = np.minimum(table, first)
        losses = self.weights * (np.minimum(table, second) - with_all)
        swaps = []
        for i, loss in enumerate(losses):
            missed = np.bincount(self.closest[:, 0], loss, len(self.centers))
            center = int(missed.argmin())
            inertia = float(self.weights @ with_all[i]) + float(missed[center])
            swaps.append(_Swap(int(candidates[i]), center, inertia, table[i]))
        return min(swaps, key=lambda swap: swap.inertia)

    def _measured(self, candidates: npt.NDArray[np.intp]) -> Doubles:
        table = self.rows[candidates] @ (-2 * self.rows.T)
        table += self.norms
        table += self.norms[candidates, None]
        return np.maximum(table, 0, out=table)

    def apply(self, swap: _Swap) -> None:
        """Swap, and update the two closest centers of each row."""
        self.centers[swap.center] = self.rows[swap.row]
        lost = (self.closest == swap.center).any(axis=1)
        to_row = swap.sq_distances
        nearer = ~lost & (to_row < self.sq_distances[:, 0])
        second = ~lost & ~nearer & (to_row < self.sq_distances[:, 1])
        self.closest[nearer, 1] = self.closest[nearer, 0]
        self.sq_distances[nearer, 1] = self.sq_distances[nearer, 0]
        self.closest[nearer, 0] = self.closest[second, 1] = swap.center
        self.sq_distances[nearer, 0] = to_row[nearer]
        self.sq_distances[second, 1] = to_row[second]
        self.closest[lost], self.sq_distances[lost] = _two_closest(self.rows[lost], self.centers)


def _two_closest(rows: Doubles, centers: Doubles) -> tuple[npt.NDArray[np.intp], Doubles]:
    """Return the closest and second closest center of each row, and their squared distances."""
    closest = np.empty((len(rows), 2), np.intp)
    sq_distances = np.empty((len(rows), 2))
    factor, norms = -2 * centers.T, np.einsum("ij,ij->i", centers, centers)
    for start in range(0, len(rows), _TABLE_ROWS):
        part = slice(start, start + _TABLE_ROWS)
        table = rows[part] @ factor
        table += norms
        table += np.einsum("ij,ij->i", rows[part], rows[part])[:, None]
        np.maximum(table, 0, out=table)
        two = np.argpartition(table, 1, axis=1)[:, :2]
        found = np.take_along_axis(table, two, axis=1)
        order = np.argsort(found, axis=1)
        closest[part] = np.take_along_axis(two, order, axis=1)
        sq_distances[part] = np.take_along_axis(found, order, axis=1)
    return closest, sq_distances
