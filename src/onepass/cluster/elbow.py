"""Clusters of many numbers from one pass: the elbow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Doubles, Floats, Rows, WeightedAny
from onepass.cluster.batches import as_dense
from onepass.cluster.coarse import extended
from onepass.cluster.core_set import Msd, weigh_clusters
from onepass.cluster.finish import Finished, thinned
from onepass.cluster.kernels import refining
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.cluster.knee import Knee, find_knee
from onepass.cluster.scaled import ScaledStream
from onepass.cluster.trials import TrialSettings

_JUDGED = 1000
_JUDGING = 91
_FEW_TRIALS, _FEWEST_TRIALS, _FEW_ROWS = 16, 6, 20_000


class ElbowPoint(NamedTuple):
    """Clusters of one number.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
    msd, msd_error : float
        As of `KMeans`: an estimate and its standard error, or exact where that is 0.
    silhouette : float or None
        The mean of 1,000 rows of the sample, from -1 to 1: how much closer a row is to the rows of
        its own cluster than to those of the closest other one; None where all these rows are of one
        cluster.
    sizes : ndarray of shape (n_clusters,), float64
        What the rows of each cluster weigh.
    trial_msds : tuple of float
        What each trial reached on the summary's centers, their own spread not counted.
    seconds : float
        That it took, beside others.
    """

    centers: Rows
    msd: float
    msd_error: float
    silhouette: float | None
    sizes: Doubles
    trial_msds: tuple[float, ...]
    seconds: float

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return len(self.centers)

    @property
    def spread(self) -> float:
        """How much depends on the start: the standard deviation of what trials reached, relative.

        To their mean; 0 where all reached the same.
        """
        mean = float(np.mean(self.trial_msds))
        return float(np.std(self.trial_msds)) / mean if mean else 0.0


class Elbow:
    """What so many clusters would be, for each of several numbers.

    Parameters
    ----------
    points : sequence of ElbowPoint
        Of rising numbers of clusters.
    total : Msd
        Of all rows from their mean.

    Attributes
    ----------
    points : tuple of ElbowPoint
    total : Msd
    knee : Knee
    """

    def __init__(self, points: Sequence[ElbowPoint], total: Msd) -> None:
        self.points = tuple(points)
        self.total = total
        curve = {1: total.value} | {point.n_clusters: point.msd for point in points}
        self.knee: Knee = find_knee(list(curve), list(curve.values()))

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[ElbowPoint]:
        return iter(self.points)

    def __getitem__(self, n_clusters: int) -> ElbowPoint:
        """Return the clusters of one number.

        Raises
        ------
        KeyError
            When they are not of those that were made.
        """
        for point in self.points:
            if point.n_clusters == n_clusters:
                return point
        raise KeyError(n_clusters)

    def recommended(self) -> tuple[ElbowPoint, str]:
        """Return the clusters that are most likely there, and why.

        Those of the knee; where there is none, those of the best silhouette.
        """
        if self.knee.n_clusters is not None:
            for point in self.points:
                if point.n_clusters == self.knee.n_clusters:
                    return point, self.knee.reason
        best = max(self.points, key=lambda point: point.silhouette or 0.0)
        return best, f"{self.knee.reason}; the silhouette is best at k={best.n_clusters}"

    def __repr__(self) -> str:
        ks = [point.n_clusters for point in self.points]
        return f"Elbow(k={ks[0]} to {ks[-1]}, knee={self.knee.n_clusters})"

    def _repr_html_(self) -> str:
        """Return a table, for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in ("k", "msd", "silhouette", "spread"))
        rows = "".join(
            f"<tr{' style=font-weight:bold' if point.n_clusters == self.knee.n_clusters else ''}>"
            f"<td>{point.n_clusters}</td><td>{point.msd:.6g}</td>"
            f"<td>{'' if point.silhouette is None else format(point.silhouette, '.3f')}</td>"
            f"<td>{point.spread:.1%}</td></tr>"
            for point in self.points
        )
        return f"<table><tr>{head}</tr>{rows}</table><p>{self.knee.reason}</p>"


def few_trials(settings: TrialSettings, n_rows: int) -> TrialSettings:
    """Return settings of fewer trials, for so many rows; see `onepass.cluster.finish.finish_each`.

    Few rows are refined themselves, and a job of few rows takes no longer than its start.
    """
    n_most = _FEW_TRIALS if n_rows > _FEW_ROWS else _FEWEST_TRIALS
    return settings._replace(n_trials=min(settings.n_trials, n_most), is_quick=True)


def sweep(stream: ScaledStream, each: Sequence[TrialSettings], seed: int) -> Elbow:
    """Make clusters of several numbers.

    Parameters
    ----------
    stream : ScaledStream
        At least as many rows as the most clusters.
    each : sequence of TrialSettings
        Of rising numbers of clusters.
    seed : int
        Of the rows that silhouettes are made of.

    Notes
    -----
    Costs the last step for each, and 1,000 rows times 1,000 distances for their silhouettes, which
    a thread of their own looks at meanwhile.
    """
    kept = stream.rows_kept()
    ahead = (
        []
        if each[0].n_clusters == 1
        else [each[0]._replace(n_clusters=1, n_trials=1, is_quick=True)]
    )
    made: list[tuple[Finished, Msd]] = []
    judged: list[Future[tuple[float | None, Doubles]]] = []
    before: tuple[Rows, Msd] | None = None
    with ThreadPoolExecutor(1, "onepass-judging") as pool:
        judge = pool.submit(_Judge, kept, seed)
        for finished in stream.finish_each([*ahead, *each]):
            centers, msd = before = _no_worse(stream, finished, before, kept)
            made.append((finished._replace(centers=centers), msd))
            judged.append(pool.submit(lambda of: judge.result().look_at(of), centers))
    points = [
        ElbowPoint(centers, *msd, *seen.result(), trial_msds, seconds)
        for ((centers, trial_msds, seconds), msd), seen in zip(made, judged, strict=True)
    ]
    return Elbow(points[len(ahead) :], made[0][1])


def _no_worse(
    stream: ScaledStream,
    finished: Finished,
    before: tuple[Rows, Msd] | None,
    kept: WeightedAny,
) -> tuple[Rows, Msd]:
    """Return centers of a msd that is not above that of fewer, which an estimate may say it is."""
    centers, msd = finished.centers, stream.measure(finished.centers)
    if before is None or msd.value <= before[1].value:
        return centers, msd
    more = extended(before[0], kept, len(centers))  # no row of any kind is farther from these
    measured = stream.measure(more)
    return more, min(measured, before[1], key=lambda msd: msd.value)


class _Judge:
    """Tells how well rows are parted, by a few of them and all distances between these."""

    def __init__(self, kept: WeightedAny, seed: int) -> None:
        self._kept = kept
        rng = np.random.default_rng((seed, _JUDGING))
        rows = kept.rows
        if len(rows) > _JUDGED:
            rows = rows[np.sort(thinned(kept.weights, _JUDGED, rng)[0])]
        self._rows = as_dense(rows)
        self._apart: Floats = np.sqrt(refining.between(self._rows)[:, : len(self._rows)])

    def look_at(self, centers: Rows) -> tuple[float | None, Doubles]:
        """Return the silhouette, and what the rows of each cluster weigh."""
        return self.silhouette(centers), weigh_clusters(self._kept, centers)

    def silhouette(self, centers: Rows) -> float | None:
        """Return the mean silhouette: Rousseeuw, "Silhouettes", 1987."""
        n = len(self._rows)
        labels = nearest_centers(self._rows, centers).labels
        if (labels == labels[0]).all():
            return None
        members = np.zeros((n, len(centers)), np.float32)
        members[np.arange(n), labels] = 1
        sizes = members.sum(axis=0, dtype=np.float64)
        sums = (self._apart @ members).astype(np.float64)
        own = np.arange(n), labels
        within = sums[own] / np.maximum(sizes[labels] - 1, 1)
        means = np.divide(sums, sizes, out=np.full_like(sums, np.inf), where=sizes > 0)
        means[own] = np.inf
        other = means.min(axis=1)
        largest = np.maximum(within, other)
        alone = (sizes[labels] < 2) | (largest == 0)
        values = np.divide(other - within, largest, out=np.zeros(n), where=~alone)
        return float(values.mean())
