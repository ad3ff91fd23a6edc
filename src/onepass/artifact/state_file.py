"""``state_algo-1``: all that a job has learnt, beside the model that it has made of it.

A zip archive that ``numpy.load(file, allow_pickle=False)`` reads: ``about.json`` with facts, and
arrays, all of which the README describes. What is read may come from anyone: `onepass.formats.npz`
refuses what is damaged, or larger than it should be, and `onepass.cluster.state` what makes no
sense.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from onepass.artifact.archive import ARCHIVES, has_member, read_member
from onepass.artifact.files import Writing, find_file, write_together
from onepass.artifact.model_file import MODEL_ARCHIVE, MODEL_FILE
from onepass.cluster.state import State
from onepass.errors import DecodeError, PlatformError, UserError
from onepass.formats.npz import read_arrays, write_arrays

STATE_FILE = "state_algo-1"
FORMAT = 1
"""The version of the format that is written. Each that was ever written is read."""

MAX_STATE_BYTES = 2**36


def save_state(state: State, path: Path, about: Mapping[str, Any] | None = None) -> Path:
    """Write a state.

    Parameters
    ----------
    state : State
    path : Path
        Replaced if it exists; written atomically, forced to disk and read back.
    about : mapping, optional
        What else shall be known of it; what JSON can hold.

    Raises
    ------
    PlatformError
        When it cannot be written; what stood there before is left as it was.
    """
    write_together([writing_of_state(state, path, about)])
    return path


def writing_of_state(state: State, path: Path, about: Mapping[str, Any] | None = None) -> Writing:
    """Return how a state is written; see `save_state`."""
    facts = {"format": FORMAT, "written": now(), **(about or {}), **state.facts}
    text = json.dumps(facts, indent=1, allow_nan=False).encode()

    def check(file: BinaryIO) -> None:
        try:
            is_same = read_arrays(file)[0] == text  # the arrays have checksums
        except DecodeError:
            is_same = False
        if not is_same:
            raise PlatformError("a state does not read back as it was written; look at the disk")

    return Writing(path, lambda file: write_arrays(file, text, state.arrays), check)


def now() -> str:
    """Return the time as states have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def has_state(path: Path) -> bool:
    """Whether a directory, or the archive of a model, there or in it, holds a state.

    Raises
    ------
    UserError
        When what it holds cannot be read.
    """
    if path.is_dir():
        if (path / STATE_FILE).exists() or (path / MODEL_FILE).exists():
            return (path / STATE_FILE).exists()
        path = path / MODEL_ARCHIVE
    return path.name.endswith(ARCHIVES) and path.exists() and has_member(path, STATE_FILE)


def load_state(path: Path | str) -> State:
    """Read a state.

    Parameters
    ----------
    path : Path or str
        The file, a ``model.tar.gz``, or a directory that holds either.

    Raises
    ------
    UserError
        Saying why it cannot be read. What stands in it is looked at by `KMeans.restore`.
    """
    path = Path(path)
    try:
        path = find_file(path, (STATE_FILE, MODEL_ARCHIVE), "state")
        if path.name.endswith(ARCHIVES):
            data = read_member(path, STATE_FILE, limit_bytes=MAX_STATE_BYTES)
            return _decode(io.BytesIO(data))
        with path.open("rb") as file:
            return _decode(file)
    except DecodeError as error:
        raise error.within(str(path)) from error
    except OSError as error:
        raise UserError(f"cannot read the state {path}: {error.strerror or error}") from error


def _decode(file: BinaryIO) -> State:
    about, arrays = read_arrays(file)
    try:
        facts = json.loads(about)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"its facts are no JSON: {error}") from error
    if not isinstance(facts, dict) or type(facts.get("format")) is not int:
        raise DecodeError("it is no state: it does not say which format it has")
    if not 1 <= facts["format"] <= FORMAT:
        raise DecodeError(
            f"its format is {facts['format']}, and {FORMAT} is the latest that this version of "
            "Onepass knows; read it with the version that wrote it, or a later one"
        )
    return State(facts, arrays)
