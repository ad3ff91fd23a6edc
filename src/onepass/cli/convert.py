"""``onepass convert``: rows from files of one format to files of another."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from onepass.cli.bar import BarProgress
from onepass.cli.logs import set_up_logging
from onepass.sagemaker.outcome import SUCCESS, StoppedError, describe_failure

if TYPE_CHECKING:
    from onepass.convert.conversion import Converted
    from onepass.convert.request import Plan, Request


def run_conversion(inputs: Sequence[str], output: str, options: Mapping[str, Any]) -> int:
    """Convert inputs, told by the options of the command; returns the exit code."""
    from onepass.convert.request import plan

    set_up_logging("warning")
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    try:
        request = _request(inputs, output, options)
        converted = _convert(plan(request), request)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as training ends
        failure = describe_failure(error)
        click.echo(failure.reason, err=True)
        return failure.exit_code
    tell = _facts if options["as_json"] else _describe
    click.echo(tell(converted, request.output, time.monotonic() - started))
    return SUCCESS


def _request(inputs: Sequence[str], output: str, options: Mapping[str, Any]) -> Request:
    from onepass.convert.file_formats import FileFormat
    from onepass.convert.request import Request
    from onepass.convert.survey import Reading

    reading = Reading(
        format=FileFormat(options["from_"]) if options["from_"] else None,
        label_size=options["label_size"],
        keep_labels=options["labels"] == "keep",
        feature_dim=options["feature_dim"],
        first_index=options["first_index"],
    )
    return Request(
        inputs=inputs,
        output=output,
        to=FileFormat(options["to"]) if options["to"] else None,
        reading=reading,
        is_sparse=options["sparse"],
        rows_per_file=options["rows_per_file"],
        overwrite=options["overwrite"],
    )


def _convert(plan: Plan, request: Request) -> Converted:
    from onepass.convert.conversion import convert

    if not sys.stderr.isatty():
        return convert(
            plan.inputs, plan.place, reading=request.reading, wanted=plan.wanted, tell=_tell_nobody
        )
    bar = BarProgress()
    bar.start("converting", sum(one.n_bytes for one in plan.inputs))
    try:
        converted = convert(
            plan.inputs, plan.place, reading=request.reading, wanted=plan.wanted, tell=bar.advance
        )
    except BaseException:
        bar.abandon()
        raise
    bar.finish()
    return converted


def _tell_nobody(n_bytes: int, n_rows: int) -> None:
    del n_bytes, n_rows


def _describe(converted: Converted, output: str, seconds: float) -> str:
    table = converted.table
    labels = f" and {_count(table.n_labels, 'label')}" if table.n_labels else ""
    return (
        f"{output}: {_count(converted.n_rows, 'row')} of {_count(table.n_features, 'feature')}"
        f"{labels}, {_count(converted.n_files, 'file')}, {_count(converted.n_bytes, 'byte')}, "
        f"{seconds:.1f} s, {converted.n_rows / max(seconds, 1e-9):,.0f} rows/s"
    )


def _facts(converted: Converted, output: str, seconds: float) -> str:
    told = {
        "output": output,
        "n_rows": converted.n_rows,
        "n_features": converted.table.n_features,
        "n_labels": converted.table.n_labels,
        "n_files": converted.n_files,
        "n_bytes": converted.n_bytes,
        "seconds": seconds,
    }
    return json.dumps(told, indent=2)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _stop(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise StoppedError("stopped by SIGTERM before the conversion was done")
