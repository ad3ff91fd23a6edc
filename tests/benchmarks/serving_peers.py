"""The servers that ours is compared with, and how each is asked.

A server runs on all processors that are ours: as many workers as Onepass has, or where it has a
way of its own, in that way and in one of as many. Where there are several ways, as for Flask, all
of them run, and the better counts. Environments are made on first use in the cache.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from onepass import KMeansModel
from onepass.artifact.model_file import save_model
from onepass.resources import available_cpus

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from decode import find_sdk
from load_client import message
from peers import environment
from server_process import Server, free_ports, onepass, running
from serving_bodies import FORMATS, Answer, tensor
from sklearn_server import SDK_PACKAGES

HERE = Path(__file__).parent
FLASK = "flask gunicorn joblib numpy pandas scikit-learn"
MLSERVER = "mlserver>=1.7,<2 mlserver-sklearn>=1.7,<2 numpy uvloop<0.22"
"""Newer versions of uvloop have no loop until one is made, which MLServer 1.7 does not know."""


class Body(NamedTuple):
    """Rows in a format; `wanted` is the form of answer that is asked for, empty for the usual."""

    format: str
    rows: np.ndarray
    data: bytes
    wanted: str = ""


class Way(NamedTuple):
    """How a server is asked for the clusters of rows, and how its answer is read."""

    title: str
    request: Callable[[Body], bytes]
    read: Callable[[bytes], Answer]
    formats: tuple[str, ...]


class Variant(NamedTuple):
    """One way to run a server.

    Attributes
    ----------
    command : callable
        ``(python, folder, port) -> command``; the folder has the model, see `Peer.prepare`.
    """

    title: str
    command: Callable[[Path, Path, int], Sequence[str | Path]]


@dataclass(frozen=True)
class Peer:
    """A kind of server.

    Attributes
    ----------
    prepare : callable
        ``(python, centers, folder)``: write the model.
    variants, ways : list
        The first variant is the one whose start is timed.
    package, requirements : str
        Its environment's name and what is in it; empty where it runs in ours.
    shown : str
        Packages whose versions are told.
    """

    title: str
    prepare: Callable[[Path, np.ndarray, Path], None]
    variants: list[Variant]
    ways: list[Way]
    ping: str = "/ping"
    package: str = ""
    requirements: str = ""
    shown: str = "onepass-kmeans uvicorn gunicorn numpy"
    variables: dict[str, str] = field(default_factory=dict)

    def python(self, cache: Path) -> Path:
        """Return the interpreter that runs it; its environment is made where it is missing."""
        if not self.requirements:
            return Path(sys.executable)
        return environment(self.package, self.requirements, cache)

    def versions(self, cache: Path) -> str:
        code = "import sys; from importlib.metadata import version; "
        code += "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
        command = [self.python(cache), "-c", code, *self.shown.split()]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @contextlib.contextmanager
    def running(self, variant: Variant, folder: Path, cache: Path) -> Iterator[Server]:
        """Run one variant on the model in a folder."""
        (port,) = free_ports(1)
        command = variant.command(self.python(cache), folder, port)
        log = folder / f"{variant.title or 'server'}.log"
        with running(command, port, log=log, ping=self.ping, variables=self.variables) as server:
            yield server


def _save_ours(python: Path, centers: np.ndarray, folder: Path) -> None:
    del python
    save_model(KMeansModel(centers), folder / "model")


def _save_joblib(python: Path, centers: np.ndarray, folder: Path) -> None:
    np.save(folder / "centers.npy", centers)
    script = [python, HERE / "sklearn_server.py", folder / "centers.npy", folder / "model.joblib"]
    subprocess.run(script, check=True)


def _flask(worker_class: str) -> Variant:
    def command(python: Path, folder: Path, port: int) -> list[str | Path]:
        app = f"sklearn_server:application({str(folder / 'model.joblib')!r})"
        options = f"--bind 127.0.0.1:{port} --workers {available_cpus()} --timeout 600"
        options += f" --worker-class {worker_class} --threads 4 --no-control-socket"
        return [python, "-W", "ignore", "-m", "gunicorn", "--chdir", HERE, *options.split(), app]

    return Variant(worker_class, command)


def _mlserver(title: str, n_workers: int) -> Variant:
    """Run with so many processes for models, beside the one that reads and answers."""

    def command(python: Path, folder: Path, port: int) -> list[str | Path]:
        home = folder / f"home-{n_workers}"
        home.mkdir(exist_ok=True)
        grpc, metrics = free_ports(2)
        ports = {"http_port": port, "grpc_port": grpc, "metrics_port": metrics}
        told = {"debug": False, "host": "127.0.0.1", "parallel_workers": n_workers, **ports}
        model = {"name": "kmeans", "implementation": "mlserver_sklearn.SKLearnModel"}
        model["parameters"] = {"uri": str(folder / "model.joblib")}
        (home / "settings.json").write_text(json.dumps(told))
        (home / "model-settings.json").write_text(json.dumps(model))
        return [python.with_name("mlserver"), "start", home]

    return Variant(title, command)


def _same(path: str) -> Callable[[Body], bytes]:
    def request(body: Body) -> bytes:
        return message(path, body.data, FORMATS[body.format].content_type, body.wanted)

    return request


def _ask_mlserver(body: Body) -> bytes:
    return message("/v2/models/kmeans/infer", tensor(body.rows), "application/json")


def _read_ours(name: str) -> Callable[[bytes], Answer]:
    return FORMATS[name].read


def _read_flask(body: bytes) -> Answer:
    return Answer(np.array(orjson.loads(body)["predictions"]))


def _read_mlserver(body: bytes) -> Answer:
    return Answer(np.array(orjson.loads(body)["outputs"][0]["data"]))


def peers() -> dict[str, Peer]:
    """Return all of them by name; ours is the first."""
    sdk = find_sdk()
    records = ("recordio",) if sdk else ()
    packages = next(sdk.parents[1].glob("lib/python*/site-packages")) if sdk else ""
    ours = Variant("", lambda _, folder, port: onepass(folder, port))
    return {
        "onepass": Peer(
            "Onepass",
            _save_ours,
            [ours],
            [
                Way("", _same("/invocations"), _read_ours("json"), ("csv", "json")),
                Way("", _same("/invocations"), _read_ours("recordio"), ("recordio",)),
            ],
        ),
        "mlserver": Peer(
            "MLServer",
            _save_joblib,
            [
                _mlserver("1 model process", 1),
                _mlserver(f"{available_cpus()} model processes", available_cpus()),
                _mlserver("no model process", 0),
            ],
            [Way("", _ask_mlserver, _read_mlserver, ("csv", "json"))],
            "/v2/models/kmeans/ready",
            "mlserver",
            MLSERVER,
            "mlserver mlserver-sklearn scikit-learn uvicorn",
        ),
        "flask": Peer(
            "Flask",
            _save_joblib,
            [_flask("sync"), _flask("gthread")],
            [
                Way("loadtxt", _same("/loadtxt"), _read_flask, ("csv",)),
                Way("pandas", _same("/pandas"), _read_flask, ("csv",)),
                Way("", _same("/json"), _read_flask, ("json",)),
                Way("SDK", _same("/records"), _read_flask, records),
            ],
            "/ping",
            "flask",
            FLASK,
            "flask gunicorn scikit-learn pandas",
            {SDK_PACKAGES: str(packages), "SAGEMAKER_SUPPRESS_V2_WARNING": "1"},
        ),
    }
