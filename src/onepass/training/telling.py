"""What a job tells programs: ``metrics.jsonl`` as it goes, ``metrics.json`` at its end."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onepass
from onepass.artifact.files import write_atomically
from onepass.artifact.state_file import now
from onepass.errors import PlatformError
from onepass.sagemaker.inputs import JobInput

if TYPE_CHECKING:
    from onepass.training.job import Trained

_log = logging.getLogger(__name__)

EVENTS, SUMMARY = "metrics.jsonl", "metrics.json"


class Metrics:
    """The two files of one job. What cannot be written is told once in the log, and left out.

    Parameters
    ----------
    directory : Path or None
        Without one nothing is written.

    Notes
    -----
    The file of events is opened for each of them, some in a minute: so what has happened can be
    read at once, and a process that is forked holds nothing of it.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._tells = directory is not None

    def begin(self, **facts: Any) -> None:
        """Begin, without what an earlier job has left."""
        if self._directory is None:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for name in (EVENTS, SUMMARY):
                (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)
        self.tell("start", **facts)

    def tell(self, event: str, **facts: Any) -> None:
        """Write what has happened as a line, at once."""
        if self._directory is None or not self._tells:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            with (self._directory / EVENTS).open("a", encoding="utf-8") as file:
                file.write(f"{_text({'time': time, 'event': event, **facts})}\n")
        except OSError as error:
            self._give_up(error)

    def sum_up(self, facts: Mapping[str, Any]) -> None:
        """Write what the job has come to, complete or not at all."""
        if self._directory is None:
            return
        text = _text(facts, indent=2) + "\n"
        try:
            write_atomically(self._directory / SUMMARY, lambda file: file.write(text.encode()))
        except PlatformError as error:
            _log.warning("%s; the model is saved", error)

    def _give_up(self, error: OSError) -> None:
        where, why = f"{self._directory}/{EVENTS}", error.strerror or error
        _log.warning("cannot write %s: %s; the job goes on without it", where, why)
        self._tells = False


def summary_of(trained: Trained, job: JobInput, *, stopped: bool) -> dict[str, Any]:
    """Return what is told of a job at its end.

    Parameters
    ----------
    trained : Trained
    job : JobInput
    stopped : bool
        Whether it was asked to end early.
    """
    return {
        "job": job.name,
        "arn": job.arn,
        "hosts": job.hosts,
        "written": now(),
        "versions": {"onepass": onepass.__version__, "python": platform.python_version()},
        "hyperparameters": job.hyperparameters.as_given(),
        "k": trained.n_clusters,
        "n_features": trained.n_features,
        "n_rows": trained.n_rows,
        "n_bytes": trained.n_bytes,
        "msd": trained.msd,
        "msd_error": trained.msd_error,
        "scores": trained.scores,
        "n_bad_records": {"train": trained.n_bad_records, "test": trained.n_bad_test_records},
        "seconds": trained.seconds,
        "stopped": stopped,
    }


def _text(facts: Mapping[str, Any], indent: int | None = None) -> str:
    """Return JSON, which has no word for what is not finite."""
    return json.dumps(_finite(facts), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
