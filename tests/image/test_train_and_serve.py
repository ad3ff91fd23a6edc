"""The image as SageMaker and `docker run` use it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import threading

import numpy as np
import pytest

import onepass
from onepass.formats.record_writer import write_rows

pytestmark = pytest.mark.image

RECORDIO = "application/x-recordio-protobuf"
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL")  # noqa: S108
USERS = [pytest.param((), id="root"), pytest.param(("--user", "12345:0"), id="12345")]


def distances_to_centers(rows, centers):
    """The definition, in float64."""
    gaps = rows[:, None, :].astype(np.float64) - centers[None, :, :]
    return np.sqrt((gaps**2).sum(axis=2))


def assert_predictions(answer, rows, centers):
    predictions = json.loads(answer)["predictions"]
    labels = np.array([p["closest_cluster"] for p in predictions])
    answered = [p["distance_to_cluster"] for p in predictions]
    expected = distances_to_centers(rows, centers)
    # Two centers may be equally far to float32's last digit: either is a right answer.
    chosen = expected[np.arange(len(rows)), labels.astype(int)]
    np.testing.assert_allclose(chosen, expected.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(answered, chosen, rtol=1e-4, atol=1e-5)


@pytest.fixture
def trained(image, opt_ml):
    done = image.train(opt_ml)
    assert done.returncode == 0, done.stderr.decode()
    return opt_ml


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("lock", [pytest.param((), id="open"), pytest.param(LOCKED, id="locked")])
def test_trains_and_serves_real_data(image, opt_ml, rows, user, lock):
    done = image.train(opt_ml, *user, *lock)
    assert done.returncode == 0, done.stderr.decode()
    assert not (opt_ml.base / "output" / "failure").exists()
    centers = onepass.load_model(opt_ml.model).centers
    assert centers.shape == (8, rows.shape[1])
    with image.serving(opt_ml, *user, *lock) as server:
        kind = {"Content_Type": RECORDIO, "Accept": "application/json"}
        status, answer = server.ask("POST", "/invocations", write_rows(rows), **kind)
        assert status == 200, answer
        assert_predictions(answer, rows, centers)


def test_without_an_argument_trains(image, opt_ml):
    done = image.train(opt_ml, command=())
    assert done.returncode == 0, done.stderr.decode()
    assert (opt_ml.model / "model_algo-1").is_file()


def test_train_is_a_command_on_the_path(image, opt_ml):
    done = image.train(opt_ml, "--entrypoint", "train", command=())
    assert done.returncode == 0, done.stderr.decode()
    assert (opt_ml.model / "model_algo-1").is_file()


def test_serves_on_the_published_port(image, trained, rows):
    with image.serving(trained, "--publish", "127.0.0.1::8080") as server:
        host, port = server._inspect(
            '{{with index .NetworkSettings.Ports "8080/tcp" 0}}{{.HostIp}} {{.HostPort}}{{end}}'
        ).split()
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/ping")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.request("POST", "/invocations", csv(rows[:5]), {"Content-Type": "text/csv"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert_predictions(answer.read(), rows[:5], onepass.load_model(trained.model).centers)
        connection.close()


def test_serves_on_the_port_the_platform_gives(image, trained):
    with image.serving(trained, "--env", "SAGEMAKER_BIND_TO_PORT=8123", port=8123) as server:
        assert server.ask("GET", "/ping")[0] == 200


@pytest.mark.parametrize("user", USERS)
def test_serves_without_shared_memory(image, trained, rows, user):
    with image.serving(trained, *user, *LOCKED, "--ipc", "none") as server:
        assert server.shell("ls -d /dev/shm") == ""
        status, answer = server.ask("POST", "/invocations", csv(rows[:5]), Content_Type="text/csv")
        assert status == 200
        assert_predictions(answer, rows[:5], onepass.load_model(trained.model).centers)


def csv(rows):
    return "\n".join(",".join(map(repr, row)) for row in rows.tolist()).encode()


def test_large_batches_are_answered_in_a_gibibyte_of_memory(image, trained, rows):
    limit = ("--memory", "1g", "--memory-swap", "1g", "--cpus", "2")
    n = 95 * 2**20 // len(write_rows(rows))
    body = write_rows(np.tile(rows, (n, 1)))
    kind = {"Content_Type": RECORDIO, "Accept": "application/x-npy"}
    with image.serving(trained, *LOCKED, *limit) as server:
        answers = []
        clients = [
            threading.Thread(
                target=lambda: answers.append(server.ask("POST", "/invocations", body, **kind))
            )
            for _ in range(4)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        statuses = sorted(status for status, _ in answers)
        assert set(statuses) <= {200, 503}  # some may be told to come back
        assert statuses[:2] == [200, 200]
        assert {len(answer) for status, answer in answers if status == 200} == {
            128 + 8 * n * len(rows)
        }
        assert server.running
        assert "out of memory" not in server.log


def test_many_models_are_served(image, trained, rows):
    (trained.base / "models").mkdir()
    (trained.base / "models/abc").mkdir()
    shutil.copytree(trained.model, trained.base / "models/abc/model")
    mount = ("-v", f"{trained.base}/models:/opt/ml/models:ro")
    many = ("--env", "SAGEMAKER_MULTI_MODEL=true")
    with image.serving(trained, *LOCKED, *mount, *many) as server:
        order = json.dumps({"model_name": "abc", "url": "/opt/ml/models/abc/model"}).encode()
        assert server.ask("POST", "/models", order)[0] == 200
        status, answer = server.ask(
            "POST", "/models/abc/invoke", csv(rows[:5]), Content_Type="text/csv"
        )
        assert status == 200
        assert_predictions(answer, rows[:5], onepass.load_model(trained.model).centers)
        assert server.ask("DELETE", "/models/abc")[0] == 200


def test_scores_files(image, trained, rows):
    options = ("-v", f"{trained.base}:/opt/ml:ro", *LOCKED)
    data = "/opt/ml/input/data/train"
    done = image.run("predict", "/opt/ml/model", data, "--accept", "text/csv", options=options)
    assert done.returncode == 0, done.stderr.decode()
    answers = np.array([line.split(b",") for line in done.stdout.splitlines()], float)
    expected = distances_to_centers(rows, onepass.load_model(trained.model).centers)
    np.testing.assert_allclose(answers[:, 1], expected.min(axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("user", USERS)
def test_sigterm_ends_serving_with_exit_code_0(image, trained, user):
    with image.serving(trained, *user, *LOCKED) as server:
        assert server.stop() < 10
        assert server.exit_code == 0, server.log


@pytest.mark.parametrize("way", ["csv", "gzip", "pipe"])
def test_trains_the_same_model_by_every_way_in(image, trained, rows, way):
    expected = (trained.model / "model_algo-1").read_bytes()
    data = write_rows(rows)
    for path in (trained.base / "input/data/train").iterdir():
        path.unlink()
    if way == "csv":
        text = "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist())
        trained.put(text.encode(), "data.csv")
        trained.describe({"ContentType": "text/csv"})
    elif way == "gzip":
        trained.put(gzip.compress(data), "data.gz")
    else:
        trained.describe({"TrainingInputMode": "Pipe"})
        pipe = trained.base / "input/data/train_0"
        os.mkfifo(pipe)
        pipe.chmod(0o666)
        threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True).start()
    done = image.train(trained, *LOCKED)
    assert done.returncode == 0, done.stderr.decode()
    assert (trained.model / "model_algo-1").read_bytes() == expected
