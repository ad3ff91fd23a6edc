"""A sample of the stream, of bounded size, in which far rows are likelier than near ones."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Indices, Labels, Rows
from onepass.cluster.offers import Kept, Offer, Sample, stand_for
from onepass.cluster.row_stores import DenseStore, R, RowStore, SparseStore
from onepass.sparse import SparseRows

_COLUMNS = "_keys", "_log2_weights", "_log2_chances", "_strata"
_LARGEST_LOG2 = 300  # beyond it, products of chances might leave the range of float64
_SLACK = 4


class _Keyed(NamedTuple, Generic[R]):
    """Some of the rows offered, with their keys; all as if they had come when the stream began."""

    rows: R
    which: Indices
    keys: Doubles
    log2_weights: Doubles
    log2_chances: Doubles
    strata: Labels


class Reservoir(Generic[R]):
    """Keeps the rows with the smallest keys ``u / chance``, u uniform in (0, 1].

    The keys of the rows kept do not depend on how the stream was cut, and reservoirs of several
    streams merge by keeping the smallest keys of all. A row of chance q is among the rows with
    keys below t with probability ``min(1, q t)``, and stands for ``1 / min(1, q t)`` times its
    weight. As long as every row fits, each stands for itself.

    Parameters
    ----------
    capacity : int
        Rows kept.
    store : RowStore
        Where they are kept; see `dense_reservoir` and `sparse_reservoir`.
    least : int
        Rows that are kept however little memory there is.

    Attributes
    ----------
    capacity : int
        Becomes less where sparse rows have more values than there is memory for.
    complete : bool
        No row has been dropped yet.

    Notes
    -----
    Memory: ``1.25 * capacity * 28`` bytes, and what the store takes, as rows arrive.
    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006; Duffield,
    Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums", 2007.
    """

    def __init__(self, capacity: int, store: RowStore[R], least: int = 1) -> None:
        self.capacity = capacity
        self._wanted = capacity
        self._store: RowStore[R] = store
        self._least = least
        room = self._room
        self._keys = np.empty(room, np.float64)
        self._log2_weights = np.empty(room, np.float64)
        self._log2_chances = np.empty(room, np.float64)
        self._strata = np.empty(room, np.int32)
        self._log2_threshold = np.inf

    @property
    def _room(self) -> int:
        return _room(self.capacity)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the room for more rows behind when it goes to another process."""
        if self._store.size > self.capacity:
            self._compact()
        self._store.trim()
        state = self.__dict__.copy()
        for name in _COLUMNS:
            state[name] = state[name][: self._store.size]
        return state

    def __len__(self) -> int:
        return min(self._store.size, self.capacity)

    @property
    def complete(self) -> bool:
        """Whether every row offered so far is kept."""
        return bool(np.isinf(self._log2_threshold)) and self._store.size <= self.capacity

    @property
    def rows(self) -> R:
        """The rows kept, and some that may be dropped yet."""
        return self._store.held()

    def offer(self, offered: Offer[R], rng: np.random.Generator) -> None:
        """Take a share of the rows.

        Parameters
        ----------
        offered : Offer
        rng : numpy.random.Generator
            One number is drawn for each row, whether it is taken or not.
        """
        rows, weights, chances, strata, log2_age = offered
        uniforms = 1.0 - rng.random(len(rows))
        which = self._likely(chances, uniforms, log2_age)
        log2_chances = np.log2(chances[which]) + log2_age
        keys = np.log2(uniforms[which]) - log2_chances
        log2_weights = np.log2(weights[which]) + log2_age
        self._insert(_Keyed(rows, which, keys, log2_weights, log2_chances, strata[which]))

    def kept(self, *, compact: bool = True) -> Kept[R]:
        """Return all that is held: views.

        Parameters
        ----------
        compact : bool
            Drop the rows beyond the capacity first. Which ones are kept does not depend on when
            that is done, but the order they stand in does.
        """
        if compact and self._store.size > self.capacity:
            self._compact()
        held = slice(0, self._store.size)
        return Kept(
            self._store.held(),
            self._keys[held],
            self._log2_weights[held],
            self._log2_chances[held],
            self._strata[held],
            self._log2_threshold,
        )

    def keep(self, kept: Kept[R], capacity: int | None = None) -> None:
        """Hold what another reservoir has held, and nothing else.

        Parameters
        ----------
        kept : Kept
        capacity : int, optional
            What it had come down to from the capacity that this one has.
        """
        if capacity is not None:
            self.capacity = capacity
        self._store.clear()
        self._log2_threshold = np.inf
        which = np.arange(len(kept.keys))
        columns = kept.keys, kept.log2_weights, kept.log2_chances, kept.strata
        self._insert(_Keyed(kept.rows, which, *columns))
        self._log2_threshold = min(kept.log2_threshold, self._log2_threshold)

    @property
    def capacities(self) -> tuple[int, int]:
        """The capacity now, and as it was at first."""
        return self.capacity, self._wanted

    @property
    def log2_threshold(self) -> float | None:
        """Of the keys of rows kept; None as long as every row is."""
        return None if np.isinf(self._log2_threshold) else self._log2_threshold

    def absorb(self, other: Reservoir[Any], first_stratum: int, *, log2_later: float) -> None:
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
        held = slice(0, other._store.size)
        offered = _Keyed(
            self._store.as_kept(other._store.held()),
            np.arange(other._store.size),
            other._keys[held] - log2_later,
            other._log2_weights[held] + log2_later,
            other._log2_chances[held] + log2_later,
            other._strata[held] + np.int32(first_stratum),
        )
        self._drop_above_threshold()
        self._insert(offered)

    def relabel(self, mapping: Labels) -> None:
        """Rename strata after centers were merged: stratum s becomes ``mapping[s]``."""
        held = slice(0, self._store.size)
        self._strata[held] = mapping[self._strata[held]]

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        self._store.rescale(exponent)

    def sample(self, log2_age: float) -> Sample[R]:
        """Return the rows kept and what they stand for.

        Parameters
        ----------
        log2_age : float
            The number of half-lives the stream has lasted, 0 without a half-life.
        """
        if self._store.size > self.capacity:
            self._compact()
        held = slice(0, self._store.size)
        columns = self._log2_weights[held], self._log2_chances[held]
        weights = stand_for(*columns, self._log2_threshold, log2_age)
        return Sample(self._store.held(), weights, self._strata[held])

    def _likely(self, chances: Doubles, uniforms: Doubles, log2_age: float) -> Indices:
        """Return the rows whose keys may be small enough: the others need no logarithms."""
        log2_limit = self._log2_threshold + log2_age
        if log2_limit > _LARGEST_LOG2:
            return np.arange(len(chances))
        return np.flatnonzero(uniforms <= chances * (2.0**log2_limit * (1 + 1e-9)))

    def _insert(self, offered: _Keyed[R]) -> None:
        keys = offered.keys
        accepted = np.flatnonzero(keys < self._log2_threshold)
        while len(accepted):
            if len(self._keys) < self._room:
                self._restore_room()
            free = len(self._keys) - self._store.size
            if not free:
                self._compact()
                accepted = accepted[keys[accepted] < self._log2_threshold]
                continue
            taken, accepted = accepted[:free], accepted[free:]
            new = slice(self._store.size, self._store.size + len(taken))
            which = offered.which[taken]
            self._store.put(offered.rows, which)
            self._keys[new] = keys[taken]
            self._log2_weights[new] = offered.log2_weights[taken]
            self._log2_chances[new] = offered.log2_chances[taken]
            self._strata[new] = offered.strata[taken]
            if self._store.overfull():
                self._keep_fewer()
                accepted = accepted[keys[accepted] < self._log2_threshold]

    def _keep_fewer(self) -> None:
        """Keep as many rows from now on as the store has memory for."""
        n = self._store.n_fitting(np.argsort(self._keys[: self._store.size], kind="stable"))
        self.capacity = max(self._least, min(n, self.capacity))
        if self._store.size > self.capacity:
            self._compact()

    def _restore_room(self) -> None:
        """Make the room that was left behind in another process."""
        for name in _COLUMNS:
            held: npt.NDArray[Any] = getattr(self, name)
            column = np.empty(self._room, held.dtype)
            column[: self._store.size] = held
            setattr(self, name, column)

    def _compact(self) -> None:
        """Drop all but the smallest keys; the smallest one dropped is the new threshold."""
        keys = self._keys[: self._store.size]
        self._log2_threshold = float(np.partition(keys, self.capacity)[self.capacity])
        self._drop_above_threshold()

    def _drop_above_threshold(self) -> None:
        """Move rows from the end into the holes that dropped rows leave, in place."""
        kept = self._keys[: self._store.size] < self._log2_threshold
        size = int(kept.sum())
        holes = np.flatnonzero(~kept[:size])
        movers = size + np.flatnonzero(kept[size:])
        self._store.drop(holes, movers, size)
        for name in _COLUMNS:
            column = getattr(self, name)
            column[holes] = column[movers]


def dense_reservoir(capacity: int, n_features: int) -> Reservoir[Rows]:
    """Return a reservoir of dense rows: ``1.25 * capacity * (4 * n_features + 28)`` bytes."""
    return Reservoir(capacity, DenseStore(_room(capacity), n_features))


def sparse_reservoir(
    capacity: int, n_features: int, *, most_values: int, least: int
) -> Reservoir[SparseRows]:
    """Return a reservoir of sparse rows, which may have so many values together.

    Memory: ``35 * capacity + 10 * most_values`` bytes, and as much of values again when rows are
    dropped.
    """
    return Reservoir(capacity, SparseStore(most_values, n_features), least)


def _room(capacity: int) -> int:
    """Rows are dropped when a quarter more than wanted are there, many at once."""
    return capacity + max(1, capacity // _SLACK)
