"""What the README shows is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onepass import load_model
from onepass.sagemaker.hyperparameters import declarations
from onepass.sagemaker.metrics import METRIC_DEFINITIONS
from onepass.serving import routes
from onepass.serving.variables import VARIABLES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def python_block(mark):
    """The one block of Python in which a text stands."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if mark in block]
    return block


def test_the_python_blocks_run_as_they_stand(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    marks = (
        "from onepass import KMeans, ",
        "from onepass import KMeansModel",
        "elbow.knee",
        "page_of",
    )
    blocks = [python_block(mark) for mark in marks]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert load_model(tmp_path / "model").centers.shape == (8, 4)
    assert np.load(tmp_path / "centers.npz")["centers"].shape == (8, 4)
    assert (tmp_path / "matrix_0.pbr").stat().st_size == 10_000 * 40


def test_the_metric_definitions_are_ours():
    [found] = [
        value
        for node in ast.walk(ast.parse(python_block("MetricDefinitions")))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "MetricDefinitions"
    ]
    assert ast.literal_eval(found) == list(METRIC_DEFINITIONS)


@pytest.mark.parametrize("name", [d.name for _, d in declarations() if not d.name.startswith("_")])
def test_every_public_hyperparameter_is_described(name):
    assert re.search(rf"^\|[^|]*`{name}`", README, re.MULTILINE)


def test_every_variable_of_the_server_is_described():
    assert [one.name for one in VARIABLES if f"`{one.name}`" not in README] == []


def test_every_route_of_the_server_is_described():
    for route, methods in routes.METHODS.items():
        row = re.search(rf"^\|[^|]*`[A-Z]* ?{re.escape(route)}`[^|]*\|", README, re.MULTILINE)
        assert row, route
        for method in set(methods) - {"HEAD"}:
            assert method in row[0]
