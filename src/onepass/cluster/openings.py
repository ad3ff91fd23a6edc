"""Which rows of a batch open a center of their own: the rule of facility location."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Indices, Rows, Weighted, WeightedRows
from onepass.cluster.kernels import cpu, sparse
from onepass.sparse import SparseRows

_NOISE = 1e-9
"""Squared distances below this share of a row's own squared norm are rounding, not distance."""


class Openings(NamedTuple):
    """Rows that open centers.

    Attributes
    ----------
    rows : ndarray of int
        Their indices, in order.
    flooded : bool
        More rows could open than there is room for, as where the scale jumps or a new region
        begins. Once these have opened, the others may be near, or must be asked again.
    """

    rows: Indices
    flooded: bool


def choose_openings(
    data: Weighted[Rows] | Weighted[SparseRows],
    sq_distances: Floats,
    coins: Doubles,
    price: float,
    room: int,
) -> Openings:
    """Flip the coin of every row, as if the rows came one by one.

    A row opens with a probability of its weighted squared distance over the price. One opened
    nearby makes the rows behind it less likely to open; distances only shrink, so only rows whose
    coin shows "open" against the centers held need to be looked at again.

    Parameters
    ----------
    data : Weighted
    sq_distances : ndarray of shape (n_samples,), float32
        To the closest of the centers held.
    coins : ndarray of shape (n_samples,), float64
        Uniform in (0, 1].
    price : float
        Of opening a center; raised here until few enough rows can pay it.
    room : int
        Centers that may be opened.

    Returns
    -------
    Openings

    Notes
    -----
    Costs 3 * n_opened * n_candidates * n_features operations, at most `room` of each.
    """
    rows, weights = data
    cost = sq_distances * weights
    candidates = np.flatnonzero(cost > coins * price)
    norms = _squares(rows[candidates])
    candidates = candidates[sq_distances[candidates] > _NOISE * norms]
    flooded = len(candidates) > room
    if flooded:
        worth = cost[candidates] / coins[candidates]
        price = float(np.partition(worth, -room)[-room])
        candidates = candidates[worth >= price][:room]
    left, coins = sq_distances[candidates].astype(np.float64), coins[candidates]
    far, heavy = rows[candidates], weights[candidates]
    if isinstance(far, SparseRows):
        paying = sparse.open_far(Weighted(far, heavy), left, coins, price)
    else:
        paying = cpu.open_far(WeightedRows(far, heavy), left, coins, price)
    opened = candidates[paying]
    return Openings(opened, flooded and len(opened) > 0)


def _squares(rows: Rows | SparseRows) -> Floats | Doubles:
    if isinstance(rows, SparseRows):
        return sparse.squares_of(rows)
    squares: Floats = np.einsum("ij,ij->i", rows, rows)
    return squares
