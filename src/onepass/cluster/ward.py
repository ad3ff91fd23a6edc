"""Which centers to unite: the pairs whose union adds least to the cost.

Source: Ward, "Hierarchical grouping to optimize an objective function", 1963.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Indices, Rows
from onepass.cluster.kernels import cpu

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
    shares = np.maximum(weights / weights.max(), _LIGHTEST)
    partner = cpu.partners(exact.astype(np.float32), shares.astype(np.float32), some)
    gap = exact[some] - exact[partner]
    apart = np.einsum("ij,ij->i", gap, gap)
    doubt = np.flatnonzero(apart < _DOUBT * (norms[some] + norms[partner]))
    if len(doubt):
        partner[doubt] = cpu.partners_in_double(exact, shares, some[doubt])
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
