"""What a job leaves for people: the elbow and the report in output/data."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

from onepass.artifact.files import Writing, write_together
from onepass.cluster.elbow import Elbow
from onepass.cluster.kmeans import KMeans
from onepass.distributed.passes import Seen
from onepass.errors import PlatformError, UserError
from onepass.report.elbow_files import elbow_files
from onepass.report.facts import Facts
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


def save_elbow(elbow: Elbow, chosen: int | None, directory: Path) -> None:
    """Write the files of an elbow, all or none.

    Raises
    ------
    PlatformError
        When they cannot be written.
    """
    files = elbow_files(elbow, chosen)
    write_together([_writing(directory / name, content) for name, content in files.items()])
    _log.info("saved %s in %s", ", ".join(files), directory)


def save_report(facts: Facts, wanted: Hyperparameters, directory: Path) -> None:
    """Write the report; a disk that is full costs no more than that."""
    page = render(facts, wanted.report_map, wanted.seed)
    try:
        write_together([_writing(directory / REPORT_FILE, page.encode())])
    except PlatformError as error:
        _log.warning("no report: %s", error)
    else:
        _log.info("saved %s", directory / REPORT_FILE)


def facts_of(
    kmeans: KMeans,
    job: JobInput,
    before: Before,
    seen: Seen,
    seconds: Mapping[str, float],
    scores: Mapping[str, float],
    elbow: Elbow | None,
) -> Facts:
    """Put together what a report shows."""
    wanted = job.hyperparameters
    learnt = getattr(kmeans, "feature_names_in_", None)
    names = wanted.feature_names or (None if learnt is None else [str(name) for name in learnt])
    data = {
        channel.name: f"{channel.content_type or 'no content type'}, {channel.mode} mode"
        for channel in job.channels()
    }
    data |= {"rows": f"{seen.n_rows:,}", "bytes": f"{seen.n_bytes:,}"}
    data |= {"bad records": f"{seen.n_bad_records:,}"} if seen.n_bad_records else {}
    return Facts(
        job.name,
        seen.n_rows,
        seen.n_bytes,
        kmeans.cluster_centers_,
        kmeans.cluster_sizes(),
        kmeans.msd_,
        kmeans.msd_error_,
        kmeans.rows_kept(),
        names,
        dict(seconds),
        scores,
        data,
        settings_of(wanted),
        elbow,
        drift_of(kmeans, before),
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
