"""From a summary and a sample to the centers asked for.

The summary's centers are few, so k-means is run on them from several starts, with swaps out of
local optima, at almost no cost; the best few results are refined on the sample. While every row
fits the sample this is k-means on the data itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from onepass.cluster.anchors import Anchors
from onepass.cluster.arrays import (
    Doubles,
    Indices,
    Rows,
    Weighted,
    WeightedAny,
    WeightedRows,
)
from onepass.cluster.coarse import Coarse, Found, extended, from_neighbours
from onepass.cluster.core_set import CoreSet
from onepass.cluster.kernels import compiled
from onepass.cluster.kernels.results import Clustering
from onepass.cluster.lloyd import lloyd
from onepass.cluster.trials import (
    Trials,
    TrialSettings,
    make_trials,
    thin_rows,
)
from onepass.cluster.workers import spread

_QUICK = 3_000_000  # distances
_MANY, _FEW = (4, 2), (2, 1)  # candidates, and how many of them are gone on with
_HEATS = 6
_PART, _LEAST_ROWS = 4, 10_000
FINER = 0.3
"""By which iterations on the rows stop later than those of trials."""


class Finished(NamedTuple):
    """The final centers and what is known about them.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    trial_msds : tuple of float
        What each trial on the summary's centers reached, their own spread not counted.
    seconds : float
        That it took.
    """

    centers: Rows
    trial_msds: tuple[float, ...]
    seconds: float


class Refinement(Protocol):
    """Lloyd's iterations on the rows of a core-set."""

    def try_out(self, centers: Rows, max_iter: int) -> Clustering:
        """Make a few iterations on a part of the rows, or on all where they are few."""

    def run(self, centers: Rows, goal: float) -> Clustering:
        """Make all iterations on all rows; see `onepass.cluster.lloyd.lloyd`."""


class Workshop(Protocol):
    """Where the last step is done."""

    def leaves_to_host(self, data: WeightedRows, settings: TrialSettings, /) -> bool:
        """Whether trials of these are made by the processor."""

    def trials(
        self, data: WeightedRows, settings: TrialSettings, rngs: Sequence[np.random.Generator]
    ) -> Trials:
        """Cluster a few rows many times; see `onepass.cluster.trials.make_trials`."""

    def refinement(self, core_set: CoreSet, points: Rows, settings: TrialSettings) -> Refinement:
        """Return what refines centers on a core-set, the strata of which are those of `points`."""


class Core(Protocol):
    """A core-set, wherever its rows are."""

    def __len__(self) -> int: ...
    def thin(self, n_rows: int, rng: np.random.Generator) -> WeightedAny:
        """Draw so many rows in proportion to their weights, or return all if they are fewer."""

    def refinement(self, points: Rows, settings: TrialSettings) -> Refinement:
        """Return what refines centers on it; its strata are those of `points`."""


def finish(
    summary: WeightedRows,
    core_set: CoreSet | Core,
    settings: TrialSettings,
    seeds: np.random.SeedSequence,
    workshop: Workshop | None = None,
) -> Finished:
    """Make the final centers.

    Parameters
    ----------
    summary : WeightedRows
        The centers of a `Summary`.
    core_set : CoreSet or Core
        Of the rows themselves, or of a sample that stands for them.
    settings : TrialSettings
    seeds : numpy.random.SeedSequence
        Each trial draws from one of its own, so that the order of trials does not matter.
    workshop : Workshop, optional
        The processor by default.

    Notes
    -----
    Costs the trials on the summary, six iterations on a quarter of the sample for each of two
    candidates, or four where that is quick, and one run on all, or two.
    """
    return next(finish_each(summary, core_set, [settings], seeds, workshop))


def finish_each(
    summary: WeightedRows,
    core_set: CoreSet | Core,
    each: Sequence[TrialSettings],
    seeds: np.random.SeedSequence,
    workshop: Workshop | None = None,
) -> Iterator[Finished]:
    """Make the final centers of several numbers of clusters from the same rows.

    Parameters
    ----------
    each : sequence of TrialSettings
        Of rising numbers of clusters, and alike but for these and for trials.
    summary, core_set, seeds, workshop
        As `finish` takes them.

    Yields
    ------
    Finished
        One for each, as it is made. None costs more on the core-set than the one before: where
        trials have found nothing better, its centers are gone on with, and rows that cost most.
    """
    where = workshop or HostWorkshop()
    core = _HostCore(core_set, where) if isinstance(core_set, CoreSet) else core_set
    refinement = core.refinement(summary.rows, each[-1])
    usual = Coarse.of(summary)
    begun: list[_Begun] = []
    for settings in each:
        fresh = np.random.SeedSequence(seeds.entropy, spawn_key=seeds.spawn_key)
        rngs = [np.random.default_rng(seed) for seed in fresh.spawn(settings.n_trials + 1)]
        coarse = usual
        if len(summary.rows) < 1.5 * settings.n_clusters:
            coarse = Coarse.of(core.thin(thin_rows(settings.n_clusters), rngs[-1]))
        begun.append(_Begun(settings, coarse, rngs))
    found = from_neighbours(_make_all_trials(where, begun))
    before: Clustering | None = None
    for settings, coarse, trials, _, seconds in found:
        began = time.perf_counter()
        candidates = [coarse.in_full(trial.centers) for trial in trials.best[: _MANY[0]]]
        refined = _refine(refinement, candidates, settings, _n_tried(len(core), settings))
        if before is not None and refined.inertia > before.inertia:
            more = extended(before.centers, coarse.data, settings.n_clusters)
            refined = min(refined, refinement.run(more, math.inf), key=_inertia)
        before = refined
        total = float(coarse.data.weights.sum())
        msds = tuple(inertia / total for inertia in trials.inertias)
        yield Finished(refined.centers, msds, seconds + time.perf_counter() - began)


class _Begun(NamedTuple):
    """What trials of one number of clusters are made from."""

    settings: TrialSettings
    coarse: Coarse
    rngs: list[np.random.Generator]


def _make_all_trials(where: Workshop, begun: Sequence[_Begun]) -> list[Found]:
    """Make the trials of each number of clusters, those of several at a time.

    Threads that each work through all trials of a number wait less for one another than those that
    share them. The number of which more than a few are made has its trials shared all the same.
    """
    n_workers = begun[0].settings.n_workers
    is_parted = compiled.is_compiled() and all(
        where.leaves_to_host(one.coarse.points, one.settings) for one in begun
    )

    def make(one: _Begun) -> Found:
        began = time.perf_counter()
        settings, coarse, rngs = one
        shared = 1 if is_parted and settings.is_quick else n_workers
        trials = where.trials(coarse.points, settings._replace(n_workers=shared), rngs[:-1])
        return Found(settings, coarse, trials, rngs[-1], time.perf_counter() - began)

    longest_first = sorted(begun, key=lambda one: (one.settings.is_quick, -one.settings.n_clusters))
    found = spread(n_workers if is_parted else 1, make, longest_first)
    return sorted(found, key=lambda one: one.settings.n_clusters)


def _n_tried(n_rows: int, settings: TrialSettings) -> tuple[int, int]:
    """Return how many candidates are tried out, and how many of them are gone on with."""
    if settings.is_quick or settings.deadline.is_half_past:
        return 1, 1
    return _MANY if n_rows * settings.n_clusters <= _QUICK else _FEW


def _inertia(clustering: Clustering) -> float:
    return clustering.inertia


def _refine(
    refinement: Refinement,
    candidates: Sequence[Rows],
    settings: TrialSettings,
    n_of: tuple[int, int],
) -> Clustering:
    """Try the best candidates for a few iterations, and go to the end with those that do best.

    What is best on the summary is not always so on the rows. A part of them is enough to tell; it
    is not enough to move centers by, as it lacks most of the far rows. Where time is short, what is
    best on the summary it is.
    """
    n_tried, n_finalists = n_of
    if n_tried == 1:
        return refinement.run(candidates[0], math.inf)
    max_iter = min(_HEATS, settings.max_iter)
    reached: list[float] = []
    for start in candidates[:n_tried]:
        if reached and settings.deadline.is_half_past:
            break
        reached.append(refinement.try_out(start, max_iter).inertia)
    first, *others = np.argsort(reached, kind="stable")[:n_finalists]
    best = refinement.run(candidates[first], math.inf)
    for i in others:
        if settings.deadline.is_half_past:
            break
        rival = refinement.run(candidates[i], best.inertia)
        best = min(best, rival, key=_inertia)
    return best


class HostWorkshop:
    """The processor."""

    def leaves_to_host(self, _data: WeightedRows, _settings: TrialSettings, /) -> bool:
        """Whether trials of these are made by the processor."""
        return True

    def trials(
        self, data: WeightedRows, settings: TrialSettings, rngs: Sequence[np.random.Generator]
    ) -> Trials:
        """Cluster a few rows many times."""
        return make_trials(data, settings, rngs)

    def refinement(self, core_set: CoreSet, points: Rows, settings: TrialSettings) -> Refinement:
        """Return what refines centers, with bounds from the points that have absorbed the rows."""
        return _HostRefinement(core_set, points, settings)


class _HostCore:
    """A core-set in the memory of the host."""

    def __init__(self, core_set: CoreSet, workshop: Workshop) -> None:
        self._core_set, self._workshop = core_set, workshop

    def __len__(self) -> int:
        return len(self._core_set.data.rows)

    def thin(self, n_rows: int, rng: np.random.Generator) -> WeightedAny:
        return _thin(self._core_set.data, n_rows, rng)

    def refinement(self, points: Rows, settings: TrialSettings) -> Refinement:
        return self._workshop.refinement(self._core_set, points, settings)


class _HostRefinement:
    def __init__(self, core_set: CoreSet, points: Rows, settings: TrialSettings) -> None:
        self._data, strata = core_set
        self._anchors = Anchors.of(self._data.rows, points, strata)
        self._max_iter = settings.max_iter
        self._run = partial(
            lloyd,
            tol=settings.tol * FINER,
            n_workers=settings.n_workers,
            deadline=settings.deadline,
        )
        every = part_of(len(self._data.rows))
        part = slice(None, None, every)
        rows, weights = self._data
        few = self._data if every == 1 else Weighted(rows[part].copy(), weights[part].copy())
        self._try = partial(self._run, few, anchors=self._anchors.part(part))

    def try_out(self, centers: Rows, max_iter: int) -> Clustering:
        return self._try(centers, max_iter=max_iter)

    def run(self, centers: Rows, goal: float) -> Clustering:
        return self._run(
            self._data, centers, max_iter=self._max_iter, goal=goal, anchors=self._anchors
        )


def part_of(n_rows: int) -> int:
    """Return every how manieth row is used to try candidates out."""
    return _PART if n_rows >= _PART * _LEAST_ROWS else 1


def _thin(data: WeightedAny, n_rows: int, rng: np.random.Generator) -> WeightedAny:
    """Draw rows in proportion to their weights, which are all the same then."""
    if len(data.rows) <= n_rows:
        return data
    drawn, weights = thinned(data.weights, n_rows, rng)
    return Weighted(data.rows[drawn], weights)


def thinned(weights: Doubles, n_rows: int, rng: np.random.Generator) -> tuple[Indices, Doubles]:
    """Draw rows in proportion to their weights; returns which, and what each weighs then."""
    total = float(weights.sum())
    drawn = rng.choice(len(weights), n_rows, replace=False, p=weights / total)
    return drawn, np.full(n_rows, total / n_rows)
