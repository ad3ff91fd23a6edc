"""What goes into a reservoir, and what comes out of it."""

from __future__ import annotations

from typing import Generic, NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Labels
from onepass.cluster.row_stores import R


class Sample(NamedTuple, Generic[R]):
    """What a reservoir holds, ready for use.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32; or SparseRows
    weights : ndarray of shape (n,), float64
        How many samples of the stream each row stands for.
    strata : ndarray of shape (n,), int32
        The center of the summary that absorbed the row.
    """

    rows: R
    weights: Doubles
    strata: Labels


def stand_for(
    log2_weights: Doubles, log2_chances: Doubles, log2_threshold: float, log2_age: float
) -> Doubles:
    """Return how many rows of the stream each row that has been kept stands for.

    Parameters
    ----------
    log2_weights, log2_chances : ndarray of shape (n,), float64
        As `Kept` has them.
    log2_threshold : float
        Of keys.
    log2_age : float
        The number of half-lives the stream has lasted, 0 without a half-life.
    """
    log2_kept = np.minimum(log2_chances + log2_threshold, 0.0)
    weights: Doubles = np.exp2(log2_weights - log2_age - log2_kept)
    return weights


class Offer(NamedTuple, Generic[R]):
    """Rows offered to a reservoir.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32; or SparseRows
    weights : ndarray of shape (n,), float64
    chances : ndarray of shape (n,), float64
        Numbers above 0 in proportion to which the rows should be kept.
    strata : ndarray of shape (n,), int32
    log2_age : float
        The number of half-lives the stream has lasted, 0 without a half-life: a row that comes one
        half-life later weighs twice as much, and is twice as likely to be kept.
    """

    rows: R
    weights: Doubles
    chances: Doubles
    strata: Labels
    log2_age: float = 0.0


class Kept(NamedTuple, Generic[R]):
    """All that a reservoir holds, to go on with it elsewhere.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32; or SparseRows
    keys, log2_weights, log2_chances : ndarray of shape (n,), float64
        As if the rows had come when the stream began.
    strata : ndarray of shape (n,), int32
    log2_threshold : float
        Of the keys: infinite as long as every row is kept.
    """

    rows: R
    keys: Doubles
    log2_weights: Doubles
    log2_chances: Doubles
    strata: Labels
    log2_threshold: float
