"""``model_algo-1``: the centers, as Amazon SageMaker's k-means stores them.

The name is fixed: the original's serving image looks for just this one, whatever the host that
trained was called.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from onepass.artifact.archive import ARCHIVES, member_bytes, read_member
from onepass.artifact.files import Writing, find_file, write_together
from onepass.cluster.arrays import Rows
from onepass.cluster.model import KMeansModel
from onepass.errors import DecodeError, PlatformError, TooLargeError, UserError
from onepass.formats.ndarray import read_centers, write_centers

MODEL_FILE = "model_algo-1"
MODEL_ARCHIVE = "model.tar.gz"
MAX_MODEL_BYTES = 2**34
"""The largest model read: 16 GiB."""


def save_model(model: KMeansModel, directory: Path | str) -> Path:
    """Write a model.

    Parameters
    ----------
    model : KMeansModel
    directory : Path or str
        Made if missing.

    Returns
    -------
    Path
        The file, ``model_algo-1``; written atomically and read back.

    Raises
    ------
    PlatformError
        When it cannot be written; a model that stood there before is left as it was.
    """
    writing = writing_of_model(model, Path(directory))
    write_together([writing])
    return writing.path


def writing_of_model(model: KMeansModel, directory: Path) -> Writing:
    """Return how a model is written: it is read back before it takes its place."""
    data = write_centers(model.centers)

    def check(file: BinaryIO) -> None:
        if file.read() != data:
            raise PlatformError("a model does not read back as it was written; look at the disk")

    return Writing(directory / MODEL_FILE, lambda file: file.write(data), check)


def load_model(path: Path | str) -> KMeansModel:
    """Read a model, whoever wrote it: Onepass, Amazon's k-means image or ``mxnet.nd.save``.

    Parameters
    ----------
    path : Path or str
        The file ``model_algo-1``, a ``model.tar.gz``, or a directory that holds either; anything
        else in it is passed over.

    Raises
    ------
    UserError
        Saying what was found when there is no model, or why it cannot be read.
    """
    path = Path(path)
    try:
        path = find_file(path, (MODEL_FILE, MODEL_ARCHIVE), "model")
        if path.name.endswith(ARCHIVES):
            return KMeansModel(
                _decode(read_member(path, MODEL_FILE, limit_bytes=MAX_MODEL_BYTES), path)
            )
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise TooLargeError(f"a model has at most {MAX_MODEL_BYTES} bytes", source=str(path))
        return KMeansModel(_decode(path.read_bytes(), path))
    except OSError as error:
        raise _unreadable(path, error) from error


def model_bytes(path: Path | str) -> int:
    """Return how many bytes a model has that `load_model` would read, without reading it.

    Of an archive, what it says of the file within.

    Raises
    ------
    UserError
        As `load_model`.
    """
    path = Path(path)
    try:
        path = find_file(path, (MODEL_FILE, MODEL_ARCHIVE), "model")
        if path.name.endswith(ARCHIVES):
            return member_bytes(path, MODEL_FILE, limit_bytes=MAX_MODEL_BYTES)
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read the model {path}: {error.strerror or error}")


def _decode(data: bytes, path: Path) -> Rows:
    try:
        return read_centers(data)
    except DecodeError as error:
        raise error.within(str(path)) from error
