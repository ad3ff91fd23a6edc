"""A server of many models, by the routes of SageMaker's multi-model endpoints."""

from __future__ import annotations

import json
import os
import signal
import threading
from urllib.parse import quote

import numpy as np
import pytest

from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel

CSV = "text/csv"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Models m0, m1, ... with one center each, (i, i)."""
    base = tmp_path_factory.mktemp("ml")
    for i in range(5):
        save_model(KMeansModel(np.full((1, 2), i, np.float32)), base / f"models/m{i}/model")
    (base / "models/away").symlink_to(base / "models/../elsewhere")
    save_model(KMeansModel(np.zeros((1, 2), np.float32)), base / "elsewhere")
    (base / "models/circle").symlink_to(base / "models/circle")
    return base


@pytest.fixture
def server(serve, many):
    with serve(many, SAGEMAKER_MULTI_MODEL="true") as server:
        yield server
        assert "Traceback" not in server.log


def load(server, many, name, place="m0"):
    order = json.dumps({"model_name": name, "url": f"{many}/models/{place}/model"})
    return server.request("POST", "/models", order, Content_Type="application/json")


def invoke(server, name, body=b"3,4"):
    path = f"/models/{quote(name, safe='')}/invoke"
    return server.request("POST", path, body, Content_Type=CSV, Accept=CSV)


def test_a_server_without_models_is_healthy(server):
    assert server.request("GET", "/ping").status == 200
    assert json.loads(server.request("GET", "/models").body) == {"models": []}


def test_the_life_of_a_model(server, many):
    answer = load(server, many, "abc")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": 'Model "abc" registered'})
    told = {"modelName": "abc", "modelUrl": f"{many}/models/m0/model"}
    assert json.loads(server.request("GET", "/models").body) == {"models": [told]}
    assert json.loads(server.request("GET", "/models/abc").body) == told
    answer = invoke(server, "abc")
    assert (answer.status, answer.body) == (200, b"0.0,5.0")
    again = load(server, many, "abc")
    assert (again.status, again.error["code"]) == (409, "model_already_loaded")
    gone = server.request("DELETE", "/models/abc")
    assert (gone.status, json.loads(gone.body)) == (200, {"status": 'Model "abc" unregistered'})
    for method, path in (("DELETE", "/models/abc"), ("GET", "/models/abc")):
        answer = server.request(method, path)
        assert (answer.status, answer.error["code"]) == (404, "model_not_loaded")
    answer = invoke(server, "abc")
    assert (answer.status, answer.error["message"]) == (404, "Model not found: abc")


def test_each_model_answers_for_itself(server, many):
    for i in range(5):
        assert load(server, many, f"m{i}", f"m{i}").status == 200
    answers = [invoke(server, f"m{i}", b"0,0").body for i in range(5)]
    assert [float(one.split(b",")[1]) for one in answers] == pytest.approx(
        [2**0.5 * i for i in range(5)]
    )


@pytest.mark.parametrize("name", ["a/b", "ü ", "..", "%2F", "a?b#c", "x" * 1000])
def test_a_name_may_hold_anything(server, many, name):
    assert load(server, many, name).status == 200
    path = f"/models/{quote(name, safe='')}"
    assert json.loads(server.request("GET", path).body)["modelName"] == name
    assert invoke(server, name).status == 200
    assert server.request("DELETE", path).status == 200


def test_pages(server, many):
    for i in range(105):
        assert load(server, many, f"{i:03} &").status == 200
    first = json.loads(server.request("GET", "/models").body)
    assert [model["modelName"] for model in first["models"]] == [f"{i:03} &" for i in range(100)]
    token = quote(first["nextPageToken"])
    second = json.loads(server.request("GET", f"/models?next_page_token={token}").body)
    assert [model["modelName"] for model in second["models"]] == [
        f"{i:03} &" for i in range(100, 105)
    ]
    assert "nextPageToken" not in second


@pytest.mark.parametrize(
    "order",
    [
        b"",
        b"{",
        b"[]",
        b'{"model_name": "a"}',
        b'{"model_name": 1, "url": "/x"}',
        b'{"model_name": "a", "url": null}',
    ],
)
def test_an_order_that_is_none_is_400(server, order):
    answer = server.request("POST", "/models", order)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "{base}/models/../model",
        "{base}/models/away",
        "{base}/models/circle/model",
        "file:///etc",
        "m0",
    ],
)
def test_a_model_from_elsewhere_is_400_and_not_looked_at(server, many, place):
    order = {"model_name": "a", "url": place.format(base=many)}
    answer = server.request("POST", "/models", json.dumps(order))
    assert answer.status == 400
    assert f"must be a path under {many}/models" in answer.error["message"]


def test_a_model_that_is_not_there_is_400(server, many):
    answer = load(server, many, "a", "none")
    assert (answer.status, answer.error["code"]) == (400, "bad_model")
    assert answer.error["message"].startswith("cannot read the model")


def test_an_order_may_not_be_long(server):
    assert server.request("POST", "/models", b" " * 2**17).status == 413


def test_the_route_of_one_model_is_not_there(server):
    assert server.invoke(b"3,4").status == 404


def test_of_many_clients_who_load_a_name_one_does(server, many):
    barrier, statuses = threading.Barrier(12), []

    def order():
        barrier.wait()
        statuses.append(load(server, many, "wanted").status)

    clients = [threading.Thread(target=order) for _ in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert sorted(statuses) == [200] + [409] * 11
    assert invoke(server, "wanted").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models/", 404),
        ("GET", "/models/%zz", 404),
        ("GET", "/models/%ff", 404),
        ("GET", "/models/%00", 404),
        ("POST", "/models//invoke", 404),
        ("POST", "/models/" + "x" * 5000 + "/invoke", 404),
        ("DELETE", "/models/..%2f..%2fetc", 404),
        ("PUT", "/models", 405),
        ("POST", "/models/m", 405),
        ("GET", "/models/m/invoke", 405),
    ],
)
def test_paths_that_lead_to_no_model(server, method, path, status):
    assert server.request(method, path, b"1,2", Content_Type=CSV).status == status


def test_any_token_is_a_place_in_the_list(server, many):
    for name in ("a", "b"):
        assert load(server, many, name).status == 200
    for token, names in (("", "ab"), ("a", "b"), ("%00", "ab"), ("zz", ""), ("%ff", "")):
        answer = server.request("GET", f"/models?next_page_token={token}")
        assert [model["modelName"] for model in json.loads(answer.body)["models"]] == list(names)


def test_a_model_without_room_is_507(serve, tmp_path):
    save_model(KMeansModel(np.zeros((2000, 1000), np.float32)), tmp_path / "models/big/model")
    with serve(tmp_path, SAGEMAKER_MULTI_MODEL="true", ONEPASS_MAX_MB_IN_FLIGHT="900000") as server:
        answer = load(server, tmp_path, "big", "big")
        assert (answer.status, answer.error["code"]) == (507, "no_memory_for_model")
        assert "takes 24000216 bytes of memory" in answer.error["message"]
        assert server.request("GET", "/ping").status == 200


def test_models_come_and_go_under_fire(server, many):
    stop = threading.Event()
    statuses = []

    def fire():
        while not stop.is_set():
            answer = invoke(server, "hot", b"3,4\n" * 2000)
            statuses.append(answer.status)
            assert answer.status == 404 or answer.body == b"\n".join([b"0.0,5.0"] * 2000)

    clients = [threading.Thread(target=fire) for _ in range(6)]
    for client in clients:
        client.start()
    try:
        for _ in range(30):
            assert load(server, many, "hot").status == 200
            assert server.request("DELETE", "/models/hot").status == 200
        assert load(server, many, "hot").status == 200
        n = len(statuses)
        while len(statuses) < n + 20:
            assert any(client.is_alive() for client in clients)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert set(statuses) <= {200, 404}
    assert 200 in statuses


def test_a_worker_that_is_killed_leaves_its_models_to_the_next(server, many):
    for i in range(3):
        assert load(server, many, f"m{i}", f"m{i}").status == 200
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)
    server.wait_until_answers(lambda: server.workers() not in ([], [worker]))
    names = [
        model["modelName"] for model in json.loads(server.request("GET", "/models").body)["models"]
    ]
    assert names == ["m0", "m1", "m2"]
    assert invoke(server, "m2", b"2,2").body == b"0.0,0.0"
