"""Where the stages of a job are done when its hosts do them together."""

from __future__ import annotations

import dataclasses
import logging
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from onepass.cluster.epoch import LloydStep, united_steps
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.distributed.crew import Crew, Piece, host_of
from onepass.distributed.passes import Tell
from onepass.errors import AlgorithmError
from onepass.sagemaker.inputs import Channel, Distribution, InputMode, JobInput
from onepass.training import crew_tasks
from onepass.training.algorithm import united
from onepass.training.crew_tasks import EngineOf
from onepass.training.engines import (
    engine_of_labels,
    engine_of_model,
    engine_of_pass,
)
from onepass.training.labels import LabelFiles, Staged
from onepass.training.readers import readers_of, recount
from onepass.training.tasks import Score, united_scores

_log = logging.getLogger(__name__)

_R = TypeVar("_R")


class CrewEngines:
    """The workers of all hosts; see `onepass.training.engines.Engines`.

    Parameters
    ----------
    crew : Crew
    job : JobInput
    """

    def __init__(self, crew: Crew, job: JobInput) -> None:
        self._crew, self._job = crew, job

    def of_pass(self, channel: Channel) -> CrewEngine:
        """Return where the one pass is made."""
        return CrewEngine(self._crew, self._job, self._job.hosts, channel)

    def of_model(self, channel: Channel) -> CrewEngine:
        """Return where the rows of a channel are searched among the final centers."""
        return CrewEngine(self._crew, self._job, self._job.hosts, channel, engine_of_model)

    def of_labels(self, channel: Channel) -> CrewEngine:
        """Return where the labels of a channel are written."""
        return CrewEngine(self._crew, self._job, self._job.hosts, channel, engine_of_labels)


class ClusterEngines:
    """The workers of a cluster that find data under the paths that they have here.

    Parameters
    ----------
    crew : Crew
    job : JobInput
        Whose ``num_workers`` says how many shards there are; by default, as many as workers.
    """

    def __init__(self, crew: Crew, job: JobInput) -> None:
        self._crew, self._job = crew, job

    def of_pass(self, channel: Channel) -> ClusterEngine:
        """Return where the one pass is made."""
        return ClusterEngine(self._crew, self._job, channel)

    def of_model(self, channel: Channel) -> ClusterEngine:
        """Return where the rows of a channel are searched among the final centers."""
        return ClusterEngine(self._crew, self._job, channel)

    def of_labels(self, channel: Channel) -> CrewEngine:
        """Refuse: whose disk they would be written to is not known."""
        raise AlgorithmError(f"labels of {channel.name!r} are refused before a cluster is asked")


class CrewEngine:
    """The workers of all hosts; see `onepass.training.engines.Engine`.

    Parameters
    ----------
    crew : Crew
    job : JobInput
    hosts : sequence of str
        Those to be asked what they have; none where all have the same.
    channel : Channel
    engine_of : callable
        Returns where each host does its part.
    """

    def __init__(
        self,
        crew: Crew,
        job: JobInput,
        hosts: Sequence[str],
        channel: Channel,
        engine_of: EngineOf = engine_of_pass,
    ) -> None:
        self._crew, self._hosts, self._channel, self._engine_of = crew, hosts, channel, engine_of
        self._wanted = job.hyperparameters
        # A pipe can be read once; what was dealt out to hosts is on one of them alone.
        self._anywhere = (
            channel.distribution == Distribution.REPLICATED and channel.mode != InputMode.PIPE
        )
        self._shares: list[tuple[str, crew_tasks.Share]] = []

    def readers(self, epoch: int = 0) -> list[BatchReader]:
        """Return a reader for each shard of the stage's channel."""
        if self._channel.uri:
            return self._readers_of_objects()
        question = partial(crew_tasks.shares_here, self._channel.name, epoch, self._engine_of)
        answers = self._crew.ask_hosts(self._hosts, question)
        pairs = zip(self._hosts, answers, strict=True)
        self._shares = [(host, share) for host, shares in pairs for share in shares]
        return [share.reader for _, share in self._shares]

    def _readers_of_objects(self) -> list[BatchReader]:
        """Cut objects in S3, which are listed here, into as many shards as there are workers."""
        workers, devices = (
            self._crew.workers(),
            self._crew.ask_hosts(self._hosts, crew_tasks.devices_here),
        )
        places = [
            (host, devices[i][j] if j < len(devices[i]) else "cpu")
            for i, host in enumerate(self._hosts)
            for j in range(len(workers[host]))
        ]
        wanted = dataclasses.replace(self._wanted, num_workers=len(places))
        readers = readers_of(self._channel, wanted)
        pairs = zip(places, readers, strict=False)
        self._shares = [
            (host, crew_tasks.Share(reader, device, False)) for (host, device), reader in pairs
        ]
        return readers

    def summarise(self, kmeans: KMeans, readers: Sequence[BatchReader], tell: Tell) -> list[KMeans]:
        """Make the pass."""
        if not readers:
            return [kmeans]
        template = kmeans.shard(len(readers))
        where = f"of {len(self._hosts)} hosts" if self._hosts else "of the cluster"
        _log.info("%d workers %s share the data", len(readers), where)
        parts = [
            partial(crew_tasks.summarise, share.device, share.is_raw) for _, share in self._shares
        ]
        return self._reduce(template, parts, united, tell)

    def step(
        self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[LloydStep]:
        """Sum the rows closest to each center."""
        del readers
        parts = [partial(crew_tasks.step, share.device) for _, share in self._shares]
        return self._reduce(model, parts, united_steps, tell)

    def score(self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell) -> list[Score]:
        """Score rows."""
        del readers
        parts = [partial(crew_tasks.score, share.device) for _, share in self._shares]
        return self._reduce(model, parts, united_scores, tell)

    def label(
        self, files: LabelFiles, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[Staged]:
        """Write labels, each host those of what it reads."""
        del files, readers
        [staged] = self._reduce(
            model, [crew_tasks.label] * len(self._shares), operator.add, tell
        ) or [()]
        return list(staged)

    def place(self, files: LabelFiles, staged: Sequence[Staged]) -> None:
        """Give the files their names."""
        del files
        self._crew.ask_hosts(self._hosts, partial(crew_tasks.place_here, staged))

    def forget(self, files: LabelFiles) -> None:
        """Remove what has been written, on all hosts."""
        del files
        self._crew.ask_hosts(self._hosts, crew_tasks.forget_here)

    def recount(self, readers: Sequence[BatchReader]) -> None:
        """Have each host read its files in one piece, one after the other."""
        if self._channel.uri:
            recount(readers, self._channel, self._wanted)
            return
        hosts = self._hosts[:1] if self._anywhere else self._hosts
        for host in hosts:
            self._crew.ask_hosts([host], partial(crew_tasks.recount_here, self._channel.name))

    def _reduce(
        self, shared: object, tasks: Sequence[Any], unite: Callable[[_R, _R], _R], tell: Tell
    ) -> list[_R]:
        if not tasks:
            return []
        pieces = [
            Piece(task, share.reader, host, self._anywhere)
            for task, (host, share) in zip(tasks, self._shares, strict=True)
        ]
        done = self._crew.reduce(shared, pieces, unite, tell)
        n_rows: dict[str, int] = dict.fromkeys(self._hosts, 0)
        for count in done.counts:
            reader = self._shares[count.number][1].reader
            reader.n_rows, reader.n_bytes, reader.bad = count.n_rows, count.n_bytes, count.bad
            who = host_of(count.worker) if self._hosts else count.worker
            n_rows[who] = n_rows.get(who, 0) + count.n_rows
            if count.n_before:
                _log.info("%s has gone on from a checkpoint of %d rows", who, count.n_before)
        kind = "host" if self._hosts else "worker"
        for who, n in n_rows.items():
            _log.info("%s %s has read %d records", kind, who, n)
        _log.info("all %ss have read %d records", kind, sum(n_rows.values()))
        return [done.result]


class ClusterEngine(CrewEngine):
    """The workers of a cluster of the user's own; see `onepass.training.engines.Engine`.

    Parameters
    ----------
    crew : Crew
    job : JobInput
    channel : Channel
    """

    def __init__(self, crew: Crew, job: JobInput, channel: Channel) -> None:
        super().__init__(crew, job, (), channel)
        self._anywhere = True

    def readers(self, epoch: int = 0) -> list[BatchReader]:
        """Return a reader for each shard of the stage's channel."""
        wanted = self._wanted
        if wanted.num_workers == "auto":
            wanted = dataclasses.replace(wanted, num_workers=self._crew.n_workers)
        readers = readers_of(self._channel, wanted, epoch)
        self._shares = [("", crew_tasks.Share(reader, "cpu", is_raw=False)) for reader in readers]
        return readers

    def recount(self, readers: Sequence[BatchReader]) -> None:
        """Read the files here, in one piece."""
        recount(readers, self._channel, self._wanted)
