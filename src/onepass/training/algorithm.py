"""The hyperparameters of a job as the parameters of `KMeans`."""

from __future__ import annotations

import logging
import sys

from onepass.cluster.device_plan import with_room
from onepass.cluster.devices import Device, find_gpus
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kmeans import KMeans
from onepass.cluster.parameters import auto_center_factor
from onepass.cluster.seeding import Seeding
from onepass.errors import UserError
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.training.readers import rows_at_once

_log = logging.getLogger(__name__)


def device_of(wanted: Hyperparameters) -> Device:
    """Return what to compute on.

    Raises
    ------
    UserError
        When the hyperparameters contradict each other.
    """
    if wanted.num_gpus != 0:
        return wanted.device
    if wanted.device == "gpu":
        raise UserError("device=gpu and _num_gpus=0: leave one of them out")
    return "cpu"


def n_centers_of(wanted: Hyperparameters) -> int:
    """Return how many centers stand for the stream."""
    factor = wanted.extra_center_factor
    return wanted.most_k * (auto_center_factor(wanted.most_k) if factor == "auto" else factor)


_SEEDING: dict[str, Seeding] = {"random": "random", "kmeans++": "k-means++"}


def usable_gpus(wanted: Hyperparameters) -> list[Gpu]:
    """Return the GPUs that a job is done on: those wanted that have memory enough.

    Raises
    ------
    UserError
        When a GPU is wanted and there is none, or none of them has; before any data is read.
    """
    most = sys.maxsize if wanted.num_gpus == "auto" else wanted.num_gpus
    found = find_gpus(device_of(wanted), most)
    parameters = _kmeans_of(wanted).checked_parameters()
    return with_room(found, parameters, wanted.feature_dim)


def make_kmeans(wanted: Hyperparameters) -> KMeans:
    """Return an instance that has seen nothing yet; what was left to us is told in the log."""
    if wanted.extra_center_factor == "auto":
        factor = auto_center_factor(wanted.most_k)
        _log.info("'extra_center_factor' was set to 'auto', evaluated to %d.", factor)
    if rows_at_once(wanted) != wanted.mini_batch_size:
        _log.info(
            "'mini_batch_size' is %d, the default: %d rows of %d features are taken at a time.",
            wanted.mini_batch_size,
            rows_at_once(wanted),
            wanted.feature_dim,
        )
    return _kmeans_of(wanted)


def united(one: KMeans, other: KMeans) -> KMeans:
    """Return what two shards of the data have seen together."""
    return one.united(other)


def _kmeans_of(wanted: Hyperparameters) -> KMeans:
    return KMeans(
        wanted.most_k,
        init=_SEEDING[wanted.init_method],
        center_factor=wanted.extra_center_factor,
        batch_size=rows_at_once(wanted),
        half_life=wanted.half_life_time_size,
        local_init=_SEEDING[wanted.local_lloyd_init_method],
        n_init=wanted.local_lloyd_num_trials,
        max_iter=wanted.local_lloyd_max_iter,
        tol=wanted.local_lloyd_tol,
        reservoir_bytes=wanted.reservoir_mib * 2**20,
        device=device_of(wanted),
        random_state=wanted.seed,
    )
