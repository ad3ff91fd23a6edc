"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from onepass.errors import PlatformError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that no moment shows a part of it under its name.

    It is written under a hidden name beside its place, forced to disk and renamed.

    Parameters
    ----------
    path : Path
        Replaced if it exists; the directory is made if it does not.
    write : callable
        Is given the open file.

    Raises
    ------
    PlatformError
        Naming the file, when the disk is full or the directory cannot be written to. What stood
        there before is left as it was.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with hidden.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            hidden.chmod(0o644)
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise PlatformError(f"cannot write {path}: {error.strerror or error}") from error


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
