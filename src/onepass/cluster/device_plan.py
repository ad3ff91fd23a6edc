"""What a stream takes of a GPU's memory, planned before any of it is taken."""

from __future__ import annotations

import logging
from typing import NamedTuple

from onepass.cluster.device_search import aligned
from onepass.cluster.devices import find_gpu
from onepass.cluster.kernels.gpu import Gpu, NoGpuError
from onepass.cluster.parameters import Parameters
from onepass.cluster.summary import n_openings

_log = logging.getLogger(__name__)

_ROW_VALUES, _PRODUCTS = 2**24, 2**26
_LEAST_ROWS = 1024
_LEAST_PRODUCTS = 2**22
_SLOTS = 2**27
"""Bytes of blocks of records on their way; see `onepass.cluster.record_intake`."""

_OTHER = 2**28
"""Bytes for what libraries take for themselves, and for small things."""

_SHARE = 0.9
"""Of what is free: more cannot be had in pieces."""


class DevicePlan(NamedTuple):
    """How much is held at once.

    Attributes
    ----------
    batch_rows : int
        Of a batch.
    n_products : int
        Of rows with centers.
    n_bytes : int
        All that is taken, at most.
    """

    batch_rows: int
    n_products: int
    n_bytes: int


def most_centers(capacity: int, n_centers: int = 0) -> int:
    """Return how many centers a summary may have on a device, the last batch's included."""
    return aligned(max(n_centers, capacity) + n_openings(capacity))


def most_rows(n_features: int, n_centers: int) -> int:
    """Return how many rows of a batch a device likes: 64 MiB of them, 256 MiB of products."""
    return max(_LEAST_ROWS, min(_ROW_VALUES // n_features, _PRODUCTS // n_centers))


def batch_rows(parameters: Parameters, n_features: int) -> int:
    """Return the rows of a batch where there is memory enough."""
    n_centers = parameters.n_centers
    liked = most_rows(n_features, n_centers + n_centers // 8)
    return max(parameters.n_in_batch(n_features), liked)


def plan(parameters: Parameters, n_features: int, free_bytes: int) -> DevicePlan:
    """Plan what a stream holds on a device.

    Parameters
    ----------
    parameters : Parameters
    n_features : int
    free_bytes : int
        Of the device's memory.

    Returns
    -------
    DevicePlan
        Batches, or the products that are made at once, are smaller where memory is short.

    Raises
    ------
    NoGpuError
        When not even the smallest batch fits beside centers and sample.

    Notes
    -----
    Bytes, with K centers (an eighth more than asked for), d features, m rows in the sample, n rows
    of a batch and p products: ``K (28 d + 592) + 1.25 m (4 d + 28) + n (13 d + 80) + 4 p + 384
    MiB``.
    """
    d, room = n_features, most_centers(parameters.n_centers)
    fixed = (
        room * (28 * d + 592) + 5 * parameters.n_sampled(d) * (4 * d + 28) // 4 + _SLOTS + _OTHER
    )
    n, p, left = batch_rows(parameters, d), max(_PRODUCTS, room), int(free_bytes * _SHARE) - fixed
    least = max(_LEAST_PRODUCTS, room)
    while n * _row_bytes(d) + 4 * p > left:
        if p // 2 >= least and 4 * p >= n * _row_bytes(d):
            p //= 2
        elif n // 2 >= _LEAST_ROWS:
            n //= 2
        elif p // 2 >= least:
            p //= 2
        else:
            needed = (fixed + n * _row_bytes(d) + 4 * p) / _SHARE
            raise NoGpuError(
                f"it has {_gib(free_bytes)} GiB free, and {parameters.n_centers} centers of {d} "
                f"features with a sample of {parameters.n_sampled(d)} rows take "
                f"{_gib(needed)} GiB: lower k, extra_center_factor or reservoir_mib"
            )
    return DevicePlan(n, p, fixed + n * _row_bytes(d) + 4 * p)


def find_gpu_for(parameters: Parameters, n_features: int) -> Gpu | None:
    """Return the GPU that a stream of such parameters is taken on; see `find_gpu`.

    Raises
    ------
    NoGpuError
        Also when one is wanted that has too little memory free.
    """
    found = find_gpu(parameters.device)
    return found if found and has_room(found, parameters, n_features) else None


def has_room(gpu: Gpu, parameters: Parameters, n_features: int) -> bool:
    """Whether a GPU has enough memory free for a stream.

    Raises
    ------
    NoGpuError
        When a GPU is wanted and this one has not; of "auto" it is told in the log.
    """
    try:
        plan(parameters, n_features, gpu.free_bytes())
    except NoGpuError as error:
        if parameters.device != "auto":
            raise NoGpuError(
                f"device={parameters.device}: {gpu.name} is too small: {error}, or take device=cpu"
            ) from error
        _log.warning("computing on the CPU: %s is too small: %s", gpu.name, error)
        return False
    return True


def _row_bytes(n_features: int) -> int:
    """Of a row of a batch: itself, as it comes from the host, and in the sample, and its sums."""
    return 13 * n_features + 80


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.2f}"
