"""What a job leaves for people: the elbow and the report in output/data."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from onepass.artifact.files import Writing, write_together
from onepass.cluster.elbow import Elbow
from onepass.cluster.kmeans import KMeans
from onepass.distributed.passes import Seen
from onepass.errors import PlatformError, UserError
from onepass.report.elbow_files import ELBOW_PICTURE, elbow_files
from onepass.report.facts import Facts, facts_of
from onepass.report.page import render
from onepass.sagemaker.hyperparameters import Declaration, Hyperparameters, declarations
from onepass.sagemaker.inputs import JobInput
from onepass.training.update import Before, drift_of

_log = logging.getLogger(__name__)

REPORT_FILE = "report.html"


def check_report(wanted: Hyperparameters) -> None:
    """Refuse a report that cannot be made, before any data is read."""
    if wanted.report and wanted.report_map == "tsne" and not importlib.util.find_spec("sklearn"):
        raise UserError(
            "report_map=tsne needs scikit-learn: pip install onepass-kmeans[tsne], or take pca"
        )


class ElbowDrawer:
    """Draws an elbow beside what else a job does: its picture takes a tenth of a short one.

    Most of that time, Pillow lets other threads go on.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "onepass-drawing")
        self._files: Future[dict[str, bytes]] | None = None
        self._pool.submit(_import_what_draws)

    def draw(self, elbow: Elbow, chosen: int | None) -> None:
        """Begin to draw it."""
        self._files = self._pool.submit(elbow_files, elbow, chosen)

    def save(self, directory: Path) -> None:
        """Write the files of the elbow, if any is drawn, as `save_elbow` does."""
        if self._files is not None:
            _save_files(self._files.result(), directory)
        self._pool.shutdown()


def _import_what_draws() -> None:
    with suppress(ModuleNotFoundError):  # there will be no picture
        importlib.import_module("onepass.report.png")


def save_elbow(elbow: Elbow, chosen: int | None, directory: Path) -> None:
    """Write the files of an elbow, all or none.

    Raises
    ------
    PlatformError
        When they cannot be written.
    """
    _save_files(elbow_files(elbow, chosen), directory)


def _save_files(files: dict[str, bytes], directory: Path) -> None:
    write_together([_writing(directory / name, content) for name, content in files.items()])
    _log.info("saved %s in %s", ", ".join(files), directory)
    if ELBOW_PICTURE not in files:
        _log.info("no %s: Pillow draws it: pip install onepass-kmeans[report]", ELBOW_PICTURE)


def save_report(facts: Facts, wanted: Hyperparameters, directory: Path) -> None:
    """Write the report; a disk that is full costs no more than that."""
    page = render(facts, wanted.report_map, wanted.seed)
    try:
        write_together([_writing(directory / REPORT_FILE, page.encode())])
    except PlatformError as error:
        _log.warning("no report: %s", error)
    else:
        _log.info("saved %s", directory / REPORT_FILE)


def facts_of_job(
    kmeans: KMeans,
    job: JobInput,
    before: Before,
    seen: Seen,
    elbow: Elbow | None,
) -> Facts:
    """Put together what a report shows, but for what comes last: times and scores."""
    wanted = job.hyperparameters
    data = {
        channel.name: f"{channel.content_type or 'no content type'}, {channel.mode} mode"
        for channel in job.channels()
    }
    data |= {"rows": f"{seen.n_rows:,}", "bytes": f"{seen.n_bytes:,}"}
    data |= {"bad records": f"{seen.n_bad_records:,}"} if seen.n_bad_records else {}
    return facts_of(kmeans, wanted.feature_names)._replace(
        name=job.name,
        n_rows=seen.n_rows,
        n_bytes=seen.n_bytes,
        data=data,
        settings=settings_of(wanted),
        elbow=elbow,
        drift=drift_of(kmeans, before),
    )


def settings_of(wanted: Hyperparameters) -> dict[str, str]:
    """Return the hyperparameters that are not left as they are by default."""
    return {
        declared.name: str(getattr(wanted, name))
        for name, declared in declarations()
        if name != "feature_names" and not _is_default(declared, getattr(wanted, name))
    }


def _is_default(declared: Declaration, value: object) -> bool:
    return declared.default is not None and bool(value == declared.kind.parse(declared.default))


def _writing(path: Path, content: bytes) -> Writing:
    return Writing(path, lambda file: file.write(content))
