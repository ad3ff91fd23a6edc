"""The tutorial runs from end to end, and its notebook is the script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "local_test/tutorial"
PRINT_NOTEBOOK = """
import json, make_notebook as made
print(json.dumps(made.notebook_of((made.HERE / "gdelt.py").read_text(encoding="utf-8"))))
"""


def code_of(notebook):
    """Return the code of a notebook, cell behind cell."""
    return "\n\n".join(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"
    )


@pytest.fixture(scope="module")
def notebook():
    return json.loads((TUTORIAL / "gdelt.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_is_that_of_the_script(notebook):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PRINT_NOTEBOOK,
        ],
        cwd=TUTORIAL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == notebook, "run make_notebook.py"


@pytest.mark.slow
@pytest.mark.data
def test_it_runs_from_end_to_end(endpoint, notebook, test_data, tmp_path):
    """As the notebook has it, for k up to 4: six jobs of two hosts each."""
    pytest.importorskip("PIL")
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GDELT_DIR": str(test_data),
        "KMEANS_MOST": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", code_of(notebook)],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "2,262 events of 26 features"
    assert said[1].startswith("6 training jobs in ")
    assert said[2].startswith("Failed - ClientError: ")
    for line, distribution in zip(said[3:5], ("FullyReplicated", "ShardedByS3Key"), strict=True):
        name, *msds = line.split()
        assert name == distribution
        assert [float(msd) for msd in msds] == sorted(map(float, msds), reverse=True)
        assert len(msds) == 3
    ratios = [float(line.split(", ")[1].split()[0]) for line in said if line.startswith("k=")]
    assert len(ratios) == 3
    assert max(ratios) < 1.03
    assert (tmp_path / "kmeans-tutorial/elbow.png").read_bytes().startswith(b"\x89PNG")
