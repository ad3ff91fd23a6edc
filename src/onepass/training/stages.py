"""What a job asks of wherever its stages are done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from onepass.cluster.devices import Device
from onepass.cluster.epoch import LloydStep
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.distributed.passes import Tell
from onepass.sagemaker.inputs import Channel
from onepass.training.checkpoints import Checkpoints
from onepass.training.labels import LabelFiles, Staged
from onepass.training.tasks import Score


class Engine(Protocol):
    """Where one stage is done."""

    def readers(self, epoch: int = 0) -> list[BatchReader]:
        """Return a reader for each shard of the stage's channel."""

    def summarise(self, kmeans: KMeans, readers: Sequence[BatchReader], tell: Tell) -> list[KMeans]:
        """Make the pass; returns what has taken each shard, the one that is given if it is one."""

    def step(
        self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[LloydStep]:
        """Sum the rows closest to each center, shard by shard."""

    def score(self, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell) -> list[Score]:
        """Score rows, shard by shard."""

    def recount(self, readers: Sequence[BatchReader]) -> None:
        """Read all that has been shared out once more, in one piece, up to what is wrong.

        A shard does not know how many records are before its own.

        Raises
        ------
        DecodeError
            With the number of the record in its file.
        """


class LabelEngine(Protocol):
    """Where labels are written: by processors, so that they are what serving answers."""

    def readers(self, epoch: int = 0) -> list[BatchReader]:
        """Return a reader for each shard of the channel."""

    def label(
        self, files: LabelFiles, model: KMeansModel, readers: Sequence[BatchReader], tell: Tell
    ) -> list[Staged]:
        """Write the labels of each shard to a file that has no name yet."""

    def place(self, files: LabelFiles, staged: Sequence[Staged]) -> None:
        """Give the files their names, in the order of the shards: all of them, or none."""

    def forget(self, files: LabelFiles) -> None:
        """Remove what this job, or an earlier one, has written on any of its hosts."""

    def recount(self, readers: Sequence[BatchReader]) -> None:
        """Read all once more, up to what is wrong; see `Engine`."""


class Engines(Protocol):
    """Where the stages of a job are done."""

    def of_pass(self, channel: Channel) -> Engine:
        """Return where the one pass is made."""

    def of_model(self, channel: Channel) -> Engine:
        """Return where the rows of a channel are searched among the final centers."""

    def of_labels(self, channel: Channel) -> LabelEngine:
        """Return where the labels of a channel are written."""


class LocalEngine(Engine, Protocol):
    """Where one stage is done, on this host.

    Attributes
    ----------
    checkpoints : Checkpoints or None
        Where each shard of the one pass keeps what it has learnt.
    """

    checkpoints: Checkpoints | None

    def device(self, index: int) -> Device:
        """Return what a shard is computed on."""
