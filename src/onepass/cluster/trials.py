"""Many clusterings of a few rows, from starts drawn and from the best of those crossed.

A start that Lloyd's iterations and swaps have settled is a local optimum, right here and wrong
there. A crossing takes each center from one of two such results, and settles again: what is right
in either stays likely, and what both agree on stays as it is.

Sources: Franti, Kivijarvi, Kaukoranta and Nevalainen, "Genetic algorithms for large-scale
clustering problems", 1997; Gribel and Vidal, "HG-means: a scalable hybrid genetic algorithm for
minimum sum-of-squares clustering", 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Floats, Rows, WeightedRows
from onepass.cluster.deadline import NEVER, Deadline
from onepass.cluster.kernels import cpu, refining
from onepass.cluster.kernels.results import Clustering
from onepass.cluster.lloyd import lloyd
from onepass.cluster.local_search import swap_centers
from onepass.cluster.seeding import Seeding, choose_centers
from onepass.cluster.workers import spread, worth_threads

_DRAWN, _DRAWN_FOR_FEW, _FEW_CLUSTERS = 10, 20, 20
_ROUND, _PATIENCE, _AGREEING = 10, 2, 3
_KEPT = 10
_SAME = 1e-4
_SWAPS, _SWAPS_CROSSED, _SWAPS_QUICK = 100, 30, 20
_MOST_PAIRED = 2304  # rows, of which all pairs take 20 MiB


class TrialSettings(NamedTuple):
    """How trials are made; see `onepass.KMeans` for what each means."""

    n_clusters: int
    seeding: Seeding
    n_trials: int
    max_iter: int
    tol: float
    n_workers: int
    deadline: Deadline = NEVER
    is_quick: bool = False
    """Whether less than the best will do: see `onepass.cluster.finish.finish_each`."""


class Trials(NamedTuple):
    """What trials have reached.

    Attributes
    ----------
    best : list of Clustering
        Up to ten that differ, the best first.
    inertias : list of float
        Of all, in the order in which they were made.
    """

    best: list[Clustering]
    inertias: list[float]


class TrialRows(WeightedRows):
    """A few rows that trials of several numbers of clusters are made on."""

    @cached_property
    def apart(self) -> Floats | None:
        """The squared distances of all pairs of rows, unless these are too many.

        As `onepass.cluster.kernels.refining.between` returns them; 20 MiB at most.
        """
        return refining.between(self.rows) if len(self.rows) <= _MOST_PAIRED else None


def thin_rows(n_clusters: int) -> int:
    """Return how many rows trials are made on where the summary has too few centers for them."""
    return max(2000, 10 * n_clusters)


def make_trials(
    data: WeightedRows, settings: TrialSettings, rngs: Sequence[np.random.Generator]
) -> Trials:
    """Cluster a few rows many times.

    The first ten trials start from rows drawn, twenty where there are at most twenty clusters, for
    which there is less to cross; all others from two results crossed. Ends early where going on is
    no use: when three trials agree on the best result, or two rounds of ten have not bettered it.
    Of the time until a deadline, half is for trials; one is made in any case.

    Parameters
    ----------
    data : WeightedRows
        At least as many rows as clusters; a few thousand, such as the centers of a summary.
    settings : TrialSettings
    rngs : sequence of numpy.random.Generator
        One for each trial, so that the number of threads does not matter.

    Notes
    -----
    Each trial is two runs of Lloyd's iterations and 100 tried swaps, 30 for those crossed. Memory:
    20 MiB at most for the distances of all pairs of rows, and what a trial takes for each thread.
    """
    apart = _apart(data)
    do_all = partial(spread, _n_threads(data, settings))
    n_drawn = _DRAWN_FOR_FEW if settings.n_clusters <= _FEW_CLUSTERS else _DRAWN
    draw = partial(_draw, data, apart, settings)
    drawn = _in_time(do_all(partial(_unless_late, settings, draw), rngs[:n_drawn]))
    drawn = drawn or [draw(rngs[0])]
    trials = Trials(fittest(drawn), [trial.inertia for trial in drawn])
    n_in_vain = 0
    for first in range(n_drawn, len(rngs), _ROUND):
        if n_in_vain == _PATIENCE or _agreed(trials) or len(trials.best) < 2:
            break
        cross = partial(_cross, data, apart, settings, trials.best)
        crossed = _in_time(
            do_all(partial(_unless_late, settings, cross), rngs[first : first + _ROUND])
        )
        trials.inertias.extend(trial.inertia for trial in crossed)
        best = fittest([*trials.best, *crossed])
        n_in_vain = n_in_vain + 1 if _same(trials.best[0], best[0].inertia) else 0
        trials = trials._replace(best=best)
    return trials


def _n_threads(data: WeightedRows, settings: TrialSettings) -> int:
    """Return how many trials to make at a time."""
    return worth_threads(settings.n_workers, 2 * data.rows.size * settings.n_clusters)


def settled(
    data: WeightedRows, settings: TrialSettings, start: Rows, rng: np.random.Generator
) -> Clustering:
    """Make one more trial, from centers that are given."""
    return _settle(data, _apart(data), settings, start, rng, _swaps(settings))


def _swaps(settings: TrialSettings) -> int:
    return _SWAPS_QUICK if settings.is_quick else _SWAPS


def _apart(data: WeightedRows) -> Floats | None:
    return data.apart if isinstance(data, TrialRows) else TrialRows(*data).apart


def _unless_late(
    settings: TrialSettings,
    trial: Callable[[np.random.Generator], Clustering],
    rng: np.random.Generator,
) -> Clustering | None:
    return None if settings.deadline.is_half_past else trial(rng)


def _in_time(trials: Iterable[Clustering | None]) -> list[Clustering]:
    return [trial for trial in trials if trial is not None]


def _draw(
    data: WeightedRows, apart: Floats | None, settings: TrialSettings, rng: np.random.Generator
) -> Clustering:
    start = choose_centers(data, settings.n_clusters, settings.seeding, rng, apart=apart)
    return _settle(data, apart, settings, start, rng, _swaps(settings))


def _cross(
    data: WeightedRows,
    apart: Floats | None,
    settings: TrialSettings,
    best: Sequence[Clustering],
    rng: np.random.Generator,
) -> Clustering:
    """Take each center from one of two results, the better of which are likelier to be chosen."""
    first, second = (int(rng.integers(len(best), size=2).min()) for _ in range(2))
    if first == second:
        second = (first + 1) % len(best)
    start = crossed(best[first].centers, best[second].centers, rng)
    return _settle(data, apart, settings, start, rng, _SWAPS_CROSSED)


def crossed(first: Rows, second: Rows, rng: np.random.Generator) -> Rows:
    """Take each center of `first`, or as likely the center of `second` that is closest to it.

    Parameters
    ----------
    first, second : ndarray of shape (n_clusters, n_features), float32
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_clusters, n_features), float32
        No center of `second` is taken twice.
    """
    mates = cpu.nearest_centers(first, second).labels
    free = np.zeros(len(first), bool)
    free[np.unique(mates, return_index=True)[1]] = True
    taken = free & (rng.random(len(first)) < 0.5)
    return np.where(taken[:, None], second[mates], first)


def _settle(
    data: WeightedRows,
    apart: Floats | None,
    settings: TrialSettings,
    start: Rows,
    rng: np.random.Generator,
    n_swaps: int,
) -> Clustering:
    run = partial(lloyd, data, max_iter=settings.max_iter, tol=settings.tol)
    return run(swap_centers(data, run(start).centers, n_swaps, rng, apart))


def fittest(clusterings: Iterable[Clustering]) -> list[Clustering]:
    """Return the best, without any that is as good as one before it."""
    best: list[Clustering] = []
    for clustering in sorted(clusterings, key=lambda clustering: clustering.inertia):
        if not best or not _same(best[-1], clustering.inertia):
            best.append(clustering)
    return best[:_KEPT]


def _agreed(trials: Trials) -> bool:
    """Whether the best result has been reached so often that there may be no better one."""
    return sum(_same(trials.best[0], inertia) for inertia in trials.inertias) >= _AGREEING


def _same(best: Clustering, inertia: float) -> bool:
    return abs(inertia - best.inertia) <= _SAME * best.inertia
