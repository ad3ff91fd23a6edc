"""Real servers in processes of their own, and clients for them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel

PATIENCE_S = 30
COMMAND = ("-m", "onepass.cli.main", "serve", "--base")
CENTERS = [[0, 0], [10, 0], [0, 10]]


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def type(self):
        return self.headers["Content-Type"]

    @property
    def error(self):
        """The error of a JSON error body, checked for its form."""
        assert self.type == "application/json"
        content = json.loads(self.body)
        assert list(content) == ["error"]
        assert sorted(content["error"]) == ["code", "message", "request_id"]
        assert content["error"]["request_id"] == self.headers["X-Request-Id"]
        assert "Traceback" not in content["error"]["message"]
        return content["error"]


class Server:
    """A running ``onepass serve``."""

    def __init__(self, process, port, log_path):
        self.process = process
        self.port = port
        self._log_path = log_path

    @property
    def log(self):
        return self._log_path.read_text()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def request(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def invoke(self, body, content_type="text/csv", accept=None, **headers):
        if accept is not None:
            headers["Accept"] = accept
        return self.request("POST", "/invocations", body, Content_Type=content_type, **headers)

    def talk(self, *pieces, shut=True):
        """Send bytes as they are, end the sending side, and return all that comes back."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def wait_for_log(self, text):
        wait_until(lambda: text in self.log)

    def request_line(self, identity):
        """The log's line of a request, as soon as it is there."""
        mark = f'"request_id":"{identity}"'
        self.wait_for_log(mark)
        [line] = [line for line in self.log.splitlines() if mark in line]
        return json.loads(line)

    def workers(self):
        """The processes that answer."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def wait_until_answers(self, also=lambda: True):
        wait_until(lambda: also() and answers(self))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def read_all(connection):
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def wait_until(ready):
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def environment(**variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAGEMAKER_")}
    return {**clean, **variables}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """Start Python with a log of its own; the process is ended on leaving."""

    @contextmanager
    def launch(*arguments, port=None, **variables):
        log_path = tmp_path_factory.mktemp("server") / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=log, stderr=log, env=environment(**variables)
            )
        try:
            yield Server(process, port, log_path)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return launch


@pytest.fixture(scope="session")
def serve(launch):
    """Start a server, by the command or a script given the base and port; wait until it answers."""

    @contextmanager
    def serve(base, script=None, **variables):
        port = free_port()
        arguments = ["-c", script, str(base), str(port)] if script else [*COMMAND, str(base)]
        if not script:
            arguments += ["--port", str(port)]
        with launch(*arguments, port=port, **variables) as server:
            wait_until(lambda: answers(server))
            yield server

    return serve


def answers(server):
    assert server.process.poll() is None, server.log
    try:
        return server.request("GET", "/ping").status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The directory of a model with the centers (0, 0), (10, 0) and (0, 10)."""
    directory = tmp_path_factory.mktemp("ml")
    save_model(KMeansModel(np.array(CENTERS, np.float32)), directory / "model")
    return directory


@pytest.fixture(scope="module")
def server(serve, base):
    """A server that accepts bodies of up to 1 MiB; no response may hold a traceback."""
    with serve(base, SAGEMAKER_MAX_PAYLOAD_IN_MB="1") as server:
        yield server
        assert "Traceback" not in server.log
