"""What rows have close to them tells which centers are far: most need not be searched.

A row of a sample was absorbed by a center of the summary, its anchor. Where the anchor's closest
center is ahead of the second by more than twice the row's distance from the anchor, it is the
row's closest, too: that is the triangle inequality. Summary centers are few, so that to search
them and measure each row once takes a small part of the time in which all rows are searched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import AnyRows, Floats, Labels, Rows
from onepass.cluster.kernels import cpu
from onepass.cluster.kernels.results import Bounds, Shifts

SLACK = 1e-5
"""Bounds are widened by this share of what they bound: they are kept in float32."""

_ROWS_AT_ONCE = 8192
_UNKNOWN = np.finfo(np.float32).max


class Anchors(NamedTuple):
    """A point near each row.

    Attributes
    ----------
    points : ndarray of shape (n_points, n_features), float32
    labels : ndarray of shape (n_samples,), int32
        Which point each row has.
    distances : ndarray of shape (n_samples,), float32
        From the row to that point.
    """

    points: Rows
    labels: Labels
    distances: Floats

    @classmethod
    def of(cls, rows: AnyRows, points: Rows, labels: Labels) -> Anchors:
        """Measure how far rows are from their points: 2 * n_features operations each."""
        distances = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            distances[part] = cpu.sq_distances_to(rows[part], points, labels[part])
        return cls(points, labels, np.sqrt(distances, out=distances))

    def part(self, rows: slice) -> Anchors:
        """Return the anchors of some rows."""
        return Anchors(self.points, self.labels[rows], self.distances[rows])

    def bounds(self, of_points: cpu.TwoNearest) -> Bounds:
        """Return what is known of each row.

        Parameters
        ----------
        of_points : TwoNearest
            The closest center of each point, and how far the others are.

        Returns
        -------
        Bounds
            The label is that of the point's closest center. The distance to it is not known yet.
        """
        lower = of_points.others[self.labels]
        lower *= np.float32(1 - SLACK)
        lower -= np.float32(1 + SLACK) * self.distances
        np.maximum(lower, 0, out=lower)
        upper = np.full(len(lower), _UNKNOWN, np.float32)
        return Bounds(of_points.labels[self.labels], upper, lower)


def half_distances_to_closest(centers: Rows) -> Floats:
    """Return half of the distance of each center to the closest other, or less."""
    return cpu.two_nearest_centers(centers, centers).others * np.float32(0.5)


def at_rest(centers: Rows) -> Shifts:
    """Return the shifts of centers that have not moved."""
    n = len(centers)
    nothing, infinite = np.zeros(n, np.float32), np.full(n, np.inf, np.float32)
    return Shifts(nothing, nothing, infinite, half_distances_to_closest(centers), 1 - SLACK)
