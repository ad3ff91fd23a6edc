"""A further epoch, or a score, of rows that are taken to a GPU."""

from __future__ import annotations

import numpy as np

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.batches import WeightedSamples
from onepass.cluster.device_batch import FillingBatch, IrregularRowError, check_report
from onepass.cluster.device_plan import plan_search
from onepass.cluster.device_rows import sums_of
from onepass.cluster.device_search import DeviceSearch
from onepass.cluster.epoch import LloydStep, sum_shard, united_steps
from onepass.cluster.kernels.cpu import peak
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.model import KMeansModel
from onepass.cluster.record_intake import RecordIntake


class DeviceEpoch:
    """Sums the rows closest to each center: `onepass.cluster.epoch.sum_shard` on a GPU.

    Parameters
    ----------
    gpu : Gpu
    model : KMeansModel

    Raises
    ------
    NoGpuError
        When the device has too little memory free.

    Notes
    -----
    Products are made in float32. Rows whose squares leave its range, and sparse ones, are left to
    the processor. Memory of the device, with n rows of a batch: ``4 n d``, ``32 k d`` bytes, and
    256 MiB of products.
    """

    def __init__(self, gpu: Gpu, model: KMeansModel) -> None:
        self._gpu, self._model = gpu, model
        k, d = model.centers.shape
        planned = plan_search(k, d, gpu.free_bytes())
        origin = model.centers.mean(axis=0, dtype=np.float64).astype(np.float32)
        centers = (model.centers.astype(np.float64) - origin).astype(np.float32)
        self._origin, self._centers = origin, gpu.put(centers)
        self._search = DeviceSearch(gpu, k, d, planned.n_products, tf32=False)
        self._search.among(self._centers, k)
        self._sums = gpu.new_sums(k, d)
        self._filling = FillingBatch(gpu, planned.batch_rows, origin)
        self._others = LloydStep(np.zeros((k, d)), np.zeros(k), 0.0)

    @property
    def gpu(self) -> Gpu:
        """The device."""
        return self._gpu

    def push(self, data: WeightedSamples) -> None:
        """Take rows from the host."""
        rows, weights = data
        if isinstance(rows, np.ndarray) and self._model.fits(peak(rows)):
            self._filling.fill(WeightedRows(rows, weights), self.take_filled)
        else:
            self._others = united_steps(self._others, sum_shard(self._model, [data]))

    def record_intake(self, n_rows: int) -> RecordIntake | None:
        """Return what takes records as they are; see `onepass.KMeans.record_intake`."""
        worth = self._model.fits(0.0) and n_rows >= self._filling.n_free
        return RecordIntake(self, self._filling) if worth else None

    def take_filled(self) -> None:
        """Add up the rows of the batch that is on the device.

        Raises
        ------
        IrregularRowError
            When not all of its rows are rows; all are there yet.
        """
        gpu, batch = self._gpu, self._filling.batch()
        found = gpu.new_found(len(batch.rows))
        self._search.nearest(batch.rows, found)
        self.check_filled()
        gpu.sum_up(gpu.add(batch, found, self._model.n_clusters), self._sums)
        self._filling.cut(0)

    def check_filled(self) -> None:
        """Look at the rows that wait on the device for more; raises the same."""
        told = self._gpu.read(self._filling.report)
        try:
            check_report(told, self._filling.n_rows, self._model.fits)
        except IrregularRowError:
            self._gpu.blank(self._filling.report)
            raise

    def step(self) -> LloydStep:
        """Return what all rows add up to."""
        if self._filling.n_rows:
            self.take_filled()
        (sums, weights), inertia = sums_of(self._gpu, self._sums, self._origin)
        return united_steps(self._others, LloydStep(sums, weights, inertia))
