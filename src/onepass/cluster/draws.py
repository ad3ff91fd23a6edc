"""Draws in proportion to shares."""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import Doubles, Indices


def draw(shares: Doubles, uniforms: Doubles) -> Indices:
    """Draw indices with probability in proportion to their shares.

    Parameters
    ----------
    shares : ndarray of shape (n,), float64
        Not negative.
    uniforms : ndarray of shape (n_drawn,), float64
        From [0, 1).

    Returns
    -------
    ndarray of shape (n_drawn,), intp
        Empty if all shares are 0.
    """
    cumulative = np.cumsum(shares)
    if not cumulative[-1] > 0:
        return np.empty(0, np.intp)
    drawn = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
    found: Indices = np.minimum(drawn, len(shares) - 1)
    return found
