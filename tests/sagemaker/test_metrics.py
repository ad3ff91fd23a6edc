"""Log lines and the regular expressions that read them."""

from __future__ import annotations

import json
import re

import pytest

from onepass.sagemaker.metrics import (
    METRIC_DEFINITIONS,
    metrics_line,
    progress_line,
    quality_line,
    throughput_line,
)

REGEX = {definition["Name"]: definition["Regex"] for definition in METRIC_DEFINITIONS}


def read(name, line):
    found = re.search(REGEX[name], line)
    return found and found[1]


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        ("train:msd", quality_line("algo-1", "train msd", 0.1), "0.1"),
        ("train:msd", quality_line("algo-1-ieqh5", "train msd", 1e-12), "1e-12"),
        ("test:msd", quality_line("algo-1", "test msd", 38.8244056702), "38.8244056702"),
        ("test:ssd", quality_line("algo-1", "test ssd", 7), "7.0"),
        ("train:progress", progress_line("algo-1", 100), "100.0"),
        ("train:progress", progress_line("algo-1", 100 / 3), "33.3"),
        ("train:throughput", throughput_line("algo-1", 54276.96611628075), "54276.96611628075"),
    ],
)
def test_a_line_of_ours_is_read_by_its_regex(name, line, value):
    assert read(name, line) == value


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        (
            "train:msd",
            "[05/16/2021 12:27 INFO 1] #quality_metric: host=algo-1, train msd <loss>=0.064049",
            "0.064049",
        ),
        (
            "train:msd",
            "#quality_metric: host=algo-1, train msd <loss>=38.8244056702",
            "38.8244056702",
        ),
        (
            "train:progress",
            "#progress_metric: host=algo-1, completed 100.0 % of epochs",
            "100.0",
        ),
        ("train:progress", "#progress_metric: host=algo-1, completed 100 % of epochs", "100"),
        (
            "train:throughput",
            "#throughput_metric: host=algo-1, train throughput=54276.96611628075 records/second",
            "54276.96611628075",
        ),
        (
            "train:throughput",
            "#throughput_metric: host=algo-1, train throughput=341305.295323 records/second",
            "341305.295323",
        ),
    ],
)
def test_a_line_of_a_real_job_is_read_by_its_regex(name, line, value):
    assert read(name, line) == value


def test_our_lines_are_those_of_real_jobs_to_the_letter():
    assert (
        quality_line("algo-1", "train msd", 0.06404909491539001)
        == "#quality_metric: host=algo-1, train msd <loss>=0.06404909491539001"
    )
    assert (
        progress_line("algo-1", 100.0)
        == "#progress_metric: host=algo-1, completed 100.0 % of epochs"
    )
    assert (
        throughput_line("algo-1", 54276.96611628075)
        == "#throughput_metric: host=algo-1, train throughput=54276.96611628075 records/second"
    )


def test_each_regex_reads_no_other_metrics_line():
    lines = {
        "train:msd": quality_line("a", "train msd", 1.0),
        "test:msd": quality_line("a", "test msd", 1.0),
        "test:ssd": quality_line("a", "test ssd", 1.0),
        "train:progress": progress_line("a", 1.0),
        "train:throughput": throughput_line("a", 1.0),
    }
    read_by = {line: [name for name in REGEX if read(name, line)] for line in lines.values()}
    assert read_by == {line: [name] for name, line in lines.items()}


def test_the_definitions_keep_to_the_platforms_limits():
    assert len(METRIC_DEFINITIONS) <= 40
    assert all(len(definition["Regex"]) <= 500 for definition in METRIC_DEFINITIONS)


def test_a_metrics_line_is_json_in_the_originals_order():
    line = metrics_line("algo-1", (1.5, 2.5), {"Total Records Seen": 3218}, {"epoch": 0})
    assert line.startswith("#metrics {")
    assert "\n" not in line
    body = json.loads(line.removeprefix("#metrics "))
    assert list(body) == ["StartTime", "EndTime", "Dimensions", "Metrics"]
    assert body["Dimensions"] == {
        "Algorithm": "Onepass/KMeans",
        "Host": "algo-1",
        "Operation": "training",
        "epoch": 0,
    }
    assert '{"sum": 3218.0, "count": 1, "min": 3218, "max": 3218}' in line
