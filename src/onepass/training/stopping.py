"""Whether a job is to end early, with a model of what it has read."""

from __future__ import annotations

from typing import NamedTuple

from onepass.cluster.deadline import Deadline
from onepass.distributed.passes import EnoughError, Seen, Tell
from onepass.training.progress import Progress

_FINISH_WITHIN_S = 5.0


class Stopping:
    """Is told by a signal, and tells the pass that is being made.

    Attributes
    ----------
    asked : bool
        Whether the job is to end.
    is_deaf : bool
        Whether a pass is being made that has not been told of it: one that waits for data.
    deadline : Deadline
        Of the final centers.
    """

    def __init__(self) -> None:
        self.deadline = Deadline()
        self.asked = False
        self.is_deaf = False

    def ask(self) -> None:
        """Have the pass end, and make no other; the final centers are made soon."""
        if not self.asked:
            self.hurry()
        self.asked = True

    def hurry(self) -> None:
        """Have the final centers within some seconds from now."""
        self.deadline.set(_FINISH_WITHIN_S)

    def listening(self, tell: Tell) -> Tell:
        """Return what is told how far a pass has come, and ends it when that has been asked for.

        Between this and `done`, a pass is being made.
        """
        self.is_deaf = True

        def listen(seen: Seen) -> None:
            tell(seen)
            if self.asked:
                self.is_deaf = False
                raise EnoughError

        return listen

    def done(self) -> None:
        """End a pass."""
        self.is_deaf = False


class Told(NamedTuple):
    """Who is told how far a job has come, and who tells it to end.

    Attributes
    ----------
    progress : Progress
    stopping : Stopping
        Ends it early: with a model of the rows that have been read, if there are enough of them.
    """

    progress: Progress
    stopping: Stopping
