"""What can go wrong, as a small tree of types.

No exit codes and no HTTP statuses here: those are given at the edges, `onepass.sagemaker.outcome`
for a training job and `onepass.serving.problems` for a server.
"""

from __future__ import annotations


class OnepassError(Exception):
    """Base of every error this package raises on purpose."""


class UserError(OnepassError, ValueError):
    """The caller can prevent it: a wrong parameter, a broken file, a bad request.

    It is a `ValueError` too, so that Python callers may catch what they are used to.
    """


class DataTypeError(UserError, TypeError):
    """Data of a kind that cannot be clustered: sparse matrices, or values that are no numbers."""


class NotFittedError(UserError, AttributeError):
    """Something was asked of a `KMeans` that has no centers yet."""


class DecodeError(UserError):
    """Bytes that do not hold what their format promises.

    Parameters
    ----------
    reason : str
        One sentence: what was found and what is accepted.
    where : str
        The position in words, such as ``"record 3 at byte 208"`` or ``"row 2, column 5"``.
    source : str
        The file or channel the bytes came from, empty when unknown.
    skippable : bool
        Only one record or row is wrong, and where the next one begins is known.
    """

    def __init__(
        self, reason: str, *, where: str = "", source: str = "", skippable: bool = False
    ) -> None:
        self.reason = reason
        self.where = where
        self.source = source
        self.skippable = skippable
        place = ", ".join(part for part in (source, where) if part)
        super().__init__(f"{place}: {reason}" if place else reason)

    def within(self, source: str) -> DecodeError:
        """Return the same error with the name of the file or channel it happened in."""
        skippable = self.skippable
        return type(self)(self.reason, where=self.where, source=source, skippable=skippable)


class WidthError(DecodeError):
    """A row of another number of features than expected."""


class TooLargeError(DecodeError):
    """Well-formed so far, but beyond a stated limit of size."""


class PlatformError(OnepassError):
    """The surroundings fail: a directory is missing, a disk is full, a port is taken."""


class AlgorithmError(OnepassError):
    """A promise of our own does not hold: a bug."""
