"""A job of several hosts: what each of them does in it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from onepass.data.shards import Host
from onepass.distributed.cluster import joined
from onepass.distributed.follower import follow
from onepass.distributed.leader import lead
from onepass.distributed.meeting import Meeting, Tls
from onepass.errors import OnepassError, UserError
from onepass.resources import available_cpus, visible_gpus
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.sagemaker.inputs import Channel, InputMode, JobInput
from onepass.sagemaker.outcome import SUCCESS, error_of
from onepass.sagemaker.paths import Paths
from onepass.training.checkpoints import Checkpoints
from onepass.training.crew_engine import ClusterEngines, CrewEngines
from onepass.training.crew_tasks import check_here, check_job
from onepass.training.job import Job, Trained
from onepass.training.labels import files_of
from onepass.training.log import log_setup
from onepass.training.readers import host_of, readers_of
from onepass.training.stopping import Told

_log = logging.getLogger(__name__)

_LEADER_S = 110.0
"""Until a leader must have ended a job that is stopped: of the platform's two minutes."""


def train_on_hosts(job: JobInput, paths: Paths, told: Told) -> Trained | None:
    """Take part in a job of several hosts.

    Parameters
    ----------
    job : JobInput
    paths : Paths
    told : Told

    Returns
    -------
    Trained or None
        None on all hosts but the first one, which saves the model.

    Raises
    ------
    OnepassError
        On every host, what has gone wrong on any of them.
    """
    try:
        return _take_part(job, paths, told)
    finally:
        with suppress(OnepassError):  # workers are gone, some of them amid a file
            files_of(job, paths).sweep()


def _take_part(job: JobInput, paths: Paths, told: Told) -> Trained | None:
    meeting = _meeting(job, paths)
    if job.host != meeting.leader:
        _follow(meeting, told)
        return None
    _log.info("this host leads %s", ", ".join(meeting.hosts[1:]))
    log_setup(job, ())
    with lead(meeting, lambda: told.stopping.asked) as crew:
        _log.info("all %d hosts have come, with %d workers", len(job.hosts), crew.n_workers)
        crew.ask_hosts(job.hosts, check_here)
        checkpoints = Checkpoints(paths.checkpoints, job)
        return Job(job, paths, told, CrewEngines(crew, job), checkpoints).run()


def train_on_cluster(job: JobInput, paths: Paths, told: Told, address: str) -> Trained:
    """Have the workers of a Dask cluster do a job, and end it here.

    Parameters
    ----------
    job : JobInput
        Of one host.
    paths : Paths
    told : Told
    address : str
        Of the cluster's scheduler.

    Raises
    ------
    OnepassError
        As a job of one host; and when the cluster cannot be reached, or has no Onepass.
    """
    if len(job.hosts) > 1:
        raise UserError(f"the job has {len(job.hosts)} hosts: --scheduler is for a job of one")
    for channel in job.channels():
        if channel.mode == InputMode.PIPE:
            raise UserError(
                f"channel {channel.name!r}: a pipe is read by one process, not by a cluster; "
                "TrainingInputMode must be File or FastFile"
            )
    wanted = job.hyperparameters
    if wanted.output_labels != "false":
        raise UserError(
            f"output_labels={wanted.output_labels}: the workers of a cluster write no files; leave "
            "it out, and have the labels from `onepass predict`"
        )
    log_setup(job, ())
    check_job(job)
    with joined(address, _tls(wanted), wanted.host_timeout_s) as crew:
        _log.info("there are %d workers at %s", crew.n_workers, address)
        return Job(job, paths, told, ClusterEngines(crew, job)).run()


def _follow(meeting: Meeting, told: Told) -> None:
    asked_at: list[float] = []

    def gives_up() -> bool:
        if told.stopping.asked and not asked_at:
            _log.info("stopped by SIGTERM: host %s ends the job", meeting.leader)
            asked_at.append(time.monotonic())
        return bool(asked_at) and time.monotonic() - asked_at[0] > _LEADER_S

    end = follow(meeting, gives_up)
    if end.exit_code != SUCCESS:
        raise error_of(end)
    _log.info("host %s has saved the model", meeting.leader)


def _meeting(job: JobInput, paths: Paths) -> Meeting:
    wanted = job.hyperparameters
    return Meeting(
        job.hosts,
        job.host,
        job.interface,
        _n_workers(job),
        paths.base,
        wanted.host_timeout_s,
        _tls(wanted),
        wanted.dashboard,
    )


def _tls(wanted: Hyperparameters) -> Tls | None:
    files = wanted.tls_ca_file, wanted.tls_cert_file, wanted.tls_key_file
    return Tls(*files) if any(files) else None


def _n_workers(job: JobInput) -> int:
    """Return how many processes this host lends: one for each GPU, or for each shard it reads."""
    wanted, place = job.hyperparameters, host_of(job)
    if wanted.device != "cpu" and wanted.num_gpus != 0 and (n_gpus := visible_gpus()):
        return n_gpus if wanted.num_gpus == "auto" else min(n_gpus, wanted.num_gpus)
    return max(1, *(_n_shards(channel, wanted, place) for channel in job.channels()))


def _n_shards(channel: Channel, wanted: Hyperparameters, place: Host) -> int:
    """Return how many shards of a channel this host reads, at most."""
    if channel.uri:  # the leader lists what is there
        return available_cpus() if wanted.num_workers == "auto" else wanted.num_workers
    try:
        return len(readers_of(channel, wanted, host=place))
    except OnepassError:  # all shall be told of it: the leader has each host look at its data
        return 1
