"""A fake /opt/ml, and jobs in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from onepass.formats.record_writer import write_rows

COMMAND = (sys.executable, "-m", "onepass.cli.main", "train", "--base")


class OptMl:
    """The directories of one job."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.model_file = base / "model/model_algo-1"
        self.archive = base / "output/model.tar.gz"
        self.failure_file = base / "output/failure"
        (base / "input/config").mkdir(parents=True)

    def configure(self, **hyperparameters):
        self.write_config("hyperparameters", hyperparameters)

    def write_config(self, name, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (self.base / f"input/config/{name}.json").write_text(text)

    def put(self, rows, channel="train", name="matrix_0.pbr"):
        """Add a file to a channel, of rows or of bytes as they are."""
        path = self.base / "input/data" / channel / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rows if isinstance(rows, bytes) else write_rows(rows))
        return path

    def feed(self, *contents, channel="train", late_s=0.0):
        """Write contents to the pipes of a channel's passes, each once it is read, in a thread."""

        def write():
            time.sleep(late_s)
            for epoch, content in enumerate(contents):
                path = self.base / f"input/data/{channel}_{epoch}"
                path.parent.mkdir(parents=True, exist_ok=True)
                os.mkfifo(path)
                with path.open("wb") as file:
                    file.write(content)
                path.unlink()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    @property
    def command(self):
        return [*COMMAND, str(self.base)]

    def run(self, *options, **environment):
        """Run the real command to its end."""
        return subprocess.run(
            [*self.command, *options],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )

    @property
    def failure(self):
        return self.failure_file.read_text() if self.failure_file.exists() else None


@pytest.fixture
def opt_ml(tmp_path):
    return OptMl(tmp_path / "ml")


@pytest.fixture(scope="session")
def blobs():
    """600 rows around (0, 0, 0), (10, 0, 0) and (0, 10, 0), 200 each, in random order."""
    rng = np.random.default_rng(3)
    centers = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]])
    rows = np.repeat(centers, 200, axis=0) + rng.normal(0, 0.5, (600, 3))
    return rng.permutation(rows).astype(np.float32)
