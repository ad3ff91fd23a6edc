"""What is done on each host of a job, and by its workers, where the leader has it done."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from onepass.cluster.devices import Device
from onepass.cluster.epoch import LloydStep
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.data.shards import Host
from onepass.distributed.inside import base, has_base
from onepass.distributed.passes import Tell
from onepass.errors import DecodeError
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.sagemaker.inputs import Channel, JobInput, read_job_input
from onepass.sagemaker.paths import Paths
from onepass.training import device_tasks, labels, tasks
from onepass.training.algorithm import usable_gpus
from onepass.training.checkpoints import Checkpoints
from onepass.training.configuration import check_channels
from onepass.training.engines import engine_of_pass
from onepass.training.labels import LabelFiles, Staged, files_of
from onepass.training.readers import host_of as place_of
from onepass.training.readers import may_be_taken_raw, peek_at, recount
from onepass.training.refusals import explained
from onepass.training.stages import LocalEngine
from onepass.training.tasks import Score

EngineOf: TypeAlias = Callable[[Channel, Hyperparameters, Sequence[int], Host], LocalEngine]


class Share(NamedTuple):
    """What one worker of a host reads, and what it computes on.

    Attributes
    ----------
    reader : BatchReader
    device : str
    is_raw : bool
        Whether a GPU takes records as they lie in the files.
    """

    reader: BatchReader
    device: Device
    is_raw: bool


def shares_here(name: str, epoch: int, engine_of: EngineOf, base: Path) -> list[Share]:
    """Return what the workers of this host read of a channel: asked on it."""
    job = read_job_input(Paths(base))
    channel, wanted, place = job.channel(name), job.hyperparameters, place_of(job)
    gpus = [gpu.index for gpu in usable_gpus(wanted)]
    engine = engine_of(channel, wanted, gpus, place)
    is_raw = may_be_taken_raw(channel, wanted)
    readers = engine.readers(epoch)
    return [Share(reader, engine.device(i), is_raw) for i, reader in enumerate(readers)]


def devices_here(base: Path) -> list[Device]:
    """Return the GPUs of this host: asked on it."""
    wanted = read_job_input(Paths(base)).hyperparameters
    return [f"gpu:{gpu.index}" for gpu in usable_gpus(wanted)]


def recount_here(name: str, base: Path) -> None:
    """Read the files of a channel on this host in one piece; see `Engine.recount`."""
    job = read_job_input(Paths(base))
    readers = [share.reader for share in shares_here(name, 0, engine_of_pass, base)]
    try:
        recount(readers, job.channel(name), job.hyperparameters)
    except DecodeError as error:
        raise explained(error, job.hyperparameters) from error


def check_here(base: Path) -> None:
    """Refuse data of this host that cannot be trained on, as far as that is seen at once."""
    check_job(read_job_input(Paths(base)))


def check_job(job: JobInput) -> None:
    """Refuse data of a job, on the host where it is read, as `check_here`."""
    check_channels(job)
    for channel in job.channels():
        if channel.uri and job.host_index:
            continue  # the leader has seen it
        try:
            peek_at(channel, job.hyperparameters, place_of(job))
        except DecodeError as error:
            raise explained(error, job.hyperparameters) from error


def summarise(
    device: Device, is_raw: bool, template: KMeans, reader: BatchReader, tell: Tell
) -> KMeans:
    """Take one shard's part of the pass."""
    kmeans = copy.deepcopy(template).set_params(device=device)
    take = tasks.summarise if device == "cpu" or not is_raw else device_tasks.summarise
    return take(kmeans, reader, tell, checkpoints=_checkpoints_here())


def _checkpoints_here() -> Checkpoints | None:
    """Return where shards are kept that are read on this host."""
    if not has_base():
        return None
    paths = Paths(base())
    job = read_job_input(paths)
    return Checkpoints(paths.checkpoints, job)


def step(device: Device, model: KMeansModel, reader: BatchReader, tell: Tell) -> LloydStep:
    """Take one shard's part of a further epoch."""
    if device == "cpu":
        return tasks.step(model, reader, tell)
    return device_tasks.step(device, model, reader, tell)


def score(device: Device, model: KMeansModel, reader: BatchReader, tell: Tell) -> Score:
    """Score one shard."""
    if device == "cpu":
        return tasks.score(model, reader, tell)
    return device_tasks.score(device, model, reader, tell)


def label(model: KMeansModel, reader: BatchReader, tell: Tell) -> tuple[Staged, ...]:
    """Write the labels of one shard, on the host that has read it."""
    return (labels.label(_files_here(base()), model, reader, tell),)


def place_here(staged: Sequence[Staged], base: Path) -> None:
    """Give the files of labels on this host their names: asked on it."""
    _files_here(base).place(staged)


def forget_here(base: Path) -> None:
    """Remove the labels on this host: asked on it."""
    _files_here(base).forget()


def _files_here(base: Path) -> LabelFiles:
    paths = Paths(base)
    return files_of(read_job_input(paths), paths)
