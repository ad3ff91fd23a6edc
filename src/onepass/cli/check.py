"""``onepass check``: what a job would be given, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from onepass.cli.logs import set_up_logging
from onepass.sagemaker.outcome import SUCCESS, describe_failure
from onepass.sagemaker.paths import Paths

if TYPE_CHECKING:
    from onepass.sagemaker.settings import Given
    from onepass.training.check import Checked
    from onepass.training.unconfigured import Told


class Finding(NamedTuple):
    """Something that was found: a line for people, and the same by name for programs."""

    line: str
    facts: dict[str, Any]


def run_check(base: Path, given: Given, *, as_json: bool) -> int:
    """Check the job under `base` and tell what was found; returns the exit code."""
    return _tell(_about_job(base, given), as_json=as_json)


def run_check_of_data(path: Path, told: Told, *, as_json: bool) -> int:
    """Check a directory or a file of data and tell what was found; returns the exit code."""
    return _tell(_about_data(path, told), as_json=as_json)


def _tell(findings: Iterable[Finding], *, as_json: bool) -> int:
    set_up_logging("warning")
    facts: dict[str, Any] = {}
    problem = None
    try:
        for finding in findings:
            facts |= finding.facts
            if not as_json:
                click.echo(finding.line)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as training ends
        problem = describe_failure(error)
    if as_json:
        click.echo(json.dumps(facts | {"problem": problem and problem.reason}, indent=2))
    if problem is not None:
        click.echo(problem.reason, err=True)
        return problem.exit_code
    if not as_json:
        click.echo("nothing is wrong")
    return SUCCESS


def _about_job(base: Path, given: Given) -> Iterator[Finding]:
    from onepass.training.check import check
    from onepass.training.configuration import read_configuration

    job = read_configuration(Paths(base), given)
    k, feature_dim = job.hyperparameters.k, job.hyperparameters.feature_dim
    facts = {"k": k, "feature_dim": feature_dim}
    yield Finding(f"k={k}, feature_dim={feature_dim}", facts)
    channels: list[dict[str, Any]] = []
    for checked in check(job):
        channels.append(_facts(checked))
        yield Finding(_describe(checked), {"channels": channels})


def _facts(checked: Checked) -> dict[str, Any]:
    channel = checked.channel
    read = {
        "n_files": checked.n_files,
        "n_bytes": checked.n_bytes,
        "n_rows": checked.n_rows,
        "n_bad_records": checked.n_bad_records,
        "seconds": checked.seconds,
    }
    return {
        "name": channel.name,
        "content_type": channel.content_type,
        "mode": channel.mode,
        **(dict.fromkeys(read) if channel.mode == "Pipe" else read),  # which is not opened
    }


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


def _about_data(path: Path, told: Told) -> Iterator[Finding]:
    from onepass.training.unconfigured import find, read

    found = find(path, told)
    yield Finding(
        f"content type {found.content_type}{_by(told.content_type, 'as the data begin')}",
        {"content_type": found.content_type},
    )
    yield Finding(
        f"feature_dim={found.n_features}{_by(told.feature_dim, 'the width of the first row')}",
        {"feature_dim": found.n_features},
    )
    if found.records:
        yield Finding(f"the first record is {found.records}", {"records": found.records})
    n_files = len(found.files)
    yield Finding(
        f"{n_files} files, {found.n_compressed} compressed, {found.n_bytes:,} bytes",
        {"n_files": n_files, "n_compressed": found.n_compressed, "n_bytes": found.n_bytes},
    )
    done = read(found)
    yield Finding(
        f"{done.n_rows:,} rows of {found.n_features} features, read in {done.seconds:.1f} s",
        {"n_rows": done.n_rows, "seconds": done.seconds},
    )


def _by(told: object, otherwise: str) -> str:
    return "" if told else f", {otherwise}"
