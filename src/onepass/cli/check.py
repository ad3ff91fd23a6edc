"""``onepass check``: what a job would be given, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onepass.cli.logs import set_up_logging
from onepass.sagemaker.outcome import SUCCESS, describe_failure
from onepass.sagemaker.paths import Paths

if TYPE_CHECKING:
    from onepass.training.check import Checked
    from onepass.training.unconfigured import Told


def run_check(base: Path) -> int:
    """Check the job under `base` and tell what was found; returns the exit code."""
    return _say(_about_job(base))


def run_check_of_data(path: Path, told: Told) -> int:
    """Check a directory or a file of data and tell what was found; returns the exit code."""
    return _say(_about_data(path, told))


def _say(lines: Iterable[str]) -> int:
    set_up_logging("warning")
    try:
        for line in lines:
            click.echo(line)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as training ends
        failure = describe_failure(error)
        click.echo(failure.reason, err=True)
        return failure.exit_code
    click.echo("nothing is wrong")
    return SUCCESS


def _about_job(base: Path) -> Iterator[str]:
    from onepass.training.check import check
    from onepass.training.configuration import read_configuration

    job = read_configuration(Paths(base))
    wanted = job.hyperparameters
    yield f"k={wanted.k}, feature_dim={wanted.feature_dim}"
    yield from map(_describe, check(job))


def _describe(checked: Checked) -> str:
    channel = checked.channel
    what = f"{channel.name}: {channel.content_type}, {channel.mode} mode"
    if channel.mode == "Pipe":
        return f"{what}: not opened, as what is read from a pipe is lost"
    bad = f"{checked.n_bad_records:,} bad records, " if checked.n_bad_records else ""
    return (
        f"{what}: {checked.n_files} files, {checked.n_bytes:,} bytes, {checked.n_rows:,} rows, "
        f"{bad}read in {checked.seconds:.1f} s"
    )


def _about_data(path: Path, told: Told) -> Iterator[str]:
    from onepass.training.unconfigured import find, read

    found = find(path, told)
    yield f"content type {found.content_type}{_by(told.content_type, 'as the data begin')}"
    yield f"feature_dim={found.n_features}{_by(told.feature_dim, 'the width of the first row')}"
    if found.records:
        yield f"the first record is {found.records}"
    yield f"{len(found.files)} files, {found.n_compressed} compressed, {found.n_bytes:,} bytes"
    done = read(found)
    yield f"{done.n_rows:,} rows of {found.n_features} features, read in {done.seconds:.1f} s"


def _by(told: object, otherwise: str) -> str:
    return "" if told else f", {otherwise}"
