"""``onepass train``: one job, its log, its end."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import click

from onepass.cli.bar import BarProgress
from onepass.cli.logs import set_up_logging
from onepass.cli.threads import limit_blas_threads
from onepass.errors import UserError
from onepass.sagemaker.outcome import (
    BUG,
    SHOWN_CHARACTERS,
    SUCCESS,
    StoppedError,
    describe_failure,
    forget_failure,
    write_failure,
)  # fmt: skip
from onepass.sagemaker.paths import Paths

if TYPE_CHECKING:
    from onepass.sagemaker.settings import Given
    from onepass.training.job import Trained
    from onepass.training.stopping import Stopping

_log = logging.getLogger(__name__)

_PATIENCE_S = 30.0
"""For a batch to be taken, of the two minutes that the platform leaves a job to end in."""


class Asked(NamedTuple):
    """What the command was given.

    Attributes
    ----------
    base : Path
    scheduler : str or None
        Of a Dask cluster, an address.
    given : Given
        Hyperparameters that are not in the file.
    as_json : bool
        Whether a job that has made a model tells of it in JSON.
    """

    base: Path
    scheduler: str | None
    given: Given
    as_json: bool = False


def run_training(asked: Asked) -> int:
    """Run a job; returns the exit code, and writes the failure file if it failed."""
    limit_blas_threads(1)  # its threads spin: two of them cost twice the time on small products
    paths = Paths(asked.base)
    at_terminal = sys.stderr.isatty() and "TRAINING_JOB_NAME" not in os.environ
    set_up_logging("warning" if at_terminal else "info")
    signals: list[int] = []  # while the rest is imported
    try:
        signal.signal(signal.SIGTERM, lambda signum, _: signals.append(signum))
        forget_failure(paths)
        trained = _train(asked, paths, signals, at_terminal=at_terminal)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the job is done, whatever comes now
    except BaseException as error:  # noqa: BLE001 - nothing may end without a reason
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the reason is written, once
        return _fail(paths, error)
    if trained is not None:
        _tell(trained, asked, at_terminal=at_terminal)
    return SUCCESS


def _tell(trained: Trained, asked: Asked, *, at_terminal: bool) -> None:
    if asked.as_json:
        click.echo(json.dumps(dataclasses.asdict(trained), indent=2, default=str))
    elif at_terminal:
        click.echo(_describe(trained), err=True)


def _train(
    asked: Asked, paths: Paths, signals: Sequence[int], *, at_terminal: bool
) -> Trained | None:
    from onepass.training.configuration import read_configuration
    from onepass.training.job import train
    from onepass.training.progress import LogProgress
    from onepass.training.stopping import Stopping, Told

    job = dataclasses.replace(
        read_configuration(paths, asked.given),
        name=os.environ.get("TRAINING_JOB_NAME", ""),
        arn=os.environ.get("TRAINING_JOB_ARN", ""),
    )
    wanted = job.hyperparameters
    if not at_terminal:
        logging.getLogger().setLevel(wanted.log_level.upper())
    if job.name or job.arn:
        _log.info("Training job %s", f"{job.name} {job.arn}".strip())
    _log.info("Final configuration: %s", wanted.as_given())
    n_passes = wanted.epochs + (wanted.output_labels != "false")
    progress = BarProgress() if at_terminal else LogProgress(job.host, n_passes)
    scheduler, stopping = asked.scheduler, Stopping()
    _listen(stopping)
    if signals:
        stopping.ask()
    if len(job.hosts) == 1 and scheduler is None:
        return train(job, paths, progress, stopping)
    told = Told(progress, stopping)
    try:
        from onepass.training.hosts import train_on_cluster, train_on_hosts
    except ModuleNotFoundError as error:
        what = "--scheduler needs" if scheduler else f"the job has {len(job.hosts)} hosts and needs"
        raise UserError(
            f"{what} the package {error.name}: install onepass-kmeans[hosts], as its image has it"
        ) from error
    if scheduler is None:
        return train_on_hosts(job, paths, told)
    return train_on_cluster(job, paths, told, scheduler)


def _listen(stopping: Stopping) -> None:
    """Have SIGTERM end the pass that is being made, and one that does not hear of it given up."""

    def ask(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stopping.ask()
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)

    def insist(signum: int, frame: FrameType | None) -> None:
        if stopping.is_deaf:
            _give_up(signum, frame)

    signal.signal(signal.SIGALRM, insist)
    signal.signal(signal.SIGTERM, ask)


def _fail(paths: Paths, error: BaseException) -> int:
    """Log the error, write the failure file last, and return the exit code."""
    failure = describe_failure(error)
    _log.error("%s", failure.reason, exc_info=error if failure.exit_code == BUG else None)
    try:
        write_failure(paths, failure.reason[:SHOWN_CHARACTERS])
    except OSError as problem:
        _log.error("cannot write %s: %s", paths.failure, problem.strerror)
    return failure.exit_code


def _give_up(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise StoppedError("stopped by SIGTERM before the job was done")


def _describe_bad_records(trained: Trained) -> list[str]:
    counts = {"train": trained.n_bad_records, "test": trained.n_bad_test_records}
    return [f"passed over {n:,} bad records of {name}" for name, n in counts.items() if n]


def _describe(trained: Trained) -> str:
    accuracy = f" +- {trained.msd_error:.2g}" if trained.msd_error else ""
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in trained.seconds.items())
    lines = [
        f"{trained.n_clusters} clusters of {trained.n_rows:,} rows x {trained.n_features} features",
        f"train msd  {trained.msd:.6g}{accuracy}",
        *(f"test {name}   {value:.6g}" for name, value in trained.scores.items()),
        *_describe_bad_records(trained),
        f"time       {stages}",
        f"model      {trained.model_file}",
        f"archive    {trained.archive}",
    ]
    return "\n".join(lines)
