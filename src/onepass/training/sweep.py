"""The elbow of a job: clusters of many numbers, and which of them are the model."""

from __future__ import annotations

import logging

from onepass.cluster.deadline import Deadline
from onepass.cluster.elbow import Elbow, ElbowPoint
from onepass.cluster.kmeans import KMeans
from onepass.sagemaker.hyperparameters import Hyperparameters

_log = logging.getLogger(__name__)


def swept(kmeans: KMeans, wanted: Hyperparameters, deadline: Deadline) -> Elbow:
    """Make clusters of all numbers that a job asks for, as far as there are so many rows."""
    n_rows = kmeans.n_samples_seen_
    few = [k for k in wanted.sweep if k <= n_rows]
    if len(few) < len(wanted.sweep):
        _log.warning("k_sweep: numbers beyond the %d rows there are are left out", n_rows)
    elbow = kmeans.sweep(few, deadline, thorough=0 if wanted.k == "auto" else wanted.k)
    for point in elbow:
        _log.info(
            "elbow: k=%d: msd %g, silhouette %s, spread of the trials %.2g",
            point.n_clusters,
            point.msd,
            "unknown" if point.silhouette is None else f"{point.silhouette:.3f}",
            point.spread,
        )
    if elbow.knee.n_clusters is None:
        _log.info("elbow: no knee: %s", elbow.knee.reason)
    else:
        _log.info("elbow: the knee is at k=%d: %s", elbow.knee.n_clusters, elbow.knee.reason)
    return elbow


def chosen(elbow: Elbow, wanted: Hyperparameters) -> ElbowPoint:
    """Return the clusters that are the model."""
    if wanted.k != "auto":
        return elbow[wanted.k]
    point, reason = elbow.recommended()
    _log.info("k=auto: the model has k=%d clusters: %s", point.n_clusters, reason)
    return point
