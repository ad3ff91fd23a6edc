"""What the machine says when it cannot give the bytes of a channel, in words."""

from __future__ import annotations

import errno
import os

from onepass.errors import PlatformError


def cannot_read(path: object, error: OSError, at: int | None = None) -> PlatformError:
    """Say that a file cannot be read, or opened, and what to do.

    Parameters
    ----------
    path : Path, or another that is shown as text
    error : OSError
    at : int, optional
        The byte at which it cannot be read; without it, it cannot be opened.
    """
    what = f"cannot open {path}" if at is None else f"cannot read {path} at byte {at}"
    return PlatformError(f"{what}: {error.strerror}; {what_to_do(error)}")


def what_to_do(error: OSError) -> str:
    """Return what helps against an error of the operating system."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"let user {os.geteuid()} read it"
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return "no file may be moved or removed while a job reads it"
    return "start the job again; where this stays, the disk or the way to it is broken"
