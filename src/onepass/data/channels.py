"""Which files of a channel hold data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onepass.data.failures import what_to_do
from onepass.errors import UserError

HIDDEN = (".", "_")
"""Names that start so are no data: manifests, success markers, files of tools."""


def list_files(directory: Path, channel: str) -> list[Path]:
    """List the data files of a channel that must have some, in the order they are read.

    Parameters
    ----------
    directory : Path
        The channel's directory; sub-directories are read too, and so is what links lead to.
    channel : str
        Its name, for messages.

    Returns
    -------
    list of Path
        Sorted by their path below the directory; at least one. Names that start with ``.`` or
        ``_`` are passed over.

    Raises
    ------
    UserError
        When the directory is missing, cannot be read or holds no data.
    """
    if not directory.is_dir():
        raise UserError(f"channel {channel!r}: there is no directory {directory}; give the job one")
    files = find_files(directory)
    if not any(path.stat().st_size for path in files):
        what = f"its {len(files)} files are empty" if files else "there is no file in it"
        raise UserError(
            f"channel {channel!r} has no data: {what} ({directory}; names starting with '.' or '_' "
            "do not count); put objects there"
        )
    return files


def find_files(directory: Path) -> list[Path]:
    """List the data files below a directory, as `list_files` does; none where there is none.

    Raises
    ------
    UserError
        When a directory cannot be read.
    """
    return list(_walk(str(directory), set())) if directory.exists() else []


def _walk(directory: str, entered: set[str]) -> Iterator[Path]:
    """Yield files in order; `entered` are the real paths of the directories walked through before.

    All names of one directory are in memory at a time, and those of the directories above it.
    """
    entered.add(os.path.realpath(directory))
    files, directories = set[str](), set[str]()
    try:
        with os.scandir(directory) as entries:  # it knows what is a file without a look at each
            for entry in entries:
                target = Path(entry) if entry.is_symlink() else entry
                if entry.name.startswith(HIDDEN):
                    continue
                if target.is_file():
                    files.add(entry.name)
                elif target.is_dir() and os.path.realpath(entry) not in entered:
                    directories.add(entry.name)  # no link back to where it is
    except OSError as error:
        raise UserError(
            f"cannot read {error.filename}: {error.strerror}; {what_to_do(error)}"
        ) from error
    for name in sorted(files | directories):
        if name in files:
            yield Path(directory, name)
        else:
            yield from _walk(f"{directory}/{name}", entered)
