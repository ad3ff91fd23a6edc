"""What a job goes on from, and what it leaves for the next one.

The channel 'model' holds what an earlier job has left: with a state, the stream is gone on with;
without one, as of the original's artifacts, the centers stand for a number of rows.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import onepass
from onepass.artifact.files import write_together
from onepass.artifact.model_file import load_model, writing_of_model
from onepass.artifact.state_file import STATE_FILE, has_state, load_state, now, writing_of_state
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.cluster.state import trimmed
from onepass.errors import DecodeError, UserError
from onepass.report.facts import Drift
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.sagemaker.inputs import JobInput
from onepass.sagemaker.paths import Paths

_log = logging.getLogger(__name__)

_ROWS_A_CENTER = 1000
_REMEMBERED = 1000
"""Jobs that a state tells of."""


class Before(NamedTuple):
    """What was known before a job.

    Attributes
    ----------
    model : KMeansModel or None
        The model that is gone on from, if there is one.
    n_rows, n_opened : int
        Rows that it stands for; those of them that opened a center.
    lineage : list of dict
        What the jobs before have told of themselves, the first one first.
    """

    model: KMeansModel | None = None
    n_rows: int = 0
    n_opened: int = 0
    lineage: list[dict[str, Any]] = []  # noqa: RUF012 - of a tuple, which nobody changes


def take_up(kmeans: KMeans, job: JobInput) -> Before:
    """Have what an earlier job has learnt gone on with, if the job says so.

    Raises
    ------
    UserError
        When the channel 'model' holds no model, or one of other features.
    """
    if job.model is None:
        return Before()
    wanted = job.hyperparameters
    if not has_state(job.model):
        return _take_up_centers(kmeans, job.model, wanted)
    state = load_state(job.model)
    n_features = state.facts.get("n_features")
    if n_features != wanted.feature_dim:
        raise _other_width(job.model, n_features, wanted)
    try:
        kmeans.restore(state)
    except DecodeError as error:
        raise error.within(f"channel 'model': {STATE_FILE}") from error
    given = state.facts.get("lineage")
    lineage = [entry for entry in given if isinstance(entry, dict)] if given else []
    before = Before(_model_in(job.model), kmeans.n_samples_seen_, kmeans.n_opened_, lineage)
    _log.info("going on from %s: %d rows have been seen", job.model, before.n_rows)
    return before


def _take_up_centers(kmeans: KMeans, directory: Path, wanted: Hyperparameters) -> Before:
    model = load_model(directory)
    if model.n_features != wanted.feature_dim:
        raise _other_width(directory, model.n_features, wanted)
    n_centers = len(model.centers)
    n_rows = n_centers * _ROWS_A_CENTER if wanted.model_rows == "auto" else wanted.model_rows
    kmeans.begin_with(model.centers, n_rows)
    _log.warning(
        "going on from the %d centers in %s, beside which there is no %s: they stand for "
        "model_rows=%d rows",
        n_centers,
        directory,
        STATE_FILE,
        n_rows,
    )
    return Before(model, n_rows)


def _model_in(directory: Path) -> KMeansModel | None:
    try:
        return load_model(directory)
    except UserError:  # a state alone will do
        return None


def _other_width(directory: Path, n_features: object, wanted: Hyperparameters) -> UserError:
    return UserError(
        f"channel 'model': what is in {directory} has {n_features} features, and feature_dim="
        f"{wanted.feature_dim}; a model can be gone on with only by rows of the same features"
    )


def save(kmeans: KMeans, before: Before, job: JobInput, paths: Paths) -> Path:
    """Write the model and the state beside it, both or none; returns the model's path.

    Raises
    ------
    PlatformError
        When they cannot be written; what stood there before is left as it was.
    """
    state, wanted = kmeans.state(), job.hyperparameters
    n_rows = kmeans.n_samples_seen_
    entry = {
        "job": job.name,
        "arn": job.arn,
        "written": now(),
        "version": onepass.__version__,
        "k": kmeans.n_clusters,
        "n_new_rows": n_rows - before.n_rows,
        "n_rows": n_rows,
        "msd": kmeans.msd_,
        "msd_error": kmeans.msd_error_,
    }
    about = {
        "hyperparameters": wanted.as_given(),
        "lineage": [*before.lineage, entry][-_REMEMBERED:],
        "cluster_sizes": [round(size, 3) for size in kmeans.cluster_sizes().tolist()],
    }
    model = writing_of_model(kmeans.to_model(), paths.model)
    small = trimmed(state, wanted.state_sample_mib * 2**20)
    writings = [model, writing_of_state(small, paths.model / STATE_FILE, about)]
    if wanted.whole_state:
        writings.append(writing_of_state(state, paths.output_data / STATE_FILE, about))
    write_together(writings)
    return model.path


def drift_of(kmeans: KMeans, before: Before) -> Drift | None:
    """Return what has changed since the model before; None where there was none."""
    if before.model is None:
        return None
    return Drift(
        kmeans.n_samples_seen_ - before.n_rows,
        kmeans.n_opened_ - before.n_opened,
        before.model.assign(kmeans.cluster_centers_).distances.astype(float),
    )


def tell_drift(kmeans: KMeans, before: Before) -> None:
    """Tell how far centers have moved since the model before, and how new the new rows were."""
    drift = drift_of(kmeans, before)
    if drift is None:
        return
    n_new, n_far, moved = drift
    if n_new > 0:
        _log.info(
            "drift: %d of %d new rows (%.3g %%) were far from all that was known",
            n_far,
            n_new,
            100 * n_far / n_new,
        )
    _log.info(
        "drift: from a center to the closest one before it is %g on average, %g at most; the root "
        "of the msd is %g",
        moved.mean(),
        moved.max(),
        math.sqrt(kmeans.msd_),
    )
