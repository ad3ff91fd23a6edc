"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onepass.errors import PlatformError, UserError


class Writing(NamedTuple):
    """A file that is to be written.

    Attributes
    ----------
    path : Path
        Replaced if it exists; the directory is made if it does not.
    write : callable
        Is given the open file.
    check : callable or None
        Is given the file that was written, open for reading, before it takes its place; raises
        where it is not as it should be.
    """

    path: Path
    write: Callable[[BinaryIO], object]
    check: Callable[[BinaryIO], object] | None = None

    @property
    def hidden(self) -> Path:
        """Where it is written to first."""
        return self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that no moment shows a part of it under its name; see `write_together`."""
    write_together([Writing(path, write)])


def write_together(writings: Sequence[Writing]) -> None:
    """Write files so that no moment shows a part of any, and none is new if one cannot be written.

    Each is written under a hidden name beside its place, forced to disk and looked at; then all are
    renamed.

    Raises
    ------
    PlatformError
        Naming the file, when the disk is full or the directory cannot be written to. What stood
        there before is left as it was.
    """
    try:
        for writing in writings:
            _about(writing.path, partial(_write, writing))
        for writing in writings:
            _about(writing.path, partial(_put_in_place, writing))
    finally:
        for writing in writings:
            with suppress(OSError):
                writing.hidden.unlink(missing_ok=True)


def _about(path: Path, work: Callable[[], object]) -> None:
    """Do something for a file, which is named where that fails."""
    try:
        work()
    except OSError as error:
        raise PlatformError(f"cannot write {path}: {error.strerror or error}") from error


def _write(writing: Writing) -> None:
    writing.path.parent.mkdir(parents=True, exist_ok=True)
    with writing.hidden.open("wb") as file:
        writing.write(file)
        file.flush()
        os.fsync(file.fileno())
    if writing.check is not None:
        with writing.hidden.open("rb") as file:
            writing.check(file)


def _put_in_place(writing: Writing) -> None:
    writing.hidden.chmod(0o644)
    writing.hidden.replace(writing.path)
    _sync_directory(writing.path.parent)


def find_file(path: Path, names: Sequence[str], what: str) -> Path:
    """Return the file that holds something, given its path or that of its directory.

    Parameters
    ----------
    path : Path
    names : sequence of str
        Of files of a directory, the first of which that is there is taken.
    what : str
        It holds, for messages.

    Raises
    ------
    UserError
        When there is none, it is no regular file, or a link leads out of the directory.
    OSError
        When it cannot be looked at.
    """
    if path.is_dir():
        path = _find_in(path, names, what)
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise UserError(f"cannot read the {what} {path}: it is no regular file")
    return path


def _find_in(directory: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        path = directory / name
        if path.is_file():
            if not path.resolve().is_relative_to(directory.resolve()):
                raise UserError(f"{path} is a link that leads out of its directory")
            return path
    found = sorted(path.name + "/" * path.is_dir() for path in directory.iterdir())[:5]
    raise UserError(
        f"there is no {what} in {directory}: expected a file {' or '.join(names)}, "
        f"found {', '.join(found) or 'nothing'}"
    )


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
