"""Bad records and rows that are passed over: as many as are allowed, counted, never in silence."""

from __future__ import annotations

from collections.abc import Sequence

from onepass.errors import DecodeError

SHOWN = 5
"""How many are told one by one."""


class BadRecords:
    """What a reader has passed over.

    Parameters
    ----------
    n_allowed : int
        The first bad one more is an error; with 0 it is raised as it is.
    n : int
        That have been passed over before.
    first : sequence of str
        What was told of them.

    Attributes
    ----------
    n : int
    first : list of str
        The first few, each with its place and what is wrong with it.
    """

    def __init__(self, n_allowed: int = 0, n: int = 0, first: Sequence[str] = ()) -> None:
        self._n_allowed = n_allowed
        self.n = n
        self.first = list(first)

    def pass_over(self, error: DecodeError) -> None:
        """Count a bad record, or raise what is wrong with it.

        Raises
        ------
        DecodeError
            Where what follows cannot be read either, or no more are allowed.
        """
        if not error.skippable or not self._n_allowed:
            raise error
        if self.n == self._n_allowed:
            reason = (
                f"{error.reason}; this is bad record {self.n + 1}, and max_bad_records="
                f"{self._n_allowed}; the first one was {self.first[0]}; mend them, or allow more"
            )
            raise type(error)(reason, where=error.where, source=error.source) from error
        self.n += 1
        if len(self.first) < SHOWN:
            self.first.append(str(error))
