"""What a stream takes of a GPU's memory, planned before any of it is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from onepass.cluster.device_search import aligned
from onepass.cluster.devices import demanded, find_gpus, tell
from onepass.cluster.kernels.gpu import Gpu, NoGpuError
from onepass.cluster.parameters import Parameters
from onepass.cluster.summary import n_openings

_ROW_VALUES, _PRODUCTS = 2**24, 2**26
_LEAST_ROWS, _MOST_ROWS = 1024, 2**18
_LEAST_PRODUCTS = 2**22
_LEAST_SLICE, _ROWS_AT_ONCE = 256, 64
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


class SlicePlan(NamedTuple):
    """How much is held at once of centers that are too many.

    Attributes
    ----------
    batch_rows : int
        Of a batch.
    n_products : int
        Of rows with centers.
    n_centers : int
        Of a slice.
    n_bytes : int
        All that is taken, at most.
    """

    batch_rows: int
    n_products: int
    n_centers: int
    n_bytes: int


def most_centers(capacity: int, n_centers: int = 0) -> int:
    """Return how many centers a summary may have on a device, the last batch's included."""
    return aligned(max(n_centers, capacity) + n_openings(capacity))


def most_rows(n_features: int) -> int:
    """Return how many rows of a batch a device likes: 64 MiB of them, and 262,144 at most.

    What is done once a batch, by host and device, takes as long as the copy of some 16 MiB.
    """
    return max(_LEAST_ROWS, min(_ROW_VALUES // n_features, _MOST_ROWS))


def batch_rows(parameters: Parameters, n_features: int) -> int:
    """Return the rows of a batch where there is memory enough.

    All rows of a batch fade alike: with a half-life, it has a quarter of that at most.
    """
    liked, half_life = most_rows(n_features), parameters.half_life
    if half_life:
        liked = min(liked, int(half_life / 4))
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
        When not even the smallest batch fits beside centers and sample: see `plan_slices`.

    Notes
    -----
    Bytes, with K centers (an eighth more than asked for), d features, m rows in the sample, n rows
    of a batch and p products: ``K (28 d + 592) + 1.25 m (4 d + 28) + n (13 d + 80) + 4 p + 384
    MiB``.
    """
    d, room = n_features, most_centers(parameters.n_centers)
    n_sampled = parameters.n_sampled(d)
    fixed = room * (28 * d + 592) + 5 * n_sampled * (4 * d + 28) // 4 + _SLOTS + _OTHER
    liked = _Held(batch_rows(parameters, d), max(_PRODUCTS, room))
    what = f"{parameters.n_centers} centers of {d} features with a sample of {n_sampled} rows"
    return _planned(liked, fixed, _Card(room, d, free_bytes), what)


def plan_slices(n_rows: int, n_centers: int, n_features: int, free_bytes: int) -> SlicePlan:
    """Plan what a search holds among centers that come a slice at a time.

    Parameters
    ----------
    n_rows : int
        That are there at once.
    n_centers, n_features : int
    free_bytes : int
        Of the device's memory.

    Raises
    ------
    NoGpuError
        When not even the smallest batch fits beside the smallest slice.
    """
    d = n_features
    least = min(_LEAST_SLICE, aligned(n_centers))
    what = f"{least} centers of {d} features at a time, with the smallest batch of rows,"
    card = _Card(least, d, free_bytes)
    n, p, held = _planned(_Held(n_rows, _PRODUCTS), least * (8 * d + 8) + _OTHER, card, what)
    more = (int(free_bytes * _SHARE) - held) // (8 * d + 8) // _LEAST_SLICE * _LEAST_SLICE
    most = max(least, p // _ROWS_AT_ONCE)
    n_at_once = min(least + more, most, aligned(n_centers))
    return SlicePlan(n, p, n_at_once, held + (n_at_once - least) * (8 * d + 8))


def plan_slices_for(parameters: Parameters, n_features: int, free_bytes: int) -> SlicePlan:
    """Plan searches among the centers of a stream's summary, which stay on the host."""
    n_rows, n_centers = batch_rows(parameters, n_features), most_centers(parameters.n_centers)
    return plan_slices(n_rows, n_centers, n_features, free_bytes)


class _Held(NamedTuple):
    """How many rows and products are held at once."""

    n_rows: int
    n_products: int


class _Card(NamedTuple):
    """What is to fit a card."""

    n_centers: int
    n_features: int
    free_bytes: int


def _planned(held: _Held, fixed: int, card: _Card, what: str) -> DevicePlan:
    """Hold less at once until it fits beside what is fixed."""
    (n, p), d, left = held, card.n_features, int(card.free_bytes * _SHARE) - fixed
    least = max(_LEAST_PRODUCTS, card.n_centers)
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
                f"it has {_gib(card.free_bytes)} GiB free, and {what} take {_gib(needed)} GiB"
            )
    return DevicePlan(n, p, fixed + n * _row_bytes(d) + 4 * p)


def find_gpu_for(parameters: Parameters, n_features: int) -> Gpu | None:
    """Return the GPU that a stream of such parameters is taken on; see `find_gpu`.

    Raises
    ------
    NoGpuError
        Also when one is wanted that has too little memory free.
    """
    found = find_gpus(parameters.device, 1)
    roomy = with_room(found, parameters, n_features)
    return roomy[0] if roomy else None


def with_room(gpus: Sequence[Gpu], parameters: Parameters, n_features: int) -> list[Gpu]:
    """Return those GPUs that have enough memory free for a stream; others are told in the log.

    Where none has for all of its centers, those are enough that have for a slice of them.

    Raises
    ------
    NoGpuError
        When a GPU is wanted and none is left.
    """
    left, problems = _fitting(gpus, partial(plan, parameters, n_features))
    if not left:
        left, problems = _fitting(gpus, partial(plan_slices_for, parameters, n_features))
    if left or parameters.device == "auto":
        tell(problems, any_left=bool(left))
    elif problems:
        raise demanded(parameters.device, str(problems[0])) from problems[0]
    return left


def _fitting(
    gpus: Sequence[Gpu], planned: Callable[[int], object]
) -> tuple[list[Gpu], list[NoGpuError]]:
    """Return the GPUs that a plan can be made for, and what is wrong with the others."""
    left: list[Gpu] = []
    problems: list[NoGpuError] = []
    for gpu in gpus:
        try:
            planned(gpu.free_bytes())
            left.append(gpu)
        except NoGpuError as error:
            problems.append(NoGpuError(f"GPU {gpu.index}, {gpu.name}, is too small: {error}"))
    return left, problems


def plan_search(n_clusters: int, n_features: int, free_bytes: int) -> DevicePlan:
    """Plan what a further epoch, a score or answers to files hold on a device: see `plan`.

    Raises
    ------
    NoGpuError
        When not even the smallest batch fits beside the centers.
    """
    k, d = aligned(n_clusters), n_features
    fixed = k * (32 * d + 592) + _SLOTS + _OTHER
    liked = _Held(most_rows(d), max(_PRODUCTS, k))
    what = f"{n_clusters} centers of {d} features"
    return _planned(liked, fixed, _Card(k, d, free_bytes), what)


def _row_bytes(n_features: int) -> int:
    """Of a row of a batch: itself, as it comes from the host, and in the sample, and its sums."""
    return 13 * n_features + 80


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.2f}"
