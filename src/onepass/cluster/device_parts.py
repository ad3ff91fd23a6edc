"""What of a stream is on a GPU while it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from onepass.cluster.arrays import Rows
from onepass.cluster.device_batch import FillingBatch
from onepass.cluster.device_plan import DevicePlan
from onepass.cluster.device_sample import DeviceSample
from onepass.cluster.device_summary import DeviceSummary
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.reservoir import Reservoir
from onepass.cluster.summary import Summary


class DeviceParts(NamedTuple):
    """A summary, a sample, and the batch that is being filled.

    Attributes
    ----------
    summary : DeviceSummary
    sample : DeviceSample
    filling : FillingBatch
    origin : ndarray of shape (n_features,), float32
        What rows are relative to.
    seeds : tuple of int
        Of openings, and of draws.
    """

    summary: DeviceSummary
    sample: DeviceSample
    filling: FillingBatch
    origin: Rows
    seeds: tuple[int, ...]

    @classmethod
    def of(
        cls,
        gpu: Gpu,
        plan: DevicePlan,
        summary: Summary,
        reservoir: Reservoir[Rows],
        seeds: np.random.SeedSequence,
        fits: Callable[[float], bool],
    ) -> DeviceParts:
        """Copy what a stream has learnt on the host.

        Parameters
        ----------
        gpu : Gpu
        plan : DevicePlan
        summary : Summary
        reservoir : Reservoir
        seeds : numpy.random.SeedSequence
        fits : callable
            See `onepass.cluster.device_batch.check_report`.
        """
        most, n_products, _ = plan
        origin = (summary.sums.sum(axis=0) / summary.weights.sum()).astype(np.float32)
        return cls(
            DeviceSummary(gpu, summary, origin, n_products, fits),
            DeviceSample(gpu, reservoir.capacity, reservoir.kept(), origin, most),
            FillingBatch(gpu, most, origin),
            origin,
            tuple(int(seed) for seed in seeds.generate_state(2, np.uint64)),
        )
