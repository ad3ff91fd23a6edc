"""Which centers to unite: the pairs whose union adds least to the cost.

Source: Ward, "Hierarchical grouping to optimize an objective function", 1963.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from onepass.cluster.arrays import Doubles, Flags, Floats, Indices, Rows
from onepass.cluster.kernels import cpu

Search: TypeAlias = Callable[[Rows, Floats, Indices], Indices]

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


class Groups(NamedTuple):
    """Which centers become one.

    Attributes
    ----------
    kept : ndarray of shape (n_groups,), intp
        The center of each group in whose place it goes on, in rising order.
    group : ndarray of shape (n_centers,), intp
        Of each center.
    changed : ndarray of shape (n_groups,), bool
        Whether there are several.
    """

    kept: Indices
    group: Indices
    changed: Flags


class Unitable(Protocol):
    """Weighted centers that can be united."""

    weights: Doubles

    def partners_of(self, some: Indices) -> Partners:
        """Find for some centers the one that it costs least to unite each with."""

    def unite(self, groups: Groups) -> None:
        """Unite each group, and leave the others as they are."""


def consolidate(centers: Unitable, target: int) -> Indices:
    """Merge the pairs of centers whose union costs least, until there are no more than asked for.

    Parameters
    ----------
    centers : Unitable
    target : int
        One at least.

    Returns
    -------
    ndarray of shape (n_centers_before,), intp
        The center that each former center is part of now.

    Notes
    -----
    Uniting centers of weights a and b at squared distance s adds ``a b / (a + b) s`` to the cost
    (Ward). Only the cheapest third of the centers is merged before distances are taken anew: going
    on would unite far centers whose neighbours are taken already.
    """
    everything = np.arange(len(centers.weights))
    partner, price = centers.partners_of(everything)
    mapping = everything
    while (n_surplus := len(centers.weights) - target) > 0:
        merged_into = cheapest_unions(partner, price, centers.weights, n_surplus)
        kept, group = np.unique(merged_into, return_inverse=True)
        changed = np.bincount(group) > 1
        centers.unite(Groups(kept, group, changed))
        mapping = group[mapping]
        partner, price = group[partner[kept]], price[kept]
        stale = np.flatnonzero(changed | changed[partner])
        partner[stale], price[stale] = centers.partners_of(stale)
    return mapping


def cheapest_partners(
    centers: Rows, weights: Doubles, some: Indices, search: Search = cpu.partners
) -> Partners:
    """Find for some centers the one that it costs least to unite each with, and that cost.

    Searched in float32 and priced in float64; beside far centers, where float32 does not tell close
    ones apart, searched in float64.

    Parameters
    ----------
    centers : ndarray of shape (n_centers, n_features), float32
    weights : ndarray of shape (n_centers,), float64
        Positive.
    some : ndarray of shape (n,), intp
    search : callable
        Finds partners in float32: see `onepass.cluster.kernels.cpu.partners`.

    Notes
    -----
    Costs 2 * n * n_centers * n_features operations. Memory: 8 bytes for each pair of 512 centers
    with all.
    """
    if len(centers) < 2:
        return Partners(np.zeros(len(some), np.intp), np.zeros(len(some)))
    exact = centers - centers.mean(axis=0, dtype=np.float64)
    norms = np.einsum("ij,ij->i", exact, exact)
    shares = shares_of(weights)
    partner = search(exact.astype(np.float32), shares.astype(np.float32), some)
    gap = exact[some] - exact[partner]
    apart = np.einsum("ij,ij->i", gap, gap)
    doubt = np.flatnonzero(is_doubtful(apart, norms[some] + norms[partner]))
    if len(doubt):
        partner[doubt], apart[doubt] = partners_in_double(exact, shares, some[doubt])
    return Partners(partner, prices(weights, some, partner, apart))


def shares_of(weights: Doubles) -> Doubles:
    """Return weights as shares of the largest, none of them 0 in float32."""
    shares: Doubles = np.maximum(weights / weights.max(), _LIGHTEST)
    return shares


def is_doubtful(sq_distances: Doubles, squares: Doubles) -> Flags:
    """Whether products in float32 may have hidden a closer one, beside squares of such a size."""
    doubtful: Flags = sq_distances < _DOUBT * squares
    return doubtful


def partners_in_double(exact: Doubles, shares: Doubles, some: Indices) -> tuple[Indices, Doubles]:
    """Return the partners of some centers, searched in float64, and how far they are, squared."""
    partner: Indices = cpu.partners_in_double(exact, shares, some)
    gap = exact[some] - exact[partner]
    apart: Doubles = np.einsum("ij,ij->i", gap, gap)
    return partner, apart


def prices(weights: Doubles, some: Indices, partner: Indices, sq_distances: Doubles) -> Doubles:
    """Return what it costs to unite some centers with their partners."""
    own, of_partner = weights[some], weights[partner]
    price: Doubles = own * (of_partner / (own + of_partner)) * sq_distances
    return price


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
