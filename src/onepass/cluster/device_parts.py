"""What of a stream is on a GPU while it is there, and how batches are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Rows
from onepass.cluster.device_batch import FillingBatch, IrregularRowError
from onepass.cluster.device_plan import DevicePlan
from onepass.cluster.device_sample import Age, DeviceSample
from onepass.cluster.device_summary import DeviceSummary
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Coins, DeviceBatch, Found
from onepass.cluster.reservoir import Reservoir
from onepass.cluster.summary import Summary


class Ties(NamedTuple):
    """What ties a stream's parts on a device to the stream.

    Attributes
    ----------
    fits : callable
        See `onepass.cluster.device_batch.check_report`.
    watch : callable
        Is told the mean squared distance of each batch, when it is known: a batch later.
    """

    fits: Callable[[float], bool]
    watch: Callable[[float], None]


class AbsorbedThere(NamedTuple):
    """A batch, and which center has absorbed each of its rows.

    Attributes
    ----------
    batch : DeviceBatch
    found : Found
    """

    batch: DeviceBatch
    found: Found


class DeviceParts:
    """A summary, a sample, and the batch that is being filled.

    Parameters
    ----------
    gpu : Gpu
    plan : DevicePlan
    summary : Summary
    reservoir : Reservoir
        Of the host: both are copied.
    seeds : numpy.random.SeedSequence
    ties : Ties

    Attributes
    ----------
    summary : DeviceSummary
    sample : DeviceSample
    filling : FillingBatch
    origin : ndarray of shape (n_features,), float32
        What rows are relative to.
    service_cost : float
        Of the summary, as far as it is known: a batch behind.
    """

    def __init__(
        self,
        gpu: Gpu,
        plan: DevicePlan,
        summary: Summary,
        reservoir: Reservoir[Rows],
        seeds: np.random.SeedSequence,
        ties: Ties,
    ) -> None:
        most, n_products, _ = plan
        self._gpu, self._watch = gpu, ties.watch
        self.origin = (summary.sums.sum(axis=0) / summary.weights.sum()).astype(np.float32)
        self.summary = DeviceSummary(gpu, summary, self.origin, n_products, ties.fits)
        self.sample = DeviceSample(gpu, reservoir.capacity, reservoir.kept(), self.origin, most)
        self.filling = FillingBatch(gpu, most, self.origin)
        self.service_cost = summary.service_cost
        self._opening, self._drawing = map(int, seeds.generate_state(2, np.uint64))
        self._untold: _Batch | None = None

    def absorb(self, n_before: int, share: float) -> AbsorbedThere:
        """Absorb the batch.

        Parameters
        ----------
        n_before : int
            Rows of the stream before it.
        share : float
            What is left of the weight of everything before.

        Raises
        ------
        IrregularRowError
            When not all of its rows are rows; all are there yet.
        """
        filling = self.filling
        batch, weight = filling.batch(), filling.weight()
        openings = Coins(self._opening, n_before)
        try:
            found, told = self.summary.absorb(batch, openings, share, filling.report)
        except IrregularRowError as error:
            self._forget(error.told)
            raise
        self._learn(told)
        self._untold = _Batch(weight, share)
        return AbsorbedThere(batch, found)

    def draw(self, absorbed: AbsorbedThere, n_before: int, age: Age) -> None:
        """Sample the batch that has been absorbed, make room, and let it be filled anew."""
        filling, summary = self.filling, self.summary
        draws, service = Coins(self._drawing, n_before), summary.service
        self.sample.offer(*absorbed, draws, age, service, filling.report)
        filling.cut(0)
        if summary.overfull():
            self.learn()
            self.sample.relabel(summary.consolidate())

    def check(self) -> None:
        """Look at the rows that wait for more; raises as `absorb`."""
        told = self._gpu.read(self.filling.report)
        try:
            self.summary.check(told, self.filling.n_rows)
        except IrregularRowError as error:
            self._forget(error.told)
            raise
        self._learn(told)

    def learn(self) -> None:
        """Learn what the last batch has cost, and what it has given to the sample: once."""
        self._learn(self._gpu.read(self.filling.report))

    def _forget(self, told: np.void) -> None:
        """Let what has been told of irregular rows be forgotten."""
        self._learn(told)
        self._gpu.blank(self.filling.report)

    def _learn(self, told: np.void) -> None:
        if self._untold is None:
            return
        (weight, share), self._untold = self._untold, None
        cost = float(told["cost"])
        self.service_cost = self.service_cost * share + cost
        self._watch(cost / weight)
        self.sample.count(int(told["n_sampled"]))


class _Batch(NamedTuple):
    """A batch of which the device has not told yet what it has cost."""

    weight: float
    share: float  # that was left of everything before
