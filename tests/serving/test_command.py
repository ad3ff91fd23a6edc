"""The real command ``onepass serve``: how it starts, what it says, how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel
from onepass.errors import UserError
from onepass.serving import variables
from onepass.serving.gunicorn import worker_count
from onepass.serving.settings import MIB, BatchSettings, ServingSettings
from onepass.serving.variables import VARIABLES, Variable

COMMAND = ("-m", "onepass.cli.main", "serve", "--base")
POST = b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"


def wait_until(ready):
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def read_all(connection):
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def refusal(launch, base, *arguments, **variables):
    """Run a server that cannot start; return its exit code and the last line of its log."""
    with launch(*COMMAND, str(base), *arguments, **variables) as server:
        code = server.process.wait(30)
        assert "Traceback" not in server.log
        return code, server.log.splitlines()[-1]


def test_the_log_says_what_is_served_and_where(server, base):
    line = f"serving 3 clusters of 2 features from {base}/model on port {server.port}"
    assert re.search(rf"\[\d\d/\d\d/\d{{4}} [\d:]+ INFO \d+\] {line}", server.log)


def test_the_log_says_how_many_workers_there_are_and_what_they_take_on(server):
    n = worker_count(ServingSettings())
    assert re.search(
        rf"INFO \d+\] {n} workers? \((one a processor|as many as the memory is for)\), which share "
        r"the memory of models; together at most 256 requests and \d+ MiB of bodies at once, 1 MiB "
        r"each",
        server.log,
    )


def test_each_request_is_a_line_of_the_log_and_a_ping_is_none(server):
    answer = server.invoke(b"3,4\n10,1", X_Request_Id="seen")
    line = server.request_line("seen")
    told = {name: line[name] for name in ("event", "method", "route", "status", "rows")}
    assert told == {
        "event": "request",
        "method": "POST",
        "route": "/invocations",
        "status": 200,
        "rows": 2,
    }
    assert (line["bytes_in"], line["content_type"]) == (8, "text/csv")
    assert line["bytes_out"] == len(answer.body)
    spent = [line[f"{phase}_ms"] for phase in ("decode", "predict", "encode")]
    assert min(spent) > 0
    assert sum(spent) <= line["total_ms"]
    assert "/ping" not in server.log


def test_sigterm_ends_an_idle_server_with_0(serve, base):
    with serve(base) as server:
        assert server.stop() == 0
        assert "Traceback" not in server.log


@pytest.mark.parametrize("n_workers", [1, worker_count(ServingSettings())])
def test_sigterm_while_workers_are_starting_is_not_lost(serve, base, n_workers):
    with serve(base) as server:
        wait_until(lambda: server.log.count("Booting worker") >= n_workers)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10


def test_sigterm_lets_a_request_in_flight_finish_and_exits_0(serve, base):
    with serve(base) as server:
        with server.connect() as connection:
            connection.sendall(POST + b"Connection: close\r\nContent-Length: 8\r\n\r\n3,4\n")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("Handling signal: term")
            connection.sendall(b"10,1")
            received = read_all(connection)
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.endswith(b"0.0,5.0\n1.0,1.0")
        assert server.process.wait(30) == 0
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_sigint_ends_a_server_with_0(serve, base):
    with serve(base) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


def test_without_a_model_the_exit_code_is_2_and_the_last_line_lists_what_was_found(
    launch, tmp_path
):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/kmeans-model").write_bytes(b"")
    code, line = refusal(launch, tmp_path)
    assert code == 2
    assert "ClientError: there is no model in" in line
    assert line.endswith("expected a file model_algo-1 or model.tar.gz, found kmeans-model")


def test_without_a_model_directory_the_exit_code_is_2(launch, tmp_path):
    code, line = refusal(launch, tmp_path)
    assert code == 2
    assert line.endswith(f"cannot read the model {tmp_path}/model: No such file or directory")


@pytest.mark.parametrize("content", [b"", b"broken", b"\x12\x01" + bytes(22)])
def test_with_a_broken_model_the_exit_code_is_2_and_the_last_line_says_why(
    launch, tmp_path, content
):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model_algo-1").write_bytes(content)
    code, line = refusal(launch, tmp_path)
    assert code == 2
    assert f"ClientError: {tmp_path}/model/model_algo-1" in line


def test_with_a_port_that_is_taken_the_exit_code_is_3_and_the_last_line_says_so(launch, base):
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, line = refusal(launch, base, "--port", str(port))
    assert code == 3
    assert line.endswith(f"AlgorithmError: cannot listen on port {port}: Address already in use")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "0"),
        ("SAGEMAKER_BIND_TO_PORT", "65536"),
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "00000080801111"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "-1"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "6.5"),
        ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/xml"),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "loud"),
        ("SAGEMAKER_MULTI_MODEL", "yes"),
        ("SAGEMAKER_BATCH", "on"),
        ("SAGEMAKER_BATCH_STRATEGY", "ALL"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9999-9000"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000-99999"),
        ("ONEPASS_METRICS", "prometheus"),
        ("ONEPASS_MAX_REQUESTS", "0"),
        ("ONEPASS_MAX_MB_IN_FLIGHT", "many"),
        ("ONEPASS_SILENCE_S", "0"),
        ("ONEPASS_BODY_S", "3601"),
    ],
)
def test_a_variable_with_a_wrong_value_is_refused_by_name(launch, base, name, value):
    code, line = refusal(launch, base, **{name: value})
    assert code == 2
    assert f"ClientError: {name}={value}".lower() in line.replace("'", "").lower()


def test_the_environment_names_the_port(launch, base):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with launch(*COMMAND, str(base), port=port, SAGEMAKER_BIND_TO_PORT=str(port)) as server:
        server.wait_for_log("Booting worker")
        assert server.request("GET", "/ping").status == 200


def test_the_level_of_the_log_can_be_set(serve, base):
    with serve(base, SAGEMAKER_CONTAINER_LOG_LEVEL="40") as server:
        server.invoke(b"3,4")
        server.invoke(b"wrong")
        assert server.stop() == 0
        assert server.log == ""


def test_variables_without_a_value_are_as_good_as_none(serve, base):
    with serve(
        base,
        SAGEMAKER_MAX_PAYLOAD_IN_MB="",
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="",
        SAGEMAKER_BIND_TO_PORT="",
    ) as server:
        assert server.invoke(b"3,4").status == 200


def test_variables_of_gunicorn_do_not_reach_it(serve, base):
    with serve(
        base, GUNICORN_CMD_ARGS="--bind 127.0.0.1:1", WEB_CONCURRENCY="7", PORT="1"
    ) as server:
        assert server.log.count("Booting worker") <= len(os.sched_getaffinity(0))


def test_a_model_in_an_archive_is_served(serve, base, tmp_path):
    pack(base / "model", tmp_path / "model/model.tar.gz")
    with serve(tmp_path) as server:
        assert server.invoke(b"10,1", accept="text/csv").body == b"1.0,1.0"


def test_one_center_of_many_features_is_served(serve, tmp_path):
    save_model(KMeansModel(np.full((1, 5000), 0.1, np.float32)), tmp_path / "model")
    with serve(tmp_path) as server:
        row = ",".join(["0.1"] * 5000)
        assert server.invoke(row, accept="text/csv").body == b"0.0,0.0"


def test_centers_far_from_the_origin_find_themselves(serve, tmp_path):
    centers = np.random.default_rng(0).normal(1e6, 1, (300, 20)).astype(np.float32)
    save_model(KMeansModel(centers), tmp_path / "model")
    with serve(tmp_path) as server:
        rows = "\n".join(",".join(str(x) for x in center) for center in centers)
        lines = server.invoke(rows, accept="text/csv").body.decode().splitlines()
        assert [line.split(",") for line in lines] == [[f"{i}.0", "0.0"] for i in range(300)]


@pytest.fixture
def read_only_base(base, tmp_path):
    """A model in a directory that nobody can write to, not even root."""
    shutil.copytree(base / "model", tmp_path / "ml/model")
    directory = tmp_path / "ml"
    if os.geteuid():
        for path in (*directory.rglob("*"), directory):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield directory
        for path in (directory, directory / "model"):
            path.chmod(0o755)
        return
    for options in (["--bind"], ["-o", "remount,bind,ro"]):
        done = subprocess.run(
            ["mount", *options, str(directory), str(directory)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"cannot mount a directory read-only: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_neither_the_models_directory_nor_home_need_be_writable(serve, read_only_base):
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        (read_only_base / "model/x").write_bytes(b"")
    with serve(read_only_base, HOME="/proc/nowhere", XDG_RUNTIME_DIR="/proc/nowhere") as server:
        assert server.invoke(b"10,1", accept="text/csv").body == b"1.0,1.0"
        assert server.stop() == 0
        assert "Traceback" not in server.log
        assert "ERROR" not in server.log


def test_every_variable_that_is_declared_is_read():
    spelt = {name for name, value in vars(variables).items() if isinstance(value, Variable)}
    assert len(VARIABLES) == len(spelt)
    for one in VARIABLES:
        with pytest.raises(UserError, match=rf"^{one.name}='\?' must be "):
            ServingSettings.from_environment({one.name: "?"}, None)
        assert one.read({}) == one.read({one.name: one.default})


def test_variables_become_settings():
    told = {
        "SAGEMAKER_BIND_TO_PORT": "9000",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
        "SAGEMAKER_BATCH": "True",
        "SAGEMAKER_BATCH_STRATEGY": "SingleRecord",
        "ONEPASS_MAX_MB_IN_FLIGHT": "3",
    }
    settings = ServingSettings.from_environment(told, None)
    assert (settings.port, settings.max_payload_bytes) == (9000, 1024 * MIB)
    assert settings.max_bytes_in_flight == 3 * MIB
    assert settings.batch == BatchSettings(many_records=False, spelt_as_sdk=True, payload_mb=0)
    assert ServingSettings.from_environment({}, 8081) == ServingSettings(port=8081)
