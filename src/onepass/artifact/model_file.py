"""``model_algo-1``: the centers, as Amazon SageMaker's k-means stores them.

The name is fixed: the original's serving image looks for just this one, whatever the host that
trained was called.
"""

from __future__ import annotations

import stat
from pathlib import Path

from onepass.artifact.archive import member_bytes, read_member
from onepass.artifact.files import write_atomically
from onepass.cluster.arrays import Rows
from onepass.cluster.model import KMeansModel
from onepass.errors import AlgorithmError, DecodeError, TooLargeError, UserError
from onepass.formats.ndarray import read_centers, write_centers

MODEL_FILE = "model_algo-1"
MODEL_ARCHIVE = "model.tar.gz"
_ARCHIVES = (".tar.gz", ".tgz")
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
    path = Path(directory) / MODEL_FILE
    data = write_centers(model.centers)
    write_atomically(path, lambda file: file.write(data))
    if path.read_bytes() != data:
        raise AlgorithmError(f"{path} does not read back as it was written")
    return path


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
        path = _file(path)
        if path.name.endswith(_ARCHIVES):
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
        path = _file(path)
        if path.name.endswith(_ARCHIVES):
            return member_bytes(path, MODEL_FILE, limit_bytes=MAX_MODEL_BYTES)
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read the model {path}: {error.strerror or error}")


def _file(path: Path) -> Path:
    """Return the file that holds a model."""
    if path.is_dir():
        path = _find_in(path)
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise UserError(f"cannot read the model {path}: it is no regular file")
    return path


def _find_in(directory: Path) -> Path:
    for name in (MODEL_FILE, MODEL_ARCHIVE):
        path = directory / name
        if path.is_file():
            if not path.resolve().is_relative_to(directory.resolve()):
                raise UserError(f"{path} is a link that leads out of its directory")
            return path
    found = sorted(path.name + "/" * path.is_dir() for path in directory.iterdir())[:5]
    raise UserError(
        f"there is no model in {directory}: expected a file {MODEL_FILE} or {MODEL_ARCHIVE}, "
        f"found {', '.join(found) or 'nothing'}"
    )


def _decode(data: bytes, path: Path) -> Rows:
    try:
        return read_centers(data)
    except DecodeError as error:
        raise error.within(str(path)) from error
