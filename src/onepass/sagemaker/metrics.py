"""The log lines that dashboards, tuning jobs and CloudWatch read metrics from."""

from __future__ import annotations

import json
from collections.abc import Mapping

ALGORITHM = "Onepass/KMeans"
METRICS_PREFIX = "#metrics "

METRIC_DEFINITIONS: tuple[dict[str, str], ...] = (
    {"Name": "train:msd", "Regex": r"#quality_metric: host=\S+, train msd <loss>=(\S+)"},
    {"Name": "test:msd", "Regex": r"#quality_metric: host=\S+, test msd <loss>=(\S+)"},
    {"Name": "test:ssd", "Regex": r"#quality_metric: host=\S+, test ssd <loss>=(\S+)"},
    {"Name": "train:progress", "Regex": r"#progress_metric: host=\S+, completed (\S+) %"},
    {
        "Name": "train:throughput",
        "Regex": r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
    },
)
"""What to give ``create_training_job`` as MetricDefinitions; custom images have none built in."""


def quality_line(host: str, metric: str, value: float) -> str:
    """Word a score such as ``train msd``.

    Examples
    --------
    >>> quality_line("algo-1", "test msd", 0.25)
    '#quality_metric: host=algo-1, test msd <loss>=0.25'
    """
    return f"#quality_metric: host={host}, {metric} <loss>={float(value)!r}"


def progress_line(host: str, percent: float) -> str:
    """Word how much of all epochs is done."""
    return f"#progress_metric: host={host}, completed {round(float(percent), 1)} % of epochs"


def throughput_line(host: str, records_per_second: float) -> str:
    """Word the speed of an epoch."""
    return (
        f"#throughput_metric: host={host}, "
        f"train throughput={float(records_per_second)!r} records/second"
    )


def metrics_line(
    host: str,
    span: tuple[float, float],
    metrics: Mapping[str, float],
    dimensions: Mapping[str, str | int] | None = None,
) -> str:
    """Word a set of counters or times (in milliseconds) as one JSON line.

    Parameters
    ----------
    host : str
    span : tuple of float
        Start and end, seconds since 1970.
    metrics : mapping of str to float
        Each becomes sum, count 1, min and max.
    dimensions : mapping, optional
        What they belong to, beside algorithm, host and operation.
    """
    body = {
        "StartTime": span[0],
        "EndTime": span[1],
        "Dimensions": {
            "Algorithm": ALGORITHM, "Host": host, "Operation": "training", **(dimensions or {})
        },
        "Metrics": {
            name: {"sum": float(value), "count": 1, "min": value, "max": value}
            for name, value in metrics.items()
        },
    }  # fmt: skip
    return METRICS_PREFIX + json.dumps(body)
