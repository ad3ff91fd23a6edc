"""``onepass check``: what a job would be given, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onepass.cli.logs import set_up_logging
from onepass.sagemaker.outcome import SUCCESS, describe_failure
from onepass.sagemaker.paths import Paths

if TYPE_CHECKING:
    from onepass.training.check import Checked


def run_check(base: Path) -> int:
    """Check the job under `base` and tell what was found; returns the exit code."""
    from onepass.training.check import check
    from onepass.training.job import read_configuration

    set_up_logging("warning")
    try:
        job = read_configuration(Paths(base))
        wanted = job.hyperparameters
        click.echo(f"k={wanted.k}, feature_dim={wanted.feature_dim}")
        for checked in check(job):
            click.echo(_describe(checked))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as training ends
        failure = describe_failure(error)
        click.echo(failure.reason, err=True)
        return failure.exit_code
    click.echo("nothing is wrong")
    return SUCCESS


def _describe(checked: Checked) -> str:
    channel = checked.channel
    what = f"{channel.name}: {channel.content_type}, {channel.mode} mode"
    if channel.mode == "Pipe":
        return f"{what}: not opened, as what is read from a pipe is lost"
    return (
        f"{what}: {checked.n_files} files, {checked.n_bytes:,} bytes, {checked.n_rows:,} rows, "
        f"read in {checked.seconds:.1f} s"
    )
