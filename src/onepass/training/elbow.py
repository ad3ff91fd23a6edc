"""An elbow with no job around it: of what an earlier job has left, or of data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onepass.artifact.archive import ARCHIVES
from onepass.artifact.model_file import MODEL_ARCHIVE, MODEL_FILE
from onepass.artifact.state_file import STATE_FILE, has_state, load_state
from onepass.cluster.elbow import Elbow
from onepass.cluster.kmeans import KMeans
from onepass.errors import DecodeError, UserError
from onepass.training.unconfigured import Told, batches_of, find


def elbow_of(path: Path, ks: Sequence[int], told: Told, seed: int = 0) -> Elbow:
    """Make clusters of several numbers.

    Parameters
    ----------
    path : Path
        A ``state_algo-1``, a ``model.tar.gz`` or a directory that holds either: then nothing else
        is read. Else a file of rows, or a directory of such files.
    ks : sequence of int
    told : Told
        What is said of data.
    seed : int

    Raises
    ------
    UserError
        When it cannot be read, when a model has no state, or when there are fewer rows than
        clusters.
    PlatformError
        When a file cannot be read.
    """
    kmeans = KMeans(max(ks), random_state=seed)
    if path.name == STATE_FILE or has_state(path):
        _restore(kmeans, path)
    elif _is_model(path):
        raise UserError(
            f"{path} is a model without a {STATE_FILE}: nothing is known of its rows; give the data"
        )
    else:
        for batch in batches_of(find(path, told)):
            kmeans.partial_fit(batch)
    return kmeans.sweep(ks)


def _restore(kmeans: KMeans, path: Path) -> None:
    state = load_state(path)
    try:
        kmeans.restore(state)
    except DecodeError as error:
        raise error.within(str(path)) from error


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return any((path / name).exists() for name in (MODEL_FILE, MODEL_ARCHIVE))
    return path.name == MODEL_FILE or path.name.endswith(ARCHIVES)
