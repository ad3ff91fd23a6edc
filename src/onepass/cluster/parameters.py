"""The parameters of `KMeans`: their sizes when left to us, and what is accepted."""

from __future__ import annotations

import math
import numbers
import secrets
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from onepass.cluster.devices import DEVICES, Device
from onepass.cluster.seeding import Seeding
from onepass.cluster.trials import thin_rows
from onepass.errors import UserError

Auto: TypeAlias = Literal["auto"]

AUTO_TRIALS = 60
_FEWEST_TRIALS = 4
_FREE_OPERATIONS = 5 * 10**9
_SUMMARY_CENTERS = 500
_SAMPLE_PER_CLUSTER = 1024
_SMALLEST_SAMPLE = 20_000
_BATCH_VALUES, _FEWEST_IN_BATCH, _MOST_IN_BATCH = 500_000, 5_000, 16_000
_TRUTH: tuple[type, ...] = (bool,)  # of which Python makes integers


@dataclass(frozen=True)
class Parameters:
    """Checked parameters; `onepass.KMeans` says what each is for."""

    n_clusters: int
    init: Seeding
    center_factor: int | Auto
    batch_size: int | Auto
    half_life: float
    local_init: Seeding
    n_init: int | Auto
    max_iter: int
    tol: float
    reservoir_bytes: int
    device: Device = "cpu"

    def __post_init__(self) -> None:
        for name in ("n_clusters", "max_iter", "reservoir_bytes"):
            _require(_is_count(getattr(self, name)), self, name, "a whole number from 1")
        for name in ("center_factor", "batch_size", "n_init"):
            value = getattr(self, name)
            _require(
                _is_auto(value) or _is_count(value), self, name, "'auto' or a whole number from 1"
            )
        for name in ("init", "local_init"):
            value = getattr(self, name)
            accepted = isinstance(value, str) and value in ("random", "k-means++")
            _require(accepted, self, name, "'random' or 'k-means++'")
        device: Any = self.device
        accepted = isinstance(device, str) and DEVICES.fullmatch(device) is not None
        _require(accepted, self, "device", "'auto', 'cpu', 'gpu', or one of them as 'gpu:0'")
        accepted = _is_number(self.half_life) and (not self.half_life or self.half_life >= 1e-6)
        _require(accepted, self, "half_life", "0 or a number from 1e-6")
        _require(_is_number(self.tol) and self.tol <= 1, self, "tol", "a number from 0 to 1")

    @property
    def n_centers(self) -> int:
        """How many weighted centers stand for the stream: K = n_clusters * center_factor."""
        factor = self.center_factor
        return self.n_clusters * (
            auto_center_factor(self.n_clusters) if factor == "auto" else factor
        )

    def n_in_batch(self, n_features: int) -> int:
        """How many rows are absorbed between two moves of the centers."""
        if self.batch_size == "auto":
            return auto_batch_size(n_features, self.half_life)
        return self.batch_size

    def n_in_first_batch(self, n_features: int) -> int:
        """How many rows the first centers are chosen among: whole batches, 3 a center at least."""
        n = self.n_in_batch(n_features)
        return n * max(1, math.ceil(3 * self.n_centers / n))

    def n_trials(self, n_rows: int, n_features: int, n_values_a_row: float) -> int:
        """How many trials the last step makes at most, after a stream of `n_rows` rows."""
        if self.n_init != "auto":
            return self.n_init
        n_coarse = self.n_centers
        if n_coarse < 2 * self.n_clusters:
            n_coarse = thin_rows(self.n_clusters)
        n_values = int(n_rows * n_values_a_row)
        return auto_trials(self.n_clusters, n_coarse, n_values, min(n_features, 2 * n_coarse))

    def n_sampled(self, n_features: int, share: float = 1.0) -> int:
        """How many rows are sampled: 1,024 a cluster, 20,000 at least, within the budget.

        Of one of several shards, its share, and two batches in case it is longer than others.
        """
        room = int(self.reservoir_bytes / (1.25 * (4 * n_features + 28)))
        whole = max(2 * self.n_clusters, min(self._n_wanted, room))
        return self._part(whole, n_features, share)

    def n_sampled_sparse(self, n_features: int, share: float = 1.0) -> int:
        """How many sparse rows are sampled, as far as the budget has room for their values."""
        return self._part(self._n_wanted, n_features, share)

    @property
    def _n_wanted(self) -> int:
        return max(_SMALLEST_SAMPLE, _SAMPLE_PER_CLUSTER * self.n_clusters)

    def _part(self, whole: int, n_features: int, share: float) -> int:
        return min(whole, math.ceil(whole * share) + 2 * self.n_in_batch(n_features))


def auto_center_factor(n_clusters: int) -> int:
    """Return the factor that gives about 500 centers, and never fewer than four a cluster.

    Smaller summaries lose quality on data with outliers, larger ones cost time and gain little:
    ``tests/benchmarks/factor.py``.

    Examples
    --------
    >>> [auto_center_factor(k) for k in (2, 10, 100, 1000)]
    [250, 50, 5, 4]
    """
    return max(4, math.ceil(_SUMMARY_CENTERS / n_clusters))


def auto_batch_size(n_features: int, half_life: float = 0) -> int:
    """Return the rows of a batch: 5,000, and up to 16,000 where half a million values hold them.

    What is done once a batch takes as long as the search of 3,000 rows of ten features. Where old
    rows fade, they do so batch by batch, and batches stay small.

    Examples
    --------
    >>> [auto_batch_size(d) for d in (2, 50, 1000)], auto_batch_size(2, half_life=1e6)
    ([16000, 10000, 5000], 5000)
    """
    most = _FEWEST_IN_BATCH if half_life else _MOST_IN_BATCH
    return max(_FEWEST_IN_BATCH, min(most, _BATCH_VALUES // n_features))


def auto_trials(n_clusters: int, n_centers: int, n_values: int, n_features: int) -> int:
    """Return 60 trials, and fewer where those would take long beside the pass itself.

    Parameters
    ----------
    n_clusters, n_centers : int
        The latter of the summary.
    n_values : int
        Of all rows together.
    n_features : int
        Of the points that are clustered.

    One trial takes some 40 searches among `n_clusters` centers for each of the `n_centers` of the
    summary. All together may take a quarter of the pass, or a few tenths of a second.

    Examples
    --------
    >>> auto_trials(10, 500, 100_000_000, 100), auto_trials(500, 2000, 80_000_000, 400)
    (60, 4)
    """
    of_one = 80 * n_clusters * n_centers * n_features
    of_pass = 2 * n_centers * n_values
    affordable = max(of_pass // 4, _FREE_OPERATIONS) // of_one
    return max(_FEWEST_TRIALS, min(AUTO_TRIALS, affordable))


def check_seed(random_state: Any) -> int:
    """Return the seed, a new one for None; a generator of random numbers draws it."""
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**63, dtype=np.uint64))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63, dtype=np.uint64))
    if not _is_whole(random_state) or random_state < 0:
        raise UserError(
            f"random_state={random_state!r}: random_state must be None or a whole number from 0, "
            "or a RandomState or Generator of numpy.random"
        )
    return int(random_state)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and int(value) >= 1


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, _TRUTH)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value) and float(value) >= 0


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _require(accepted: bool, parameters: Parameters, name: str, what: str) -> None:
    if not accepted:
        raise UserError(f"{name}={getattr(parameters, name)!r}: {name} must be {what}")
