"""``onepass elbow``: how many clusters there are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onepass.cli.logs import set_up_logging
from onepass.cli.threads import limit_blas_threads
from onepass.sagemaker.outcome import BUG, SUCCESS, describe_failure

if TYPE_CHECKING:
    from onepass.cluster.elbow import Elbow
    from onepass.training.unconfigured import Told

_BAR = 30


def run_elbow(
    path: Path, ks: Sequence[int], told: Told, output: Path | None, seed: int, *, as_json: bool
) -> int:
    """Make an elbow, tell it and write its files; returns the exit code."""
    limit_blas_threads(1)
    set_up_logging("warning")
    try:
        from onepass.report.elbow_files import elbow_as_dict
        from onepass.training.elbow import elbow_of

        elbow = elbow_of(path, ks, told, seed)
        if output is not None:
            from onepass.training.showing import save_elbow

            save_elbow(elbow, None, output)
    except (Exception, KeyboardInterrupt) as error:
        failure = describe_failure(error)
        click.echo(failure.reason.partition(": ")[2], err=True)
        if failure.exit_code == BUG:
            raise
        return failure.exit_code
    text = json.dumps(elbow_as_dict(elbow), indent=2) if as_json else "\n".join(_lines(elbow))
    click.echo(text)
    return SUCCESS


def _lines(elbow: Elbow) -> Iterator[str]:
    most = max(point.msd for point in elbow) or 1.0
    yield f"{'k':>6}  {'msd':>12}  {'':{_BAR}}  silhouette  spread"
    for point in elbow:
        bar = "#" * max(1, round(_BAR * point.msd / most))
        silhouette = "" if point.silhouette is None else f"{point.silhouette:.3f}"
        mark = "  <- knee" if point.n_clusters == elbow.knee.n_clusters else ""
        yield (
            f"{point.n_clusters:>6}  {point.msd:>12.6g}  {bar:{_BAR}}  {silhouette:>10}  "
            f"{point.spread:>6.1%}{mark}"
        )
    knee = elbow.knee
    if knee.n_clusters is None:
        yield f"no knee: {knee.reason}"
    else:
        yield f"the knee is at k={knee.n_clusters}: {knee.reason}"
