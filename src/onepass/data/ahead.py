"""What a generator makes is made in a thread, ahead of whoever takes it.

Two queues join both sides: one of what has been made, one of leave to make more. Neither side holds
a lock that the other needs, so that a signal may interrupt the one that takes wherever it is.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Generator
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple, TypeVar

from onepass.errors import OnepassError

_T = TypeVar("_T")
_ASK_EVERY_S = 0.2
_REST_WITHIN_S = 2.0
_END_WITHIN_S = 5.0
"""A read from a disk cannot be interrupted: a thread in one that lasts is left behind."""


class StoppedReadingError(OnepassError):
    """Raised in a thread of which no more is wanted."""


class Stop:
    """Tells a thread to end, whatever it waits for.

    Attributes
    ----------
    is_set : bool
    is_enough : bool
        Whether what has been made so far, up to the wait that was ended, is still wanted.

    Notes
    -----
    Holds one descriptor until it is closed.
    """

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_set = self.is_enough = False

    def set(self) -> None:
        """End every wait, now and from now on."""
        self.is_set = True
        os.eventfd_write(self._event, 1)

    def wait_no_more(self) -> None:
        """End every wait, but have what is there already."""
        self.is_enough = True
        os.eventfd_write(self._event, 1)

    def wait(self, descriptor: int | None = None, timeout_s: float | None = None) -> None:
        """Wait until something can be read, or its writer has gone.

        Parameters
        ----------
        descriptor : int, optional
            Of a pipe; without one, only the time ends the wait.
        timeout_s : float, optional

        Raises
        ------
        StoppedReadingError
            When the thread shall end, or shall not wait.
        """
        waiting = select.poll()
        waiting.register(self._event, select.POLLIN)
        if descriptor is not None:
            waiting.register(descriptor, select.POLLIN)
        ready = waiting.poll(None if timeout_s is None else 1000 * timeout_s)
        if any(there == self._event for there, _ in ready):
            raise StoppedReadingError

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._event)


class _End(NamedTuple):
    """Stands behind the last thing that was made."""

    error: BaseException | None


def ahead(
    make: Callable[[Stop], Generator[_T, None, None]],
    n_items: int,
    is_enough: Callable[[], bool] | None = None,
) -> Generator[_T, None, None]:
    """Yield what a generator makes; it is made in a thread while the caller does something else.

    Parameters
    ----------
    make : callable
        Returns the generator; called in the thread, with what ends its waits. It is closed there.
    n_items : int
        How many things may be there at once: being made, waiting, or in use. A caller uses a thing
        until it asks for the next one, so that the memory of the one may be used for the
        ``n_items``-th after it.
    is_enough : callable, optional
        Asked while nothing comes, five times a second. When it says so the generator waits for no
        more: it yields the rest of what it has, or is left alone if it does not within 2 s.

    Yields
    ------
    object
        In the order they are made. The thread starts with the first one that is asked for, and so
        in the process that asks. It has ended when this generator has: used up, closed, or left by
        an error.

    Raises
    ------
    BaseException
        What the generator raises, as it is, behind what it made before.

    Examples
    --------
    >>> list(ahead(lambda stop: (c for c in "abc"), 2))
    ['a', 'b', 'c']
    """
    stop = Stop()
    made: SimpleQueue[_T | _End] = SimpleQueue()
    leave: SimpleQueue[bool] = SimpleQueue()
    thread = Thread(target=_run, args=(make, stop, made, leave), name="read-ahead", daemon=True)
    try:
        for _ in range(n_items):
            leave.put(True)
        thread.start()
        while not isinstance(item := _next(made, stop, is_enough), _End):
            yield item
            leave.put(True)
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        leave.put(False)
        if thread.is_alive():
            thread.join(_END_WITHIN_S)
        if not thread.is_alive():
            stop.close()


def _next(
    made: SimpleQueue[_T | _End], stop: Stop, is_enough: Callable[[], bool] | None
) -> _T | _End:
    """Wait for what is made next."""
    if is_enough is None:
        return made.get()
    while True:
        try:
            return made.get(timeout=_ASK_EVERY_S)
        except Empty:
            if is_enough():
                stop.wait_no_more()
                break
    try:
        return made.get(timeout=_REST_WITHIN_S)
    except Empty:
        return _End(None)


def _run(
    make: Callable[[Stop], Generator[_T, None, None]],
    stop: Stop,
    made: SimpleQueue[_T | _End],
    leave: SimpleQueue[bool],
) -> None:
    error = None
    try:
        with closing(make(stop)) as generator:
            while leave.get() and not stop.is_set:
                made.put(next(generator))
    except StopIteration:
        pass
    except BaseException as raised:  # noqa: BLE001 - it is raised where it is waited for
        error = raised
    made.put(_End(error))
