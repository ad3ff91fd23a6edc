"""Which files of a channel hold data."""

from __future__ import annotations

import os
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
    found = _walk(str(directory), frozenset()) if directory.exists() else []
    return sorted(map(Path, found), key=lambda path: path.parts)


def _walk(directory: str, above: frozenset[str]) -> list[str]:
    """List files below a directory that is reached by way of others, given by their real paths."""
    try:
        with os.scandir(directory) as entries:  # it knows what is a file without a look at each
            there = [entry for entry in entries if not entry.name.startswith(HIDDEN)]
            files = [entry.path for entry in there if entry.is_file()]
            directories = [entry.path for entry in there if entry.is_dir()]
    except OSError as error:
        raise UserError(
            f"cannot read {error.filename}: {error.strerror}; {what_to_do(error)}"
        ) from error
    above |= {os.path.realpath(directory)}
    for path in directories:
        if os.path.realpath(path) not in above:  # a link back to where it is
            files += _walk(path, above)
    return files
