"""What the README shows is true."""

from __future__ import annotations

import ast
import json
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

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def policies():
    """The policies of IAM that are shown, by who needs them: pusher, trust, role."""
    blocks = re.findall(r"^```json\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    found = [json.loads(block) for block in blocks if '"Statement"' in block]
    pusher, trust, role = (policy["Statement"] for policy in found)
    return pusher, trust, role


def actions(statements):
    """Each action that is allowed."""
    listed = [statement["Action"] for statement in statements]
    return {a for each in listed for a in ([each] if isinstance(each, str) else each)}


def test_the_policies_can_be_pasted_and_allow_nothing_at_large():
    for statements in policies():
        assert {statement["Effect"] for statement in statements} == {"Allow"}
        assert not [action for action in actions(statements) if "*" in action]
        for statement in statements:
            if statement.get("Resource") == "*":
                # These two take no narrower resource.
                assert statement["Action"] in {
                    "ecr:GetAuthorizationToken",
                    "cloudwatch:PutMetricData",
                }


def test_who_pushes_may_do_what_the_script_does():
    script = (ROOT / "container/build_and_push.sh").read_text(encoding="utf-8")
    named = set(re.findall(r"aws ecr ([a-z-]+)", script)) - {"get-login-password"}
    asked = {"ecr:" + name.title().replace("-", "") for name in named}
    pusher, _, _ = policies()
    assert "ecr:CreateRepository" in asked
    assert asked | {"ecr:GetAuthorizationToken", "ecr:PutImage"} <= actions(pusher)


def test_links_within_lead_somewhere():
    headings = re.findall(r"^#+ (?:<a .*</a>)?(.*)$", README, re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
    named |= set(re.findall(r'<a id="([\w-]+)">', README))
    assert {link for link in re.findall(r"\]\(#([\w-]+)\)", README) if link not in named} == set()
