"""Passes over the data, by one process or by several with a shard each.

A pass is a task that is done for each shard of the data. With one shard that is here; with more,
each has a process of its own, and a core. Threads would wait for one another: Python lets one of
them at a time run between two products. What the tasks return is put together by the caller, in
the order of the shards.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, MutableSequence, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from threading import Event, Thread
from typing import Any, NamedTuple, TypeAlias, TypeVar

from onepass.data.batches import BatchReader
from onepass.distributed.parcels import Parcel, new_memory, unwrap, wrap
from onepass.errors import AlgorithmError, DecodeError, OnepassError, PlatformError, UserError

_R = TypeVar("_R")
_POLL_S = 0.2


class Seen(NamedTuple):
    """How far a pass has come.

    Attributes
    ----------
    n_rows, n_bytes, n_batches : int
    short_term_msd, long_term_msd : float
        Mean squared distance of rows to the summary's centers when they arrived; 0 where none is
        made.
    n_bad_records : int
        That were passed over.
    """

    n_rows: int = 0
    n_bytes: int = 0
    n_batches: int = 0
    short_term_msd: float = 0.0
    long_term_msd: float = 0.0
    n_bad_records: int = 0


class EnoughError(Exception):
    """No more rows are wanted: raised by who is told, for a pass to end with those it has read."""


Tell: TypeAlias = Callable[[Seen], None]
Task: TypeAlias = Callable[[BatchReader, Tell], _R]


def run_pass(task: Task[_R], shards: Sequence[BatchReader], tell: Tell) -> list[_R]:
    """Do a task for each shard.

    Parameters
    ----------
    task : callable
        Takes a shard, and a function to tell how far it has come. A function of a module, or a
        `functools.partial` of one: processes find it by its name.
    shards : sequence
    tell : callable
        Is told how far all shards together have come. Where it raises `EnoughError`, that is raised
        by what tells each task how far it is, too.

    Returns
    -------
    list
        What the task has returned for each shard, in their order. What each has read and passed
        over is in its ``n_rows``, ``n_bytes`` and ``bad``.

    Raises
    ------
    ShardError
        When a task has failed for one of several shards.
    PlatformError
        When the kernel has killed a process.
    """
    if len(shards) < 2:
        return [task(shard, tell) for shard in shards]
    memories = [new_memory() for _ in shards]
    try:
        return _run_in_processes(task, shards, memories, tell)
    finally:
        for memory in memories:
            os.close(memory)


def run_in_threads(
    tasks: Sequence[Task[_R]], shards: Sequence[BatchReader], tell: Tell
) -> list[_R]:
    """Do one task for each shard in a thread of its own: as `run_pass`, where others compute.

    Parameters
    ----------
    tasks : sequence of callable
        One for each shard, with nothing in common that they change.
    shards : sequence
    tell : callable
        Called in the thread that calls this, every fifth of a second and at the end.

    Raises
    ------
    ShardError
        When a task has failed for one of several shards.
    """
    if len(shards) < 2:
        return [task(shard, tell) for task, shard in zip(tasks, shards, strict=True)]
    board, stopped = Board([0.0] * Board.width(len(shards))), Event()

    def work(index: int) -> _R:
        def tell_board(seen: Seen) -> None:
            board.write(index, seen)
            if stopped.is_set():
                raise PlatformError("another part of the work has failed")

        return named(lambda: tasks[index](shards[index], tell_board))

    with ThreadPoolExecutor(len(shards), "shard") as pool:
        try:
            futures = [pool.submit(work, i) for i in range(len(shards))]
            _wait(futures, board, tell)
        finally:
            stopped.set()
    return [future.result() for future in futures]


def named(work: Callable[[], _R]) -> _R:
    """Do something, and say by its name what goes wrong, so that it may be told elsewhere."""
    try:
        return work()
    except DecodeError as error:
        raise ShardError("DecodeError", str(error)) from None
    except OnepassError as error:
        raise ShardError(type(error).__name__, str(error)) from None


def _run_in_processes(
    task: Task[_R], shards: Sequence[BatchReader], memories: Sequence[int], tell: Tell
) -> list[_R]:
    context = multiprocessing.get_context("fork")
    values = context.RawArray("d", Board.width(len(shards)))
    with ProcessPoolExecutor(len(shards), context, _begin, (values, os.getpid())) as pool:
        try:
            futures = [
                pool.submit(_work, i, task, shard, memories[i]) for i, shard in enumerate(shards)
            ]
            _wait(futures, Board(values), tell)
            results = []
            for shard, future, memory in zip(shards, futures, memories, strict=True):
                result, (shard.n_rows, shard.n_bytes, shard.bad) = unwrap(future.result(), memory)
                results.append(result)
            return results
        except BrokenProcessPool as error:
            raise PlatformError(
                "a process was killed, most likely for want of memory: num_workers=1 takes least"
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


class ShardError(OnepassError):
    """A task failed in a process of its own.

    Parameters
    ----------
    kind : str
        The name of the error's class.
    message : str
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def original(self, before: str = "") -> OnepassError:
        """Return an error that means the same, here."""
        kinds = {"PlatformError": PlatformError, "AlgorithmError": AlgorithmError}
        return kinds.get(self.kind, UserError)(f"{before}{self.message}")


class Board:
    """On which each shard writes how far it has come, and reads whether that is enough.

    Parameters
    ----------
    values : sequence of float
        As many as `width` says, 0 at first; shared with those who do the shards.
    """

    def __init__(self, values: MutableSequence[float]) -> None:
        self._values = values

    @staticmethod
    def width(n_shards: int) -> int:
        """Return how many values a board of so many shards has."""
        return 1 + len(Seen._fields) * n_shards

    def write(self, index: int, seen: Seen) -> None:
        """Tell how far a shard has come.

        Raises
        ------
        EnoughError
            When that is enough.
        """
        self.note(index, seen)
        if self._values[0]:
            raise EnoughError

    def note(self, index: int, seen: Seen) -> None:
        """Tell the same; whether it is enough is asked elsewhere."""
        start = 1 + index * len(Seen._fields)
        self._values[start : start + len(Seen._fields)] = seen

    def stop(self) -> None:
        """Say that it is enough."""
        self._values[0] = 1.0

    def total(self) -> Seen:
        """Return how far all shards together have come."""
        values, width = self._values, len(Seen._fields)
        seen = [Seen._make(values[i : i + width]) for i in range(1, len(values), width)]
        n_rows = sum(one.n_rows for one in seen)
        return Seen(
            int(n_rows),
            int(sum(one.n_bytes for one in seen)),
            int(sum(one.n_batches for one in seen)),
            sum(one.short_term_msd * one.n_rows for one in seen) / max(n_rows, 1),
            sum(one.long_term_msd * one.n_rows for one in seen) / max(n_rows, 1),
            int(sum(one.n_bad_records for one in seen)),
        )


def _wait(futures: Sequence[Future[Any]], board: Board, tell: Tell) -> None:
    """Tell how far all have come until they have ended or one has failed."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=_POLL_S)
        try:
            tell(board.total())
        except EnoughError:
            board.stop()
        for future in done:
            future.result()


class _Process:
    """What a process of a shard shares with the one that has started it."""

    board: Board


def _begin(values: MutableSequence[float], parent: int) -> None:
    """Set up a process: the one that started it is told, and ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Process.board = Board(values)
    Thread(target=_leave_with, args=(parent,), name="orphan", daemon=True).start()


def _leave_with(parent: int) -> None:
    """End this process soon after the one that started it: killed, it cannot say so itself."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


def _work(index: int, task: Task[Any], shard: BatchReader, memory: int) -> Parcel:
    def tell(seen: Seen) -> None:
        _Process.board.write(index, seen)

    def work() -> Parcel:
        result = task(shard, tell)
        return wrap((result, (shard.n_rows, shard.n_bytes, shard.bad)), memory)

    return named(work)
