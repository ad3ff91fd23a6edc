"""A sample of the stream, of bounded size, in which far rows are likelier than near ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Labels, Rows

_SLACK = 4  # rows are dropped when a quarter more than wanted are there, many at once


class Sample(NamedTuple):
    """What a reservoir holds, ready for use.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32
    weights : ndarray of shape (n,), float64
        How many samples of the stream each row stands for.
    strata : ndarray of shape (n,), int32
        The center of the summary that absorbed the row.
    """

    rows: Rows
    weights: Doubles
    strata: Labels


class Offer(NamedTuple):
    """Rows offered to a reservoir.

    Attributes
    ----------
    rows : ndarray of shape (n, n_features), float32
    log2_weights : ndarray of shape (n,), float64
        Of each row's weight, as if all had arrived at the beginning of the stream: with a
        half-life, a row that comes one half-life later weighs twice as much.
    log2_chances : ndarray of shape (n,), float64
        Of a number in proportion to which the row should be kept, on the same scale.
    strata : ndarray of shape (n,), int32
    """

    rows: Rows
    log2_weights: Doubles
    log2_chances: Doubles
    strata: Labels


class Reservoir:
    """Keeps the rows with the smallest keys ``u / chance``, u uniform in (0, 1].

    The keys of the rows kept do not depend on how the stream was cut, and reservoirs of several
    streams merge by keeping the smallest keys of all. A row of chance q is among the rows with
    keys below t with probability ``min(1, q t)``, and stands for ``1 / min(1, q t)`` times its
    weight. As long as every row fits, each stands for itself.

    Parameters
    ----------
    capacity : int
        Rows kept.
    n_features : int

    Attributes
    ----------
    complete : bool
        No row has been dropped yet.

    Notes
    -----
    Memory: ``1.25 * capacity * (4 * n_features + 28)`` bytes, taken as rows arrive.
    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006; Duffield,
    Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums", 2007.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self.capacity = capacity
        room = capacity + max(1, capacity // _SLACK)
        self._rows = np.empty((room, n_features), np.float32)
        self._keys = np.empty(room, np.float64)
        self._log2_weights = np.empty(room, np.float64)
        self._log2_chances = np.empty(room, np.float64)
        self._strata = np.empty(room, np.int32)
        self._size = 0
        self._log2_threshold = np.inf

    def __len__(self) -> int:
        return min(self._size, self.capacity)

    @property
    def complete(self) -> bool:
        """Whether every row offered so far is kept."""
        return bool(np.isinf(self._log2_threshold)) and self._size <= self.capacity

    def offer(self, offered: Offer, rng: np.random.Generator) -> None:
        """Take a share of the rows.

        Parameters
        ----------
        offered : Offer
        rng : numpy.random.Generator
            One number is drawn for each row, whether it is taken or not.
        """
        keys = np.log2(1.0 - rng.random(len(offered.rows))) - offered.log2_chances
        self._insert(offered, keys)

    def absorb(self, other: Reservoir, first_stratum: int, *, log2_later: float) -> None:
        """Take over the rows of another reservoir.

        Parameters
        ----------
        other : Reservoir
            Not changed.
        first_stratum : int
            Added to its strata.
        log2_later : float
            How many half-lives after this one's beginning the other's stream began.
        """
        threshold = other._log2_threshold - log2_later
        self._log2_threshold = min(self._log2_threshold, threshold)
        held = slice(0, other._size)
        offered = Offer(
            other._rows[held],
            other._log2_weights[held] + log2_later,
            other._log2_chances[held] + log2_later,
            other._strata[held] + np.int32(first_stratum),
        )
        self._drop_above_threshold()
        self._insert(offered, other._keys[held] - log2_later)

    def relabel(self, mapping: Labels) -> None:
        """Rename strata after centers were merged: stratum s becomes ``mapping[s]``."""
        held = slice(0, self._size)
        self._strata[held] = mapping[self._strata[held]]

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        held = slice(0, self._size)
        np.ldexp(self._rows[held], -exponent, out=self._rows[held])

    def sample(self, log2_age: float) -> Sample:
        """Return the rows kept and what they stand for.

        Parameters
        ----------
        log2_age : float
            The number of half-lives the stream has lasted, 0 without a half-life.
        """
        if self._size > self.capacity:
            self._compact()
        held = slice(0, self._size)
        log2_kept = np.minimum(self._log2_chances[held] + self._log2_threshold, 0.0)
        weights = np.exp2(self._log2_weights[held] - log2_age - log2_kept)
        return Sample(self._rows[held], weights, self._strata[held])

    def _insert(self, offered: Offer, keys: Doubles) -> None:
        accepted = np.flatnonzero(keys < self._log2_threshold)
        while len(accepted):
            free = len(self._keys) - self._size
            if not free:
                self._compact()
                accepted = accepted[keys[accepted] < self._log2_threshold]
                continue
            taken, accepted = accepted[:free], accepted[free:]
            new = slice(self._size, self._size + len(taken))
            np.take(offered.rows, taken, axis=0, out=self._rows[new], mode="clip")
            self._keys[new] = keys[taken]
            self._log2_weights[new] = offered.log2_weights[taken]
            self._log2_chances[new] = offered.log2_chances[taken]
            self._strata[new] = offered.strata[taken]
            self._size = new.stop

    def _compact(self) -> None:
        """Drop all but the smallest keys; the smallest one dropped is the new threshold."""
        keys = self._keys[: self._size]
        self._log2_threshold = float(np.partition(keys, self.capacity)[self.capacity])
        self._drop_above_threshold()

    def _drop_above_threshold(self) -> None:
        """Move rows from the end into the holes that dropped rows leave, in place."""
        kept = self._keys[: self._size] < self._log2_threshold
        size = int(kept.sum())
        holes = np.flatnonzero(~kept[:size])
        movers = size + np.flatnonzero(kept[size:])
        for column in (
            self._rows, self._keys, self._log2_weights, self._log2_chances, self._strata
        ):  # fmt: skip
            column[holes] = column[movers]
        self._size = size
