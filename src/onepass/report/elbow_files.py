"""An elbow as files: for programs, for tables, for people."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from onepass.cluster.elbow import Elbow, ElbowPoint
from onepass.report.elbow_drawing import draw_elbow

ELBOW_PICTURE = "elbow.png"
COLUMNS = ("k", "msd", "msd_error", "silhouette", "spread", "seconds", "smallest", "largest")


def elbow_as_dict(elbow: Elbow, chosen: int | None = None) -> dict[str, Any]:
    """Return what JSON can hold of an elbow.

    Parameters
    ----------
    elbow : Elbow
    chosen : int, optional
        The number of clusters that the model has.
    """
    return {
        "k": chosen,
        "knee": {
            "k": elbow.knee.n_clusters,
            "confidence": round(elbow.knee.confidence, 3),
            "reason": elbow.knee.reason,
        },
        "total_msd": elbow.total.value,
        "points": [
            {name: value for name, value in _row(point).items() if name in COLUMNS[:6]}
            | {"sizes": [round(size, 3) for size in point.sizes.tolist()]}
            for point in elbow
        ],
    }


def elbow_files(elbow: Elbow, chosen: int | None = None) -> dict[str, bytes]:
    """Return the contents of ``elbow.json``, ``elbow.csv`` and, with Pillow, ``elbow.png``."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, elbow))
    text = json.dumps(elbow_as_dict(elbow, chosen), indent=1)
    files = {"elbow.json": text.encode(), "elbow.csv": table.getvalue().encode()}
    try:
        from onepass.report.png import to_png
    except ModuleNotFoundError:  # the numbers are there all the same
        return files
    return files | {ELBOW_PICTURE: to_png(draw_elbow(elbow, chosen))}


def _row(point: ElbowPoint) -> dict[str, Any]:
    return {
        "k": point.n_clusters,
        "msd": point.msd,
        "msd_error": point.msd_error,
        "silhouette": None if point.silhouette is None else round(point.silhouette, 6),
        "spread": round(point.spread, 6),
        "seconds": round(point.seconds, 6),
        "smallest": round(float(point.sizes.min()), 3),
        "largest": round(float(point.sizes.max()), 3),
    }
