"""``onepass predict``: the clusters of rows in files."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click

from onepass.cli.bar import BarProgress
from onepass.cli.logs import set_up_logging
from onepass.cli.threads import limit_blas_threads
from onepass.errors import UserError
from onepass.sagemaker.outcome import SUCCESS, StoppedError, describe_failure

if TYPE_CHECKING:
    from onepass.cluster.model import KMeansModel
    from onepass.formats.media import MediaType
    from onepass.serving.files import Input, ScoredFiles, Tell
    from onepass.serving.negotiation import Wanted

STANDARD = "-"
"""What stands for standard input, and output."""


class Asked(NamedTuple):
    """What the command was given.

    Attributes
    ----------
    model : Path
    inputs : sequence of str
    output : str
    content_type : str or None
    accept : str
    device : str
        "auto", "cpu" or "gpu".
    """

    model: Path
    inputs: Sequence[str]
    output: str
    content_type: str | None
    accept: str
    device: str = "auto"


def run_prediction(asked: Asked) -> int:
    """Score files; returns the exit code."""
    limit_blas_threads(1)
    set_up_logging("warning")
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    try:
        scored = _predict(asked, *_forms(asked))
    except BrokenPipeError:  # whoever read the answer has seen enough
        with suppress(OSError):
            sys.stdout.close()
        return SUCCESS
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as training ends
        failure = describe_failure(error)
        click.echo(failure.reason, err=True)
        return failure.exit_code
    seconds = time.monotonic() - started
    click.echo(
        f"{scored.n_rows:,} rows, {scored.n_bytes:,} bytes of answers, {seconds:.1f} s, "
        f"{scored.n_rows / max(seconds, 1e-9):,.0f} rows/s",
        err=True,
    )
    return SUCCESS


def _forms(asked: Asked) -> tuple[MediaType | None, Wanted]:
    """Read what the inputs are said to be, and what the answer shall be."""
    from onepass.formats.media import JSON_LINES, NPY
    from onepass.serving.negotiation import answer_type, content_type
    from onepass.serving.problems import HttpError

    try:
        told = content_type(asked.content_type) if asked.content_type else None
        wanted = answer_type(asked.accept, JSON_LINES)
    except HttpError as error:
        raise UserError(str(error)) from error
    if wanted.name == NPY and asked.output == STANDARD:
        raise UserError(f"{NPY} begins with the number of rows; name a file by --output")
    return told, wanted


def _predict(asked: Asked, told: MediaType | None, wanted: Wanted) -> ScoredFiles:
    from onepass.artifact.files import write_atomically
    from onepass.artifact.model_file import load_model

    inputs = _inputs(asked.inputs, told)
    model = _on_device(load_model(asked.model), asked.device)
    if asked.output == STANDARD:
        scored = _score(model, inputs, sys.stdout.buffer, wanted)
        sys.stdout.buffer.flush()
        return scored
    found: list[ScoredFiles] = []
    write_atomically(
        Path(asked.output), lambda file: found.append(_score(model, inputs, file, wanted))
    )
    return found[0]


def _on_device(model: KMeansModel, wanted: str) -> KMeansModel:
    """Return the model, or the same on a GPU."""
    from onepass.cluster.devices import demanded, find_gpu, tell
    from onepass.cluster.kernels.gpu import NoGpuError

    gpu = find_gpu(wanted)
    if gpu is None:
        return model
    from onepass.cluster.device_model import model_on

    try:
        return model_on(gpu, model)
    except NoGpuError as error:
        if wanted != "auto":
            raise demanded(wanted, str(error)) from error
        tell([error], any_left=False)
        return model


def _inputs(names: Sequence[str], told: MediaType | None) -> list[Input]:
    from onepass.serving.files import Input, inputs_at

    inputs: list[Input] = []
    for name in names:
        if name != STANDARD:
            inputs += inputs_at(Path(name), told)
        elif told is None:
            raise UserError("what standard input holds must be told by --content-type")
        else:
            inputs.append(Input(None, told, sys.stdin.buffer))
    return inputs


def _score(
    model: KMeansModel, inputs: Sequence[Input], out: BinaryIO, wanted: Wanted
) -> ScoredFiles:
    from onepass.resources import available_cpus
    from onepass.serving.files import score_files

    def score(tell: Tell) -> ScoredFiles:
        return score_files(model, inputs, out, wanted=wanted, n_threads=available_cpus(), tell=tell)

    if not sys.stderr.isatty():
        return score(lambda *_: None)
    bar = BarProgress()
    bar.start("scoring", sum(one.n_bytes for one in inputs))
    try:
        scored = score(bar.advance)
    except BaseException:
        bar.abandon()
        raise
    bar.finish()
    return scored


def _stop(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise StoppedError("stopped by SIGTERM before all rows were scored")
