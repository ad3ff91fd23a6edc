"""What the tests of the image share: the docker command, a fake /opt/ml, and real rows."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onepass.formats.record_writer import write_rows

RECORDIO = "application/x-recordio-protobuf"
READY_WITHIN_S = 60

# Runs inside the container, since one without a network cannot be asked from outside.
ASK = """
import http.client, sys
method, path, port, *headers = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
connection.request(method, path, sys.stdin.buffer.read(), dict(zip(headers[::2], headers[1::2])))
answer = connection.getresponse()
sys.stdout.buffer.write(b"%d\\n" % answer.status + answer.read())
"""


def docker(*arguments, body=b"", timeout_s=180):
    return subprocess.run(
        ["docker", *arguments], input=body, capture_output=True, timeout=timeout_s, check=False
    )


@dataclass(frozen=True)
class OptMl:
    """A job's /opt/ml on this machine, open to whichever user the container runs as."""

    base: Path

    def configure(self, **hyperparameters: object) -> None:
        values = {name: str(value) for name, value in hyperparameters.items()}
        self._write("input/config/hyperparameters.json", json.dumps(values).encode())

    def put(self, content: bytes, name: str = "part-0.pbr") -> None:
        self._write(f"input/data/train/{name}", content)

    def describe(self, channel: dict[str, str]) -> None:
        self._write("input/config/inputdataconfig.json", json.dumps({"train": channel}).encode())

    def make(self) -> None:
        for folder in ("input/data/train", "input/config", "model", "output/data"):
            (self.base / folder).mkdir(parents=True)
        channel = {
            "ContentType": RECORDIO,
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
        host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
        self._write("input/config/inputdataconfig.json", json.dumps({"train": channel}).encode())
        self._write("input/config/resourceconfig.json", json.dumps(host).encode())
        for folder in self.base.rglob("*"):
            if folder.is_dir():
                folder.chmod(0o777)
        self.base.chmod(0o777)

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()

    def _write(self, name: str, content: bytes) -> None:
        path = self.base / name
        path.write_bytes(content)
        path.chmod(0o644)


@dataclass(frozen=True)
class Server:
    """A container that serves."""

    id: str
    port: int

    def ask(self, method, path, body=b"", **headers):
        """Return the status and the body of the answer."""
        pairs = [part for name, value in headers.items() for part in (name, value)]
        pairs[::2] = [name.replace("_", "-") for name in pairs[::2]]
        command = ("python", "-c", ASK, method, path, str(self.port), *pairs)
        done = docker("exec", "-i", self.id, *command, body=body)
        if done.returncode:
            raise ConnectionError(done.stderr.decode())
        status, _, answer = done.stdout.partition(b"\n")
        return int(status), answer

    def shell(self, script: str) -> str:
        return docker("exec", self.id, "sh", "-c", script).stdout.decode()

    def wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            try:
                if self.ask("GET", "/ping")[0] == 200:
                    return
            except ConnectionError:
                if not self.running:
                    break
            time.sleep(0.2)
        pytest.fail(f"no answer to /ping; the log says\n{self.log}")

    def stop(self) -> float:
        """Send SIGTERM and return the seconds until the container was gone."""
        start = time.monotonic()
        docker("stop", "--time", "30", self.id)
        return time.monotonic() - start

    @property
    def running(self) -> bool:
        return self._inspect("{{.State.Running}}") == "true"

    @property
    def exit_code(self) -> int:
        return int(self._inspect("{{.State.ExitCode}}"))

    @property
    def log(self) -> str:
        done = docker("logs", self.id)
        return (done.stdout + done.stderr).decode()

    def _inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.id).stdout.decode().strip()


@dataclass(frozen=True)
class Image:
    """The image under test."""

    name: str

    @property
    def inspect(self):
        return json.loads(docker("image", "inspect", self.name).stdout)[0]

    def run(self, *command, options=()):
        return docker("run", "--rm", *options, self.name, *command)

    def train(self, opt_ml, *options, command=("train",)):
        return self.run(*command, options=("-v", f"{opt_ml.base}:/opt/ml", *options))

    def shell(self, script: str) -> str:
        return self.run("-c", script, options=("--entrypoint", "sh")).stdout.decode()

    @contextmanager
    def serving(self, opt_ml, *options, port=8080) -> Iterator[Server]:
        mount = ("-v", f"{opt_ml.model}:/opt/ml/model:ro")
        started = docker("run", "--detach", *mount, *options, self.name, "serve")
        assert started.returncode == 0, started.stderr.decode()
        server = Server(started.stdout.decode().strip(), port)
        try:
            server.wait()
            yield server
        finally:
            docker("rm", "--force", server.id)


@pytest.fixture(scope="session")
def image():
    name = os.environ.get("ONEPASS_IMAGE")
    if not name:
        pytest.skip("ONEPASS_IMAGE does not name an image")
    if docker("info").returncode:
        pytest.skip("no Docker daemon answers")
    if docker("image", "inspect", name).returncode:
        pytest.fail(f"the Docker daemon has no image {name}")
    return Image(name)


@pytest.fixture(scope="session")
def rows():
    """Real rows, float32: 3,218 counties in 7 principal components, or scikit-learn's digits."""
    table = Path(os.environ.get("ONEPASS_TEST_DATA", "")) / "acs2015_county.csv"
    if table.is_file():
        return county_components(table)
    from sklearn.datasets import load_digits

    return load_digits().data.astype(np.float32)


def county_components(table: Path):
    with table.open(newline="") as lines:
        whole = [line[3:] for line in list(csv.reader(lines))[1:] if all(line)]
    values = np.array(whole, np.float64)
    scaled = (values - values.min(axis=0)) / np.ptp(values, axis=0)
    scaled -= scaled.mean(axis=0)
    directions = np.linalg.svd(scaled, full_matrices=False)[2]
    return (scaled @ directions[:7].T).astype(np.float32)


@pytest.fixture(scope="session", name="docker")
def docker_command(image):
    """Run the docker command, where there is an image to run it for."""
    assert image
    return docker


@pytest.fixture
def new_job(tmp_path, image):
    """Make directories of jobs by name."""
    made = []

    def make(name):
        made.append(OptMl(tmp_path / name))
        made[-1].make()
        return made[-1]

    yield make
    for job in made:
        give_back(job, image)


def give_back(job, image):
    """Let whoever runs the tests clean up what root wrote."""
    if os.getuid():
        owner = f"{os.getuid()}:{os.getgid()}"
        options = ("--entrypoint", "chown", "-v", f"{job.base}:/opt/ml")
        image.run("-R", owner, "/opt/ml", options=options)


@pytest.fixture
def opt_ml(tmp_path, image, rows):
    """A job that trains, until a test breaks it."""
    job = OptMl(tmp_path / "ml")
    job.make()
    job.configure(k=8, feature_dim=rows.shape[1], force_dense=True)
    job.put(write_rows(rows))
    yield job
    give_back(job, image)
