"""What has been learnt of a stream so far: all that is kept between two batches.

What makes this module long is that it is the one place that knows all of these parts, and so each
thing that happens to all of them stands here: batches, merges, scales, states, final centers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Generic, cast

import numpy as np

from onepass.cluster.arrays import (
    Flags,
    Floats,
    Labels,
    Rows,
    Weighted,
    WeightedAny,
    WeightedRows,
)
from onepass.cluster.batches import checksum, mean_values
from onepass.cluster.core_set import (
    CoreSet,
    Msd,
    calibrate,
    estimate_msd,
    measure_rows,
    thinned,
)
from onepass.cluster.finish import Finished, Workshop, finish_each
from onepass.cluster.kept_sample import arrays_of, restore_sample
from onepass.cluster.offers import Offer
from onepass.cluster.parameters import Parameters
from onepass.cluster.parts import AnySummary, Parts, R
from onepass.cluster.reservoir import Reservoir
from onepass.cluster.row_buffer import Buffer
from onepass.cluster.state import State, of_rows, refuse_unless
from onepass.cluster.summary import Absorbed
from onepass.cluster.trials import TrialSettings
from onepass.errors import UserError

_SHORT_TERM = 0.1
FINISHING, _HOLDING_OUT = 1, 2
_HELD_OUT = 1 / 8
_MEASURED = 20_000


class Stream(Generic[R]):
    """A summary, a sample and a few counters.

    Parameters
    ----------
    parameters : Parameters
    parts : Parts
        Those of dense rows or of sparse ones.
    seed : int
        Of all random choices.

    Attributes
    ----------
    n_taken : int
        Rows absorbed; those held back as an incomplete batch are not counted.
    total_weight : float
        Of the rows absorbed, as far as it has not faded.
    short_term_msd : float
        Mean squared distance of rows to the summary's centers when they arrived, of about the
        last ten batches.
    pace : int
        How many times as fast as a processor rows are taken, about.

    Notes
    -----
    The random choices depend on the seed and on the first batch, so that shards of one stream that
    were given the same seed do not sample alike.
    """

    pace = 1

    def __init__(self, parameters: Parameters, parts: Parts[R], seed: int) -> None:
        self.n_features = parts.n_features
        self.n_taken = 0
        self.total_weight = 0.0
        self.short_term_msd = 0.0
        self.summary: AnySummary[R] = parts.summary
        self._parameters = parameters
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._reservoir: Reservoir[R] = parts.reservoir
        self._buffer: Buffer[R] = parts.buffer

    @property
    def n_rows(self) -> int:
        """Rows of positive weight that have arrived."""
        return self.n_taken + len(self._buffer)

    @property
    def n_centers(self) -> int:
        """Weighted centers that stand for the rows absorbed."""
        return len(self.summary)

    @property
    def n_opened(self) -> int:
        """Rows that were far enough from all centers to become one."""
        return self.summary.n_opened

    @property
    def n_values_a_row(self) -> float:
        """How many values a row has on average: of sparse rows, of those in the sample."""
        return mean_values(self._reservoir.rows)

    @property
    def long_term_msd(self) -> float:
        """Mean squared distance of all rows to the centers that absorbed them."""
        return self.summary.service_cost / self.total_weight if self.total_weight else 0.0

    @property
    def complete(self) -> bool:
        """Whether every row is still kept."""
        return self._reservoir.complete

    def push(self, data: Weighted[R]) -> None:
        """Take rows of any number; they are absorbed batch by batch."""
        for batch in self._buffer.push(data):
            self._take(batch)

    def flush(self) -> None:
        """Absorb the rows held back."""
        rest = self._buffer.flush()
        if rest is not None:
            self._take(rest)

    def land(self) -> None:
        """Take back what is elsewhere: nothing is."""

    def merge(self, other: Stream[Any]) -> None:
        """Take what another stream has learnt, as if its rows had followed.

        One of sparse rows takes from one of dense rows, too.
        """
        self._check_mergeable(other)
        self.flush()
        other.flush()
        other.land()
        self.pace = max(self.pace, other.pace)
        self._buffer.batch_size = self._parameters.n_in_batch(self.n_features)
        first_stratum, n_both = len(self.summary), self.n_taken + other.n_taken
        self._reservoir.absorb(other._reservoir, first_stratum, log2_later=self._half_lives())
        self._fade(other.n_taken)
        self.summary.append(other.summary)
        self.short_term_msd += (other.short_term_msd - self.short_term_msd) * other.n_taken / n_both
        self.n_taken = n_both
        self.total_weight += other.total_weight
        self._make_room()

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""
        self.flush()
        self.summary.rescale(exponent)
        self._reservoir.rescale(exponent)
        self.short_term_msd = math.ldexp(self.short_term_msd, -2 * exponent)

    def state(self) -> State:
        """Return all that has been learnt; see `restore`."""
        half_life = self._parameters.half_life
        held = self._buffer.held()
        facts = {
            "n_taken": self.n_taken,
            "total_weight": self.total_weight,
            "short_term_msd": self.short_term_msd,
            "service_cost": self.summary.service_cost,
            "n_opened": self.summary.n_opened,
            "log2_threshold": self._reservoir.log2_threshold,
            "n_sampled": list(self._reservoir.capacities),
            "n_in_batch": self._buffer.batch_size,
            "half_life": half_life,
            "random": self._rng.bit_generator.state,
        }
        arrays = self.summary.arrays() | arrays_of(self._reservoir) | of_rows("held", held.rows)
        return State(facts, arrays | {"held_weights": held.weights})

    def restore(self, state: State, *, sparse: bool) -> None:
        """Go on where another stream has left off; this one has taken nothing.

        With the same parameters, all that follows is what would have followed there, bit for bit.

        Parameters
        ----------
        state : State
            Of a stream of as many features; other parameters may differ from this one's.
        sparse : bool
            Whether its rows are sparse, as this one's are.

        Raises
        ------
        DecodeError
            When something of it cannot be.
        """
        self.n_taken = state.count("n_taken")
        self.total_weight = state.number("total_weight")
        self.short_term_msd = state.number("short_term_msd")
        self.summary.restore(state)
        refuse_unless(len(self.summary) > 0 or not self.n_taken, "it has rows and no centers")
        refuse_unless(self.total_weight > 0 or not self.n_taken, "its rows weigh nothing")
        self._restore_sample(state, sparse=sparse)
        self._rng = state.generator("random")
        held = state.rows("held", self.n_features, sparse=sparse)
        weights = state.array("held_weights", np.float64, (len(held),))
        refuse_unless((weights > 0).all(), "its held_weights are not all above 0")
        if self.n_taken:
            self._go_on()
        self._make_room()
        self.push(Weighted(cast("R", held), weights))

    def _restore_sample(self, state: State, *, sparse: bool) -> None:
        half_life = state.number("half_life")
        lasted = self.n_taken / half_life if half_life else 0.0
        rows = cast("R", state.rows("sample", self.n_features, sparse=sparse))
        later = self._half_lives() - lasted
        restore_sample(self._reservoir, state, rows, len(self.summary), later)

    def _go_on(self) -> None:
        """Have batches of the size that they have after the first."""
        self._buffer.batch_size = self._parameters.n_in_batch(self.n_features)

    def finish(self, settings: TrialSettings) -> Finished:
        """Make final centers: of one number of clusters, as `finish_each`."""
        return next(self.finish_each([settings]))

    def finish_each(self, each: Sequence[TrialSettings]) -> Iterator[Finished]:
        """Make final centers of several numbers of clusters; see `onepass.cluster.finish`.

        More rows may follow, and the same call gives the same centers.
        """
        self.flush()
        seeds = np.random.SeedSequence((self._seed, FINISHING))
        summary = self.summary.as_rows()
        return finish_each(summary, self._core_set(summary), each, seeds, self._workshop())

    def measure(self, centers: Rows) -> Msd:
        """Measure how far all rows are from their closest of `centers`."""
        sample = self._reservoir.sample(self._half_lives())
        if self.complete:
            return measure_rows(Weighted(sample.rows, sample.weights), centers)
        return estimate_msd(self.summary, sample, self._fitted(len(sample.rows)), centers)

    def rows_kept(self) -> WeightedAny:
        """Return rows that stand for all: all while they are kept, 20,000 about otherwise.

        Those of the sample, corrected by what the summary knows exactly.
        """
        self.flush()
        self.land()
        sample = self._reservoir.sample(self._half_lives())
        if self.complete:
            return Weighted(sample.rows, sample.weights)
        return thinned(self.summary.as_rows(), sample, _MEASURED)

    def _take(self, data: Weighted[R]) -> None:
        """One batch: let the old fade, absorb the rows, sample them, make room."""
        if not self.n_taken:
            self._rng = np.random.default_rng((self._seed, checksum(data.rows)))
            self._buffer.batch_size = self._parameters.n_in_batch(self.n_features)
        self._fade(len(data.rows))
        if len(self.summary):
            labels, sq_distances = self.summary.absorb(data, self._rng)
        else:
            labels, sq_distances = self._start(data)
        weight = float(data.weights.sum())
        self._watch(float(sq_distances @ data.weights) / weight)
        self.n_taken += len(data.rows)
        self.total_weight += weight
        self._sample(data, labels, sq_distances)
        self._make_room()

    def _start(self, data: Weighted[R]) -> Absorbed:
        """Choose the first centers among the first rows, and absorb those."""
        return self.summary.start(data, self._parameters.init, self._rng)

    def _workshop(self) -> Workshop | None:
        """Return where final centers are made; the processor by default."""
        return None

    def _check_mergeable(self, other: Stream[Any]) -> None:
        if other.n_features != self.n_features:
            raise UserError(f"cannot merge {other.n_features} features into {self.n_features}")
        half_lives = other._parameters.half_life, self._parameters.half_life
        if half_lives[0] != half_lives[1]:
            raise UserError(f"cannot merge half_life={half_lives[0]} into {half_lives[1]}")

    def _sample(self, data: Weighted[R], labels: Labels, sq_distances: Floats) -> None:
        """Offer the rows to the reservoir: half by weight, half by their share of the cost."""
        mean_cost = self.long_term_msd
        exact = sq_distances.astype(np.float64)  # a mean of tiny ones is 0 in float32
        cost_share = exact / mean_cost if mean_cost > 0 else np.ones_like(exact)
        chances = data.weights * (0.5 + 0.5 * cost_share)
        offered = Offer(data.rows, data.weights, chances, labels, self._half_lives())
        self._reservoir.offer(offered, self._rng)

    def _watch(self, batch_msd: float) -> None:
        known = self.short_term_msd if self.n_taken else batch_msd
        self.short_term_msd = known + _SHORT_TERM * (batch_msd - known)

    def _fade(self, n_rows: int) -> None:
        """Let everything taken so far weigh less because `n_rows` follow it."""
        if self._parameters.half_life:
            share = 0.5 ** (n_rows / self._parameters.half_life)
            self.summary.decay(share)
            self.total_weight *= share

    def _half_lives(self) -> float:
        half_life = self._parameters.half_life
        return self.n_taken / half_life if half_life else 0.0

    def _make_room(self) -> None:
        if self.summary.overfull():
            self._reservoir.relabel(self.summary.consolidate())

    def _core_set(self, summary: WeightedRows) -> CoreSet:
        """Return all rows while they are kept, else the sample, corrected by the summary."""
        sample = self._reservoir.sample(self._half_lives())
        if self.complete:
            return CoreSet(Weighted(sample.rows, sample.weights), sample.strata)
        return calibrate(summary, sample, self._fitted(len(sample.rows)))

    def _fitted(self, n: int) -> Flags:
        """Choose which of n rows of the sample centers are fitted to; the others measure them."""
        rng = np.random.default_rng((self._seed, _HOLDING_OUT))
        return rng.random(n) >= _HELD_OUT
