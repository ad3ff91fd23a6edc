"""The last step on a GPU, where there is enough to do for one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onepass.cluster import device_lloyd
from onepass.cluster.arrays import Doubles, Rows, WeightedRows
from onepass.cluster.core_set import CoreSet
from onepass.cluster.device_rows import DeviceRows, fits_rows
from onepass.cluster.finish import FINER, HostWorkshop, Refinement, part_of
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.results import Clustering
from onepass.cluster.trials import Trials, TrialSettings, fittest

_WORTH_TRIALS = 2**33
"""Products of one search: below, trials with swaps and crossings are made by the processor."""

_WORTH_REFINING = 2**31
_MOST_TRIALS = 4


class DeviceWorkshop:
    """A GPU, and the processor for what is too little for it.

    Parameters
    ----------
    gpu : Gpu
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def leaves_to_host(self, data: WeightedRows, settings: TrialSettings, /) -> bool:
        """Whether trials of these are too little for the GPU, or too much for its memory."""
        is_worth = data.rows.size * settings.n_clusters >= _WORTH_TRIALS
        return not is_worth or not fits_rows(self._gpu, data.rows.shape, settings.n_clusters)

    def trials(
        self, data: WeightedRows, settings: TrialSettings, rngs: Sequence[np.random.Generator]
    ) -> Trials:
        """Cluster a few rows many times; where they are many, four times at most."""
        if self.leaves_to_host(data, settings):
            return HostWorkshop().trials(data, settings, rngs)
        rows = DeviceRows.of(self._gpu, data)
        done = [self._trial(rows, data.weights, settings, rng) for rng in rngs[:_MOST_TRIALS]]
        return Trials(fittest(done), [trial.inertia for trial in done])

    def refinement(self, core_set: CoreSet, points: Rows, settings: TrialSettings) -> Refinement:
        """Return what refines centers on a core-set."""
        rows, weights = core_set.data
        k = settings.n_clusters
        if not (
            isinstance(rows, np.ndarray)
            and is_worth_refining(rows.size, k)
            and fits_rows(self._gpu, rows.shape, k)
        ):
            return HostWorkshop().refinement(core_set, points, settings)
        return DeviceRefinement(DeviceRows.of(self._gpu, WeightedRows(rows, weights)), settings)

    @staticmethod
    def _trial(
        rows: DeviceRows, weights: Doubles, settings: TrialSettings, rng: np.random.Generator
    ) -> Clustering:
        how = settings.n_clusters, settings.seeding, rng
        start = device_lloyd.choose_centers(rows, weights, *how)
        return device_lloyd.lloyd(
            rows,
            start,
            max_iter=settings.max_iter,
            tol=settings.tol,
            deadline=settings.deadline,
        )


def is_worth_refining(n_values: int, n_clusters: int) -> bool:
    """Whether a device refines centers on rows of so many values sooner than the processor."""
    return n_values * n_clusters >= _WORTH_REFINING


class DeviceRefinement:
    """Lloyd's iterations on rows that are on a device; see `onepass.cluster.finish.Refinement`.

    Parameters
    ----------
    rows : DeviceRows
    settings : TrialSettings
    """

    def __init__(self, rows: DeviceRows, settings: TrialSettings) -> None:
        self._rows, self._settings, self._tol = rows, settings, settings.tol * FINER
        every = part_of(len(rows))
        self._few = rows if every == 1 else rows.every(every)

    def try_out(self, centers: Rows, max_iter: int) -> Clustering:
        """Make a few iterations on every fourth row, or on all where they are few."""
        return device_lloyd.lloyd(
            self._few,
            centers,
            max_iter=max_iter,
            tol=self._tol,
            deadline=self._settings.deadline,
        )

    def run(self, centers: Rows, goal: float = math.inf) -> Clustering:
        """Make all iterations on all rows."""
        return device_lloyd.lloyd(
            self._rows,
            centers,
            max_iter=self._settings.max_iter,
            tol=self._tol,
            goal=goal,
            deadline=self._settings.deadline,
        )
