"""Where the stages of a job are done: by processes, a core each, or by GPUs, a thread each."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial

from onepass.cluster.devices import Device
from onepass.cluster.epoch import LloydStep
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.data.shards import ALONE, Host
from onepass.data.sources import n_bytes_of
from onepass.distributed.passes import Task, Tell, run_in_threads, run_pass
from onepass.resources import available_cpus
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.sagemaker.inputs import Channel
from onepass.training import device_tasks, labels, tasks
from onepass.training.algorithm import n_centers_of
from onepass.training.checkpoints import Checkpoints
from onepass.training.labels import LabelFiles, Staged
from onepass.training.readers import is_text, may_be_taken_raw, readers_of, recount
from onepass.training.record_feed import is_packed, is_plain
from onepass.training.stages import Engine, LabelEngine, LocalEngine
from onepass.training.tasks import Score

_log = logging.getLogger(__name__)

_BYTES_A_GPU = 2**28
_WORTH_A_PASS = 2**34
"""Bytes times clusters: below, a further pass takes the processor no time to speak of."""

_TEXT_CENTERS = 500
"""Centers of a summary for which a core searches as fast as it reads numbers in texts."""


class LocalEngines:
    """Where the stages of a job of one host are done.

    Parameters
    ----------
    wanted : Hyperparameters
    gpus : sequence of int
        Those that can be used, by their numbers.
    checkpoints : Checkpoints
        Of the one pass.
    """

    def __init__(
        self, wanted: Hyperparameters, gpus: Sequence[int], checkpoints: Checkpoints
    ) -> None:
        self._wanted, self._gpus, self._checkpoints = wanted, gpus, checkpoints

    def of_pass(self, channel: Channel) -> Engine:
        """Return where the one pass is made."""
        engine = engine_of_pass(channel, self._wanted, self._gpus)
        engine.checkpoints = self._checkpoints
        return engine

    def of_model(self, channel: Channel) -> Engine:
        """Return where the rows of a channel are searched among the final centers."""
        return engine_of_model(channel, self._wanted, self._gpus)

    def of_labels(self, channel: Channel) -> LabelEngine:
        """Return where the labels of a channel are written."""
        return HostEngine(channel, self._wanted)


def engine_of_pass(
    channel: Channel, wanted: Hyperparameters, gpus: Sequence[int], host: Host = ALONE
) -> LocalEngine:
    """Return where the one pass is made.

    Parameters
    ----------
    channel : Channel
    wanted : Hyperparameters
    gpus : sequence of int
        Those that can be used, by their numbers.
    host : Host
        Which of the job's hosts this is.

    Notes
    -----
    Sparse rows are left to the processor, and so are texts and what is compressed where reading
    takes longer than clustering, if both may be used.
    """
    here = HostEngine(channel, wanted, host)
    if not gpus:
        return here
    reason = _why_host(channel, wanted, host)
    if reason:
        _log.info("the processor takes the data: %s", reason)
        return here
    return GpuEngine(channel, wanted, gpus, host)


def _why_host(channel: Channel, wanted: Hyperparameters, host: Host) -> str:
    """Return why a GPU does not take a channel, or nothing."""
    few = n_centers_of(wanted) < _TEXT_CENTERS * available_cpus()
    may_choose = wanted.device == "auto" and few
    if not may_be_taken_raw(channel, wanted):
        is_read_longer = may_choose and is_text(channel)
        return "texts are read longer than they are clustered" if is_read_longer else ""
    whole = _whole(channel, wanted, host)
    if not all(map(is_plain, whole)):
        return "its first records are not all dense, and alike"
    is_unpacked_longer = may_choose and any(map(is_packed, whole))
    return "it is unpacked longer than it is clustered" if is_unpacked_longer else ""


def engine_of_model(
    channel: Channel, wanted: Hyperparameters, gpus: Sequence[int], host: Host = ALONE
) -> LocalEngine:
    """Return where the rows of a channel are searched among the final centers."""
    here = HostEngine(channel, wanted, host)
    if not gpus or not may_be_taken_raw(channel, wanted):
        return here
    whole = _whole(channel, wanted, host)
    n_bytes = sum(n_bytes_of(reader.sources) for reader in whole)
    if n_bytes * wanted.most_k < _WORTH_A_PASS or any(map(is_packed, whole)):
        return here
    if not all(map(is_plain, whole)):
        return here
    return GpuEngine(channel, wanted, gpus, host)


def engine_of_labels(
    channel: Channel, wanted: Hyperparameters, gpus: Sequence[int], host: Host = ALONE
) -> LocalEngine:
    """Return where labels are written: processes, whatever GPUs there are."""
    del gpus
    return HostEngine(channel, wanted, host)


def _whole(
    channel: Channel, wanted: Hyperparameters, host: Host, epoch: int = 0
) -> list[BatchReader]:
    """Return one reader for all that this host reads, if there is anything."""
    return readers_of(channel, dataclasses.replace(wanted, num_workers=1), epoch, host=host)


class HostEngine:
    """Processes of this host.

    Attributes
    ----------
    checkpoints : Checkpoints or None
        See `LocalEngine`.
    """

    checkpoints: Checkpoints | None = None

    def __init__(self, channel: Channel, wanted: Hyperparameters, host: Host = ALONE) -> None:
        self._channel, self._wanted, self._host = channel, wanted, host

    def readers(self, epoch: int = 0) -> list[BatchReader]:
        """Return a reader for each worker that has something to read."""
        return readers_of(self._channel, self._wanted, epoch, host=self._host)

    def device(self, index: int) -> Device:
        """Return what a shard is computed on: the processor."""
        del index
        return "cpu"

    def recount(self, readers: Sequence[BatchReader]) -> None:
        """Read all that has been shared out once more, in one piece, up to what is wrong."""
        recount(readers, self._channel, self._wanted)

    def summarise(self, kmeans: KMeans, readers: Sequence[BatchReader], tell: Tell) -> list[KMeans]:
        """Make the pass."""
        kmeans.set_params(device="cpu")  # a driver cannot be used on both sides of a fork
        if len(readers) > 1:
            _log.info("%d processes share the data", len(readers))
            kmeans = kmeans.shard(len(readers))
        task = partial(tasks.summarise, kmeans, checkpoints=self.checkpoints)
        return run_pass(task, readers, tell)

    def step(
        self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[LloydStep]:
        """Sum the rows closest to each center."""
        return run_pass(partial(tasks.step, model), readers, tell)

    def score(self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell) -> list[Score]:
        """Score rows."""
        return run_pass(partial(tasks.score, model), readers, tell)

    def label(
        self, files: LabelFiles, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[Staged]:
        """Write labels."""
        return run_pass(partial(labels.label, files, model), readers, tell)

    def place(self, files: LabelFiles, staged: Sequence[Staged]) -> None:
        """Give the files their names."""
        files.place(staged)

    def forget(self, files: LabelFiles) -> None:
        """Remove what has been written."""
        files.forget()


class GpuEngine:
    """The GPUs of this host.

    Attributes
    ----------
    checkpoints : Checkpoints or None
        See `LocalEngine`.
    """

    checkpoints: Checkpoints | None = None

    def __init__(
        self, channel: Channel, wanted: Hyperparameters, gpus: Sequence[int], host: Host = ALONE
    ) -> None:
        self._channel, self._wanted, self._gpus, self._host = channel, wanted, gpus, host
        self._raw = may_be_taken_raw(channel, wanted)

    def readers(self, epoch: int = 0) -> list[BatchReader]:
        """Return a reader for each GPU that is worth its start."""
        readers = _whole(self._channel, self._wanted, self._host, epoch)
        n_bytes = sum(n_bytes_of(reader.sources) for reader in readers)
        n = min(len(self._gpus), n_bytes // _BYTES_A_GPU)
        if n < 2:
            return readers
        wanted = dataclasses.replace(self._wanted, num_workers=n)
        return readers_of(self._channel, wanted, epoch, host=self._host)

    def recount(self, readers: Sequence[BatchReader]) -> None:
        """Read all that has been shared out once more, in one piece, up to what is wrong."""
        recount(readers, self._channel, self._wanted)

    def summarise(self, kmeans: KMeans, readers: Sequence[BatchReader], tell: Tell) -> list[KMeans]:
        """Make the pass."""
        first = kmeans.set_params(device=self.device(0))
        shards = [first.restore(first.state()) if first.n_samples_seen_ else first]
        if len(readers) > 1:
            _log.info("%d GPUs share the data", len(readers))
            shards = [
                kmeans.shard(len(readers)).set_params(device=self.device(i))
                for i in range(len(readers))
            ]
        take = device_tasks.summarise if self._raw else tasks.summarise
        work: list[Task[KMeans]] = [
            partial(take, shard, checkpoints=self.checkpoints) for shard in shards
        ]
        return run_in_threads(work, readers, tell)

    def step(
        self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[LloydStep]:
        """Sum the rows closest to each center."""
        work: list[Task[LloydStep]] = [
            partial(device_tasks.step, self.device(i), model) for i in range(len(readers))
        ]
        return run_in_threads(work, readers, tell)

    def score(self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell) -> list[Score]:
        """Score rows."""
        work: list[Task[Score]] = [
            partial(device_tasks.score, self.device(i), model) for i in range(len(readers))
        ]
        return run_in_threads(work, readers, tell)

    def device(self, index: int) -> Device:
        """Return the name of the GPU of a shard."""
        return f"gpu:{self._gpus[index]}"
