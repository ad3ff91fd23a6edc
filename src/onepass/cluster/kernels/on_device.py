"""What kernels on a GPU take and return: values, most of which lie on the device."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any
"""An array on the device: CuPy has no types."""

REPORT = np.dtype(
    [
        ("first_other", np.int64),
        ("first_bad", np.int64),
        ("n_opened", np.int64),
        ("flooded", np.int64),
        ("n_sampled", np.int64),
        ("cost", np.float64),
        ("peak", np.uint32),
        ("_filled", np.uint32),
    ]
)
"""What one batch tells: `struct report` of gpu.cu."""

_NOWHERE = np.iinfo(np.int64).max


class Found(NamedTuple):
    """What a search finds for each row, on the device.

    Attributes
    ----------
    labels : array of shape (n_samples,), int32
    sq_distances : array of shape (n_samples,), float32
        From the differences.
    others : array of shape (n_samples,), float32, or None
        How far all other centers are at least, squared.
    norms : array of shape (n_samples,), float32, or None
        Squared norms of the rows.
    """

    labels: Array
    sq_distances: Array
    others: Array | None = None
    norms: Array | None = None

    def part(self, rows: slice) -> Found:
        """Return what is found for some of the rows."""
        return Found(*(None if column is None else column[rows] for column in self))


class DeviceBatch(NamedTuple):
    """Rows on the device, and their weights.

    Attributes
    ----------
    rows : array of shape (n_samples, n_features), float32
    weights : array of shape (n_samples,), float64, or None
    """

    rows: Array
    weights: Array | None = None


class Room(NamedTuple):
    """Where more rows of a batch go.

    Attributes
    ----------
    rows : array of shape (n, n_features), float32
        Of the whole batch.
    origin : array of shape (n_features,), float32
        What rows are relative to.
    n_rows : int
        There are.
    """

    rows: Array
    origin: Array
    n_rows: int


class Coins(NamedTuple):
    """Where the random numbers of a batch come from: each row of a stream has its own.

    Attributes
    ----------
    seed : int
        Of 64 bits; another for each purpose.
    before : int
        Rows of the stream before this batch.
    """

    seed: int
    before: int


class Terms(NamedTuple):
    """On what terms centers are opened; see `onepass.cluster.openings.choose_openings`.

    Attributes
    ----------
    service : array of shape (1,), float64
        The service cost so far.
    capacity : int
        Of the summary: the price of a center is the service cost by this.
    room : int
        Centers that may be opened.
    """

    service: Array
    capacity: int
    room: int


class Chance(NamedTuple):
    """What makes a row likely to be drawn.

    Attributes
    ----------
    service : array of shape (1,), float64
        The service cost: half of a chance is the row's share of it.
    total_weight : float
        Of all rows that have made it.
    log2_age : float
    log2_threshold : float
        Of keys.
    """

    service: Array
    total_weight: float
    log2_age: float
    log2_threshold: float


class Drawn(NamedTuple):
    """Rows drawn from a batch, in their order, on the device; as many as the report says.

    Attributes
    ----------
    which : array, int32
    keys, log2_weights, log2_chances : array, float64
    """

    which: Array
    keys: Array
    log2_weights: Array
    log2_chances: Array


class DeviceHoldings(NamedTuple):
    """Centers and what they hold, on the device; see `onepass.cluster.kernels.results.Holdings`."""

    centers: Array
    sums: Array
    weights: Array
    scatter: Array


class Seekers(NamedTuple):
    """For what partners are looked for among centers.

    Attributes
    ----------
    rows : array of shape (n, n_features), float32
        Centers themselves, among those or not.
    shares : array of shape (n,), float32
        Their weights, as shares of the largest.
    itself : array of shape (n,), int32
        Which center each of them is; below 0, or as many as there are or more, is none.
    """

    rows: Array
    shares: Array
    itself: Array


class PartnersThere(NamedTuple):
    """The best partners of some centers, on the device.

    Attributes
    ----------
    partner : array of shape (n,), int32
        Below 0 where there is none.
    sq_distances : array of shape (n,), float64
        Infinite where there is none.
    """

    partner: Array
    sq_distances: Array


class Ordered(NamedTuple):
    """Rows of a batch added up by label; see `Gpu.add`.

    Attributes
    ----------
    starts : array of shape (n_labels + 1,), int32
        Where each label's rows begin among all in order.
    whole, heads, tails : array, float64
        Parts of sums, as gpu.cu puts them together.
    """

    starts: Array
    whole: Array
    heads: Array
    tails: Array


class RecordLayout(NamedTuple):
    """Where the values are in records that differ in nothing else.

    Attributes
    ----------
    stride : int
        Words of 4 bytes of each record, its padding included.
    pattern, mask : ndarray of shape (stride,), uint32
        What the words are, as far as the mask says so.
    first : int
        The word in which the first value begins.
    shift : int
        How many bits into it: 0, 8, 16 or 24.
    """

    stride: int
    pattern: Array
    mask: Array
    first: int
    shift: int


def blank_report() -> npt.NDArray[np.void]:
    """Return a `REPORT` before a batch, as an array of one."""
    report = np.zeros(1, REPORT)
    report["first_other"] = report["first_bad"] = _NOWHERE
    return report
