"""How far a reader has come in its sources, so that another may go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from onepass.errors import DecodeError


class Position(NamedTuple):
    """A place between two rows.

    Attributes
    ----------
    source : int
        Which of the sources, from 0; as many as there are at the end of all.
    n_rows, n_bytes : int
        Before it, of all sources; bytes as they were read.
    n_rows_here : int
        Before it, of this source.
    n_bytes_here, n_records_here : int
        Of this source, up to where the next record begins; 0 where that is not counted.
    n_bytes_before : int
        Of the sources before this one.
    n_bad, n_bad_before : int
        Records passed over, in all and before this source.
    first_bad : tuple of str
        What was wrong with the first few.
    """

    source: int = 0
    n_rows: int = 0
    n_bytes: int = 0
    n_rows_here: int = 0
    n_bytes_here: int = 0
    n_records_here: int = 0
    n_bytes_before: int = 0
    n_bad: int = 0
    n_bad_before: int = 0
    first_bad: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: object) -> Self:
        """Return a position from what `_asdict` has told, as JSON keeps it.

        Raises
        ------
        DecodeError
            When it is none.
        """
        if not isinstance(told, Mapping) or set(told) != set(cls._fields):
            raise DecodeError(f"its position is {told!r}")
        numbers: dict[str, Any] = {name: told[name] for name in cls._fields if name != "first_bad"}
        first = told["first_bad"]
        are_texts = isinstance(first, (list, tuple)) and all(isinstance(one, str) for one in first)
        if not all(type(n) is int and n >= 0 for n in numbers.values()) or not are_texts:
            raise DecodeError(f"its position is {told!r}")
        return cls(**numbers, first_bad=tuple(first))

    def beginning_of_source(self) -> Self:
        """Return where its source begins."""
        return self._replace(
            n_rows=self.n_rows - self.n_rows_here,
            n_bytes=self.n_bytes_before,
            n_rows_here=0,
            n_bytes_here=0,
            n_records_here=0,
            n_bad=self.n_bad_before,
            first_bad=self.first_bad[: self.n_bad_before],
        )

    def next_source(self) -> Self:
        """Return where the next source begins, from the end of this one."""
        return self._replace(
            source=self.source + 1,
            n_rows_here=0,
            n_bytes_here=0,
            n_records_here=0,
            n_bytes_before=self.n_bytes,
            n_bad_before=self.n_bad,
        )
