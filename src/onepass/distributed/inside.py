"""What runs in the processes of workers: a task that tells how far it is, and hears of its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import dask
from distributed import get_worker

from onepass.data.bad_records import BadRecords
from onepass.data.batches import BatchReader
from onepass.distributed.passes import EnoughError, Seen, Tell, named

_R = TypeVar("_R")
_S = TypeVar("_S")
SharedTask: TypeAlias = Callable[[_S, BatchReader, Tell], _R]
"""Takes what is the same for all shards, which it does not change, one of them, and who to tell."""

BASE = "onepass.base"
"""Where Dask's configuration of a worker has the directory of its host's job."""

_TELL_EVERY_S = 0.2


class Count(NamedTuple):
    """What has been read of one shard, by who has read it to its end.

    Attributes
    ----------
    number : int
        Of the shard, among all of a pass.
    worker : str
    n_rows, n_bytes : int
    bad : BadRecords
    n_before : int
        Rows of these that had been read before, up to a checkpoint.
    """

    number: int
    worker: str
    n_rows: int
    n_bytes: int
    bad: BadRecords
    n_before: int = 0


class Done(NamedTuple, Generic[_R]):
    """What was made of some shards, and what they were.

    Attributes
    ----------
    result : object
    counts : tuple of Count
    """

    result: _R
    counts: tuple[Count, ...]


class Order(NamedTuple):
    """Which work of which crew a task belongs to.

    Attributes
    ----------
    crew : str
    topic : str
        Of events, by which it is told how far it has come.
    number : int
        Of the shard.
    """

    crew: str
    topic: str
    number: int


_STOPPED: set[str] = set()
"""Crews whose work is to end with what has been read."""


def stop(crew: str) -> None:
    """Have the tasks of a crew in this process end early, those that come yet included."""
    _STOPPED.add(crew)


def base() -> Path:
    """Return the directory of the job on this worker's host."""
    return Path(dask.config.get(BASE))


def has_base() -> bool:
    """Whether this worker's host takes part in a job of its own: not where a cluster was joined."""
    return dask.config.get(BASE, None) is not None


def do(task: SharedTask[_S, _R], shared: _S, shard: BatchReader, order: Order) -> Done[_R]:
    """Do a task for one shard."""
    worker = get_worker()
    told = -_TELL_EVERY_S

    def tell(seen: Seen) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TELL_EVERY_S:
            told = now
            worker.log_event(order.topic, [order.number, *seen])
        if order.crew in _STOPPED:
            raise EnoughError

    result = named(lambda: task(shared, shard, tell))
    read = shard.n_rows, shard.n_bytes, shard.bad, shard.n_before
    return Done(result, (Count(order.number, str(worker.name), *read),))


def unite(how: Callable[[Any, Any], Any], one: Done[Any], other: Done[Any]) -> Done[Any]:
    """Unite what was made of some shards with what was made of those that follow."""
    result = named(lambda: how(one.result, other.result))
    return Done(result, (*one.counts, *other.counts))
