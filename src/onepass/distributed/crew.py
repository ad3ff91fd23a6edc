"""Workers on Dask, and how a pass is made by them.

Each shard is a task, each union of what two of them have made is one, too: Dask runs unions where
what they unite is, and makes anew what was lost with a worker. What comes to the one who asks is
the last of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple, TypeVar

from distributed import Client, Future
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import KilledWorker, Scheduler

from onepass.data.batches import BatchReader
from onepass.distributed import inside
from onepass.distributed.inside import Done, Order, SharedTask
from onepass.distributed.passes import Board, EnoughError, Seen, ShardError, Tell, named
from onepass.distributed.plan import tree
from onepass.errors import PlatformError

_R = TypeVar("_R")
_POLL_S = 0.2
_ASKED, _READ = "when it was asked for its data", "and no other host has its data"


class Piece(NamedTuple):
    """A shard, what is done for it, and who can read it.

    Attributes
    ----------
    task : callable
        ``(shared, shard, tell)``. A function of a module, or a `functools.partial` of one.
    shard : BatchReader
    host : str
        The one that it lies on; empty where there are no hosts to be told apart.
    anywhere : bool
        Whether the other hosts have it, too.
    """

    task: SharedTask[Any, Any]
    shard: BatchReader
    host: str = ""
    anywhere: bool = True


class Departures(SchedulerPlugin):
    """Notes which workers have gone."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self._names: dict[str, str] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Note the names of those that have come before this."""
        for worker in scheduler.workers:
            self.add_worker(scheduler, worker)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Note the name of one that has come."""
        self._names[worker] = str(scheduler.workers[worker].name)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Note that one has gone."""
        del scheduler
        self.gone.append(self._names.get(worker, worker))


class Crew:
    """Workers, by way of a client.

    Parameters
    ----------
    client : distributed.Client
    departures : Departures, optional
        Where the scheduler is ours.
    """

    def __init__(self, client: Client, departures: Departures | None = None) -> None:
        self._client = client
        self._departures = departures or Departures()
        self._id = uuid.uuid4().hex

    def workers(self) -> dict[str, list[str]]:
        """Return the names of workers, by their hosts."""
        known = self._client.scheduler_info(n_workers=-1)["workers"].values()
        found: dict[str, list[str]] = {}
        for name in sorted(str(worker["name"]) for worker in known):
            found.setdefault(host_of(name), []).append(name)
        return found

    @property
    def n_workers(self) -> int:
        """How many workers there are."""
        return sum(map(len, self.workers().values()))

    def ask_hosts(self, hosts: Sequence[str], question: Callable[[Path], _R]) -> list[_R]:
        """Ask a worker of each host something; each is told the directory of its host's job.

        Raises
        ------
        PlatformError
            When a host has no worker any more, or loses it.
        OnepassError
            As the question, with the name of the host.
        """
        gone, workers = len(self._departures.gone), self.workers()
        asked = [
            self._client.submit(_answer, question, workers=self._of(host, workers), pure=False)
            for host in hosts
        ]
        answers = []
        for host, future in zip(hosts, asked, strict=True):
            self._wait(future, lambda: self._check_departures(gone, set(hosts), _ASKED))
            try:
                answers.append(_result(future, f"data on host {host}"))
            except ShardError as error:
                raise error.original(f"host {host}: ") from error
        return answers

    def reduce(
        self,
        shared: object,
        pieces: Sequence[Piece],
        unite: Callable[[_R, _R], _R],
        tell: Tell,
    ) -> Done[_R]:
        """Do the task of each shard, and unite what they make, in the order of the shards.

        Parameters
        ----------
        shared : object
            Is sent to each worker once.
        pieces : sequence of Piece
            One at least.
        unite : callable
            Changes neither of the two that it takes.
        tell : callable
            See `onepass.distributed.passes.run_pass`.

        Raises
        ------
        ShardError
            When a task has failed.
        PlatformError
            When a worker has gone that had data which no other has, or too many have.
        """
        topic, board = f"onepass-{uuid.uuid4().hex}", _SharedBoard(len(pieces))
        self._client.subscribe_topic(topic, board.hear)
        try:
            gone, pinned = len(self._departures.gone), {p.host for p in pieces if not p.anywhere}
            final = self._submit(shared, pieces, unite, topic)

            def look() -> None:
                self._check_departures(gone, pinned, _READ)
                try:
                    tell(board.total())
                except EnoughError:
                    self.stop()

            self._wait(final, look)
            done: Done[_R] = _result(final, "the data")
            with suppress(EnoughError):  # it is all that there will be
                tell(board.total_of(done))
        finally:
            self._client.unsubscribe_topic(topic)
        return done

    def stop(self) -> None:
        """Have all tasks end with what they have read."""
        self._client.run(inside.stop, self._id, on_error="ignore")

    def _submit(
        self,
        shared: object,
        pieces: Sequence[Piece],
        unite: Callable[[_R, _R], _R],
        topic: str,
    ) -> Future[Any]:
        client, workers = self._client, self.workers()
        there = client.scatter(shared, broadcast=True, hash=False)
        of_host: dict[str, int] = {}
        parts = []
        for i, piece in enumerate(pieces):
            wanted = self._of(piece.host, workers) if piece.host else None
            if wanted:
                place = of_host[piece.host] = of_host.get(piece.host, -1) + 1
                wanted = [wanted[place % len(wanted)]] if piece.anywhere else wanted
            where = {"workers": wanted, "allow_other_workers": piece.anywhere} if wanted else {}
            order = Order(self._id, topic, i)
            parts.append(
                client.submit(inside.do, piece.task, there, piece.shard, order, pure=False, **where)
            )
        return tree(parts, lambda a, b: client.submit(inside.unite, unite, a, b, pure=False))

    @staticmethod
    def _of(host: str, workers: dict[str, list[str]]) -> list[str]:
        if host not in workers:
            raise PlatformError(f"host {host} has no worker any more")
        return workers[host]

    def _check_departures(self, n_before: int, hosts: set[str], when: str) -> None:
        """Refuse to go on without workers of some hosts."""
        for name in self._departures.gone[n_before:]:
            if host_of(name) in hosts:
                raise PlatformError(
                    f"host {host_of(name)} has lost a worker ({name}), killed or cut off, {when}"
                )

    @staticmethod
    def _wait(future: Future[Any], look: Callable[[], None]) -> None:
        ended = Event()
        future.add_done_callback(lambda _: ended.set())
        while not ended.wait(_POLL_S):
            look()


class _SharedBoard:
    """How far shards have come, as it is heard of by events."""

    def __init__(self, n_shards: int) -> None:
        self._board = Board([0.0] * Board.width(n_shards))
        self._lock = Lock()

    def hear(self, event: tuple[float, list[float]]) -> None:
        """Hear of one shard."""
        index, *seen = event[1]
        with self._lock:
            self._board.note(int(index), Seen._make(seen))

    def total(self) -> Seen:
        """Return how far all have come."""
        with self._lock:
            return self._board.total()

    def total_of(self, done: Done[Any]) -> Seen:
        """Return how far all have come that are done: events may be late, or lost."""
        counts, told = done.counts, self.total()
        return told._replace(
            n_rows=sum(count.n_rows for count in counts),
            n_bytes=sum(count.n_bytes for count in counts),
            n_bad_records=sum(count.bad.n for count in counts),
        )


def name_of(host: str, index: int) -> str:
    """Return the name of a worker of a host."""
    return f"{host}#{index}"


def host_of(name: str) -> str:
    """Return the host in the name of a worker."""
    return name.rpartition("#")[0]


def _answer(question: Callable[[Path], _R]) -> _R:
    return named(lambda: question(inside.base()))


def _result(future: Future[Any], whose: str) -> Any:
    """Return what a task has given, or raise what it has raised."""
    try:
        return future.result()
    except KilledWorker as error:
        raise PlatformError(
            f"workers that read {whose} were killed again and again, the last one "
            f"{error.last_worker.name}: most likely for want of memory"
        ) from error
    except CancelledError as error:
        raise PlatformError(f"the workers that read {whose} have gone: {error}") from error
