"""What is done for a shard of the data on a GPU: as `onepass.training.tasks` has it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.batches import WeightedSamples, as_dense, check_weighted
from onepass.cluster.device_epoch import DeviceEpoch
from onepass.cluster.device_model import SlicedModel
from onepass.cluster.devices import Device, find_gpu
from onepass.cluster.epoch import LloydStep, sum_shard
from onepass.cluster.kernels.gpu import Gpu, NoGpuError
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.cluster.record_intake import RecordIntake
from onepass.cluster.row_buffer import RowBuffer
from onepass.data.batches import BatchReader
from onepass.distributed.passes import EnoughError, Tell
from onepass.formats.arrays import Rows
from onepass.training import tasks
from onepass.training.checkpoints import Checkpoints, Keeper
from onepass.training.record_feed import feed
from onepass.training.tasks import Score

_log = logging.getLogger(__name__)


def summarise(
    kmeans: KMeans, reader: BatchReader, tell: Tell, *, checkpoints: Checkpoints | None = None
) -> KMeans:
    """Take one shard's part of the pass, from records as they lie in the files."""
    keeper = tasks.keeper_of(checkpoints, kmeans, reader)
    n_batches = keeper.resume(kmeans, reader)
    pauses = _Pauses(kmeans, reader, keeper)
    try:
        if not feed(_StreamSink(kmeans), reader, tell, pauses):
            return tasks.go_on(kmeans, reader, tell, keeper, n_batches)
    except EnoughError:
        _log.debug("enough has been read")
    return kmeans.flush()


class _Pauses:
    """Keeps a checkpoint whenever one is due."""

    def __init__(self, kmeans: KMeans, reader: BatchReader, keeper: Keeper) -> None:
        self._kmeans, self._reader, self._keeper = kmeans, reader, keeper

    @property
    def is_due(self) -> bool:
        return self._keeper.is_due

    def keep(self) -> None:
        n_batches = -(-self._reader.position.n_rows // self._reader.batch_rows)
        self._keeper.keep(self._kmeans, self._reader, n_batches)


def step(device: Device, model: KMeansModel, reader: BatchReader, tell: Tell) -> LloydStep:
    """Take one shard's part of a further epoch."""
    gpu = find_gpu(device)
    if gpu is None:
        return tasks.step(model, reader, tell)
    try:
        epoch = DeviceEpoch(gpu, model)
    except NoGpuError:
        return _step_in_slices(gpu, model, reader, tell)
    if not feed(EpochSink(epoch), reader, tell):
        with closing(tasks.weighted(reader, tell)) as batches:
            for batch in batches:
                epoch.push(batch)
    return epoch.step()


def _step_in_slices(gpu: Gpu, model: KMeansModel, reader: BatchReader, tell: Tell) -> LloydStep:
    """Take a shard where centers are too many for the device: a slice of them at a time."""
    try:
        sliced = SlicedModel(model.centers, gpu)
    except NoGpuError as error:  # the model has been made: it shall be saved
        _log.warning("computing on the CPU: %s", error)
        return tasks.step(model, reader, tell)
    with closing(tasks.weighted(reader, tell)) as batches:
        return sum_shard(sliced, _united(batches, RowBuffer(sliced.n_rows, model.n_features)))


def _united(batches: Iterable[WeightedSamples], buffer: RowBuffer) -> Iterator[WeightedRows]:
    """Make batches larger."""
    for rows, weights in batches:
        yield from buffer.push(WeightedRows(as_dense(rows), weights))
    rest = buffer.flush()
    if rest is not None:
        yield rest


def score(device: Device, model: KMeansModel, reader: BatchReader, tell: Tell) -> Score:
    """Score one shard of the test data."""
    return Score(step(device, model, reader, tell).inertia, reader.n_rows)


class _StreamSink:
    """A stream as where rows go."""

    def __init__(self, kmeans: KMeans) -> None:
        self._kmeans = kmeans

    def take(self, rows: Rows) -> None:
        self._kmeans.partial_fit(rows)

    def record_intake(self, n_rows: int) -> RecordIntake | None:
        return self._kmeans.record_intake(n_rows)

    def msds(self) -> tuple[float, float]:
        return self._kmeans.short_term_msd_, self._kmeans.long_term_msd_


class EpochSink:
    """A further epoch as where rows go.

    Parameters
    ----------
    epoch : DeviceEpoch
    """

    def __init__(self, epoch: DeviceEpoch) -> None:
        self._epoch = epoch

    def take(self, rows: Rows) -> None:
        """Take rows that were decoded."""
        self._epoch.push(check_weighted(rows, None))

    def record_intake(self, n_rows: int) -> RecordIntake | None:
        """Return what takes records as they are."""
        return self._epoch.record_intake(n_rows)

    def msds(self) -> tuple[float, float]:
        """Return nothing to speak of: no centers move."""
        return 0.0, 0.0
