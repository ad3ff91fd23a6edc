"""Which centers to unite: the pairs whose union adds least to the cost.

Source: Ward, "Hierarchical grouping to optimize an objective function", 1963.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Rows

Indices: TypeAlias = npt.NDArray[np.intp]

_ROWS_AT_ONCE = 512
_LIGHTEST = 1e-30
_DOUBT = 2.0**-17


class Partners(NamedTuple):
    """The best partners of some centers.

    Attributes
    ----------
    partner : ndarray of shape (n,), intp
        The center that it costs least to unite each with.
    price : ndarray of shape (n,), float64
        What that adds to the cost: ``a b / (a + b) s`` for weights a and b at squared distance s.
    """

    partner: Indices
    price: Doubles


def cheapest_partners(centers: Rows, weights: Doubles, some: Indices) -> Partners:
    """Find for some centers the one that it costs least to unite each with, and that cost.

    Searched in float32 and priced in float64; beside far centers, where float32 does not tell close
    ones apart, searched in float64.

    Parameters
    ----------
    centers : ndarray of shape (n_centers, n_features), float32
    weights : ndarray of shape (n_centers,), float64
        Positive.
    some : ndarray of shape (n,), intp

    Notes
    -----
    Costs 2 * n * n_centers * n_features operations. Memory: 8 bytes for each pair of 512 centers
    with all.
    """
    if len(centers) < 2:
        return Partners(np.zeros(len(some), np.intp), np.zeros(len(some)))
    exact = centers - centers.mean(axis=0, dtype=np.float64)
    norms = np.einsum("ij,ij->i", exact, exact)
    partner = _Search(exact.astype(np.float32), weights).cheapest(some)
    gap = exact[some] - exact[partner]
    apart = np.einsum("ij,ij->i", gap, gap)
    doubt = np.flatnonzero(apart < _DOUBT * (norms[some] + norms[partner]))
    if len(doubt):
        partner[doubt] = _Search(exact, weights).cheapest(some[doubt])
        gap = exact[some[doubt]] - exact[partner[doubt]]
        apart[doubt] = np.einsum("ij,ij->i", gap, gap)
    own, of_partner = weights[some], weights[partner]
    return Partners(partner, own * (of_partner / (own + of_partner)) * apart)


def cheapest_unions(partner: Indices, price: Doubles, weights: Doubles, n_surplus: int) -> Indices:
    """Return for each center the one it is merged into, or itself.

    A center takes in one other, or more that weigh no more than itself together.
    """
    merged_into = np.arange(len(partner))
    added = np.zeros(len(partner))
    left = n_surplus
    for i in np.argsort(price, kind="stable")[: max(2, len(partner) // 3)]:
        light, heavy = i, partner[i]
        if weights[light] > weights[heavy]:
            light, heavy = heavy, light
        if added[light] or merged_into[light] != light or merged_into[heavy] != heavy:
            continue
        if added[heavy] and added[heavy] + weights[light] > weights[heavy]:
            continue
        added[heavy] += weights[light]
        merged_into[light] = heavy
        left -= 1
        if not left:
            break
    return merged_into


class _Search:
    """Looks for the center that each of some centers is united with at the least cost."""

    def __init__(self, centers: npt.NDArray[np.floating], weights: Doubles) -> None:
        self._centers = centers
        self._weights = np.maximum(weights / weights.max(), _LIGHTEST).astype(centers.dtype)
        self._norms = np.einsum("ij,ij->i", centers, centers)

    def cheapest(self, some: Indices) -> Indices:
        """Return the partner of each of `some`, a few hundred at a time."""
        found = np.empty(len(some), np.intp)
        for start in range(0, len(some), _ROWS_AT_ONCE):
            part = some[start : start + _ROWS_AT_ONCE]
            table = self._centers[part] @ self._centers.T
            table *= -2
            table += self._norms
            table += self._norms[part, None]
            np.maximum(table, 0, out=table)
            heavy = self._weights[part, None]
            table *= heavy * (self._weights / (heavy + self._weights))
            table[np.arange(len(part)), part] = np.inf
            table.argmin(axis=1, out=found[start : start + _ROWS_AT_ONCE])
        return found
