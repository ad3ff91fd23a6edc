"""How a job ends: the one place where errors become an exit code and a failure file."""

from __future__ import annotations

from typing import NamedTuple

from onepass.errors import AlgorithmError, OnepassError, PlatformError, UserError
from onepass.sagemaker.paths import Paths

SUCCESS = 0
BUG = 1
USER_ERROR = 2
PLATFORM_ERROR = 3
INTERRUPTED = 130
STOPPED = 143
"""As a shell reports a process ended by SIGINT (Ctrl-C) and by SIGTERM."""

SHOWN_CHARACTERS = 1024
"""What the platform shows of the failure file."""


class StoppedError(OnepassError):
    """The platform asked the job to stop (SIGTERM)."""


class Failure(NamedTuple):
    """The end of a job that failed.

    Attributes
    ----------
    exit_code : int
    reason : str
        Starts with ``ClientError:`` where the user can mend it, else with ``AlgorithmError:``.
    """

    exit_code: int
    reason: str


def describe_failure(error: BaseException) -> Failure:
    """Translate an error.

    Examples
    --------
    >>> from onepass.errors import UserError
    >>> describe_failure(UserError("k=0 is not accepted: k must be a whole number from 1"))
    Failure(exit_code=2, reason='ClientError: k=0 is not accepted: k must be a whole number from 1')
    """
    if isinstance(error, UserError):
        return Failure(USER_ERROR, f"ClientError: {error}")
    if isinstance(error, KeyboardInterrupt):
        return Failure(INTERRUPTED, "AlgorithmError: interrupted before the job was done")
    if isinstance(error, StoppedError):
        return Failure(STOPPED, f"AlgorithmError: {error}")
    if isinstance(error, (PlatformError, OSError)):
        return Failure(PLATFORM_ERROR, f"AlgorithmError: {error}")
    if isinstance(error, MemoryError):
        return Failure(PLATFORM_ERROR, "AlgorithmError: out of memory; use a larger instance")
    cause = str(error) or "no message"
    return Failure(BUG, f"AlgorithmError: {cause} (caused by {type(error).__name__})")


def error_of(failure: Failure) -> OnepassError:
    """Return an error that is described so: of a job whose end another host has told."""
    kind = {USER_ERROR: UserError, STOPPED: StoppedError, BUG: AlgorithmError}
    message = failure.reason.partition(": ")[2]
    return kind.get(failure.exit_code, PlatformError)(message)


def write_failure(paths: Paths, reason: str) -> None:
    """Write the failure file, unless there is one: the first reason is the one that counts.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    paths.output.mkdir(parents=True, exist_ok=True)
    if not paths.failure.exists():
        paths.failure.write_text(reason, encoding="utf-8", errors="backslashreplace")


def forget_failure(paths: Paths) -> None:
    """Remove the failure file an earlier run has left."""
    paths.failure.unlink(missing_ok=True)
