"""Search and accumulation on a CPU: what all other modules call.

Everything here expects clean input: C-contiguous float32 rows without NaN, labels in range. The
work is done by `native`, in C, where that has been compiled, and else by `reference`, with NumPy.
Measured on one core, with 500 centers, in microseconds a row::

    features                             2      10      26     100     400
    native                            0.07    0.14    0.29    0.99    3.77
    reference                         0.16    0.24    0.39    1.11    4.05
    faiss, IndexFlat's search         0.08    0.18    0.40    1.27    4.45
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Floats, Labels, Rows
from onepass.cluster.kernels import native
from onepass.cluster.kernels.results import Found, Sums

_DOUBT = 2.0**-19
"""Below this share of the squares it is the difference of, a squared distance in float32 is in
doubt: it keeps five of 24 bits."""

_DOUBLE_ROWS = 1024
"""Rows searched in float64 at a time."""


class Kernels(Protocol):
    """What a module of kernels has."""

    def search(self, rows: Rows, centers: Rows, origin: Rows, *, second: bool = False) -> Found:
        """Find the center with the least score for each row."""

    def sq_distances_to(self, rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
        """Return the squared distance of each row to the center chosen for it."""

    def accumulate(
        self, rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None
    ) -> Sums:
        """Sum the rows of each cluster in float64."""


class Nearest(NamedTuple):
    """The closest center of each row.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        The lowest index among equally close centers.
    sq_distances : ndarray of shape (n_samples,), float32
        Squared Euclidean distance, computed from the differences and so exact near zero.
    """

    labels: Labels
    sq_distances: Floats


class NearestInDouble(NamedTuple):
    """The closest center of each row, as `Nearest`, with squared distances in float64."""

    labels: Labels
    sq_distances: Doubles


class TwoNearest(NamedTuple):
    """The closest center of each row, and how far all others are at least.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
    distances : ndarray of shape (n_samples,), float32
        Euclidean distance to the closest center.
    others : ndarray of shape (n_samples,), float32
        No other center is closer than this; infinite where there is no other.
    """

    labels: Labels
    distances: Floats
    others: Floats


@functools.cache
def kernels() -> Kernels:
    """Return the kernels that are used here."""
    if native.is_compiled():
        return native
    from onepass.cluster.kernels import reference  # SciPy takes a while to import

    return reference


def describe() -> str:
    """Tell which kernels are used here, for a log."""
    if native.is_compiled():
        return f"compiled kernels, {native.fastest_lanes()} values at a time"
    return "NumPy, as the kernels were not compiled when this package was installed: slower"


def nearest_centers(rows: Rows, centers: Rows, origin: Rows | None = None) -> Nearest:
    """Find the closest center of each row.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
        At least one.
    origin : ndarray of shape (n_features,), float32, optional
        A point near the rows; by default their mean, which is the most precise, and makes near
        ties depend on the rows beside.

    Returns
    -------
    Nearest

    Notes
    -----
    The closest center has the least ``|c|^2 - 2 x.c``: 2 * n_clusters * n_features operations a
    row. That form loses digits far from the origin, which is therefore moved to the rows. The
    distance returned is computed anew from the differences; rows whose distance lies below what
    float32 can tell in that form are searched once more in float64.
    """
    found = kernels().search(rows, centers, _origin(rows) if origin is None else origin)
    _search_doubtful_again(found, rows, centers)
    return Nearest(found.labels, found.sq_distances)


def two_nearest_centers(rows: Rows, centers: Rows, origin: Rows | None = None) -> TwoNearest:
    """Find the closest center of each row, and a lower bound of the distance to all others.

    Parameters and costs are those of `nearest_centers`.
    """
    origin = _origin(rows) if origin is None else origin
    found = kernels().search(rows, centers, origin, second=True)
    _search_doubtful_again(found, rows, centers)
    others = found.sq_distances + found.ahead
    others -= _doubt(rows.shape[1]) * found.squares
    np.maximum(others, 0, out=others)
    return TwoNearest(found.labels, np.sqrt(found.sq_distances), np.sqrt(others, out=others))


def nearest_centers_in_double(rows: Rows, centers: Rows) -> NearestInDouble:
    """Find the closest center of each row in float64: slow, and right at any distance.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32

    Returns
    -------
    NearestInDouble
    """
    labels = np.empty(len(rows), np.int32)
    sq_distances = np.empty(len(rows))
    exact = centers.astype(np.float64)
    norms = np.einsum("ij,ij->i", exact, exact)
    for start in range(0, len(rows), _DOUBLE_ROWS):
        part = rows[start : start + _DOUBLE_ROWS].astype(np.float64)
        scores = part @ (-2 * exact.T)
        scores += norms
        chosen = scores.argmin(axis=1)
        part -= exact[chosen]
        labels[start : start + len(part)] = chosen
        sq_distances[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    return NearestInDouble(labels, sq_distances)


def sq_distances_to(rows: Rows, centers: Rows, chosen: npt.NDArray[np.integer]) -> Floats:
    """Return the squared distance of each row to the center chosen for it.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
    chosen : ndarray of shape (n_samples,), int

    Returns
    -------
    ndarray of shape (n_samples,), float32
    """
    return kernels().sq_distances_to(rows, centers, chosen)


def accumulate(rows: Rows, labels: Labels, n_clusters: int, weights: Doubles | None = None) -> Sums:
    """Sum the rows of each cluster, in float64.

    A mean far from the origin, or of a hundred million rows, is right to float32's last digit.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float32
    labels : ndarray of shape (n_samples,), int32
    n_clusters : int
    weights : ndarray of shape (n_samples,), optional
        One for each row by default.

    Returns
    -------
    Sums
    """
    return kernels().accumulate(rows, labels, n_clusters, weights)


def _origin(rows: Rows) -> Rows:
    """Return the mean of the rows, summed by a product: `mean` takes ten times as long."""
    mean: Rows = np.ones(len(rows), np.float32) @ rows / np.float32(max(len(rows), 1))
    return mean


def _doubt(n_features: int) -> float:
    """Products of many terms lose more digits, as the square root of their number."""
    return _DOUBT * max(1.0, math.sqrt(n_features) / 16)


def _search_doubtful_again(found: Found, rows: Rows, centers: Rows) -> None:
    """Search in float64 where float32 is in doubt."""
    exact = found.sq_distances
    doubtful = np.flatnonzero(exact < _doubt(rows.shape[1]) * found.squares)
    doubtful = doubtful[exact[doubtful] > 0]
    if len(doubtful):
        again = nearest_centers_in_double(rows[doubtful], centers)
        found.labels[doubtful], exact[doubtful] = again.labels, again.sq_distances
