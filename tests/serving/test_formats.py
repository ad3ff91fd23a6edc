"""Every form of a request in every form of an answer."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pytest

from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import next_record

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
NPY = "application/x-npy"

# The rows (3, 4) and (10, 1): 5 from center 0, and 1 from center 1.
ROWS = [[3, 4], [10, 1]]
SPARSE = [
    {"data": {"features": {"keys": [0, 1], "shape": [2], "values": [3, 4]}}},
    {"data": {"features": {"keys": [1, 0], "shape": [2], "values": [1, 10]}}},
]


def instances(*shapes):
    return json.dumps({"instances": shapes}).encode()


def npy(rows):
    file = io.BytesIO()
    np.save(file, np.array(rows))
    return file.getvalue()


REQUESTS = {
    "csv": (CSV, b"3,4\n10,1"),
    "csv with a last line end": (CSV, b"3,4\n10,1\n"),
    "csv of Windows": (CSV, b"3.0,4.0\r\n1e1,1\r\n"),
    "json": (JSON, instances({"features": [3, 4]}, {"features": [10.0, 1.0]})),
    "json values": (JSON, instances(*[{"data": {"features": {"values": r}}} for r in ROWS])),
    "json data": (JSON, instances(*[{"data": {"features": row}} for row in ROWS])),
    "json sparse": (JSON, instances(*SPARSE)),
    "json configured": (JSON, instances(*[{"features": r, "configuration": {}} for r in ROWS])),
    "json arrays": (JSON, instances(*ROWS)),
    "lines": (JSON_LINES, b'{"features": [3, 4]}\n{"features": [10, 1]}'),
    "lines data": (
        JSON_LINES,
        b'{"data": {"features": {"values": [3, 4]}}}\n{"data": {"features": [10, 1]}}\n',
    ),
    "lines sparse": (JSON_LINES, "\n".join(json.dumps(row) for row in SPARSE).encode()),
    "records": (RECORDIO, write_rows(ROWS)),
    "records with labels": (RECORDIO, write_rows(ROWS, [7.0, 8.0])),
    "record without a frame": (
        RECORDIO,
        bytes(next_record(memoryview(write_rows(ROWS[:1])), 0, limit_bytes=99).payload),
    ),
    "npy": (NPY, npy(ROWS)),
    "sparse records": (RECORDIO, write_rows([[3.0, 4.0], [10.0, 1.0]], sparse=True)),
}


def read_records(body):
    view, position, answers = memoryview(body), 0, []
    while position < len(body):
        raw = next_record(view, position, limit_bytes=1000)
        position = raw.end
        record = Record.FromString(bytes(raw.payload))
        assert len(record.features) == 0
        assert sorted(record.label) == ["closest_cluster", "distance_to_cluster"]
        answers.append(
            tuple(
                record.label[name].float32_tensor.values[0]
                for name in ("closest_cluster", "distance_to_cluster")
            )
        )
    return answers


# Closest cluster and distance of both rows, as each media type has them.
ANSWERS = {
    CSV: b"0.0,5.0\n1.0,1.0",
    JSON: b'{"predictions": [{"closest_cluster": 0.0, "distance_to_cluster": 5.0}, '
    b'{"closest_cluster": 1.0, "distance_to_cluster": 1.0}]}',
    JSON_LINES: b'{"closest_cluster": 0.0, "distance_to_cluster": 5.0}\n'
    b'{"closest_cluster": 1.0, "distance_to_cluster": 1.0}',
}


def check(answer, media_type):
    assert answer.status == 200, answer.body
    assert answer.type == media_type
    if media_type == RECORDIO:
        assert read_records(answer.body) == [(0.0, 5.0), (1.0, 1.0)]
    elif media_type == NPY:
        assert np.load(io.BytesIO(answer.body)).tolist() == [[0, 5], [1, 1]]
    else:
        assert answer.body == ANSWERS[media_type]


@pytest.mark.parametrize("accept", [CSV, JSON, JSON_LINES, RECORDIO, NPY])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_every_request_can_be_answered_in_every_form(server, request_, accept):
    content_type, body = request_
    if request_ == REQUESTS["record without a frame"]:
        assert server.invoke(body, content_type, CSV).body == b"0.0,5.0"
        return
    check(server.invoke(body, content_type, accept), accept)
    check(server.invoke(gzip.compress(body), content_type, accept, Content_Encoding="gzip"), accept)


# To the centers (0, 0), (10, 0) and (0, 10), of (3, 4): 5, 8.06, 6.71.
ALL = np.float32([[5, 65**0.5, 45**0.5], [101**0.5, 1, 181**0.5]])


@pytest.mark.parametrize("media_type", [CSV, JSON, JSON_LINES, RECORDIO, NPY])
def test_verbose_adds_the_distances_to_all_clusters(server, media_type):
    body = server.invoke(b"3,4\n10,1", accept=f"{media_type}; Verbose=TRUE").body
    if media_type == RECORDIO:
        found, position = [], 0
        while position < len(body):
            raw = next_record(memoryview(body), position, limit_bytes=1000)
            position = raw.end
            label = Record.FromString(bytes(raw.payload)).label
            found.append([*label["distances"].float32_tensor.values])
    elif media_type == NPY:
        found = np.load(io.BytesIO(body))[:, 2:]
    elif media_type == CSV:
        found = [[*map(float, line.split(b",")[2:])] for line in body.split(b"\n")]
    else:
        lines = json.loads(body)["predictions"] if media_type == JSON else body.split(b"\n")
        answers = [line if media_type == JSON else json.loads(line) for line in lines]
        found = [answer["distances"] for answer in answers]
    np.testing.assert_allclose(found, ALL, rtol=1e-6)


def test_verbose_goes_with_the_form_that_is_chosen(server):
    accept = "text/csv;q=0.5;verbose=true, application/json"
    check(server.invoke(b"3,4\n10,1", accept=accept), JSON)
    check(server.invoke(b"3,4\n10,1", accept="text/csv;verbose=false"), CSV)


def test_distances_are_float32_and_not_squared(server):
    answer = server.invoke("1,2", accept=CSV)
    assert answer.body == b"0.0,2.2360680103302"  # the square root of 5, as float32


def test_rows_are_answered_in_their_order_whatever_their_company(server):
    one_by_one = [server.invoke(f"{x},{y}", accept=CSV).body for x, y in [(9, 9), (1, 8), (7, 2)]]
    assert server.invoke("9,9\n1,8\n7,2", accept=CSV).body == b"\n".join(one_by_one)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/CSV",
        "TEXT/CSV; label_size=0",
        "text/csv;label_size=0",
        "text/csv ; charset=utf-8",
        "Text/Csv; Label_Size=0; charset=UTF-8",
    ],
)
def test_a_content_type_may_be_written_as(server, content_type):
    check(server.invoke(b"3,4\n10,1", content_type), JSON)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/JSON", REQUESTS["json"][1]),
        ("application/JSON; charset=utf-8", REQUESTS["json"][1]),
        ("application/JSONLINES", REQUESTS["lines"][1]),
        ("application/X-RecordIO-Protobuf", REQUESTS["records"][1]),
    ],
)
def test_letter_case_does_not_matter(server, content_type, body):
    check(server.invoke(body, content_type), JSON)


@pytest.mark.parametrize("n_labels", [1, 2])
def test_label_columns_are_passed_over(server, n_labels):
    lines = [",".join(["99"] * n_labels + [str(x) for x in row]) for row in ROWS]
    answer = server.invoke("\n".join(lines), f"text/csv; label_size={n_labels}")
    check(answer, JSON)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("TEXT/CSV", CSV),
        ("text/csv; label_size=0", CSV),
        ("text/csv;q=0.5, application/jsonlines;q=0.9", JSON_LINES),
        ("application/jsonlines, application/json", JSON_LINES),
        ("text/*, application/jsonlines;q=0.9", CSV),
        ("*/*, text/csv", CSV),
        ("text/csv;q=0.1, */*;q=0.1", CSV),
        ("image/png, */*;q=0.1", JSON),
        ("image/png, text/csv", CSV),
        ("application/json;q=0, */*", JSON_LINES),
        ("application/json;q=0.0, application/jsonlines;q=0, */*;q=0.5", CSV),
        ("*/*;q=0, text/csv", CSV),
        # What the client of Java's own library says when it is not told what to say.
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
        ("text/csv;q=nonsense", CSV),
        (",,text/csv,", CSV),
        (" , ", JSON),
    ],
)
def test_the_answer_has_the_form_the_client_likes_best(server, accept, chosen):
    check(server.invoke(b"3,4\n10,1", accept=accept), chosen)


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "text/html, image/*",
        "application/json;q=0",
        "*/*;q=0",
        "text/csv;q=0, text/*",
        "application/xml",
        "\xff",
        "nonsense",
    ],
)
def test_a_form_that_is_not_written_here_is_406(server, accept):
    answer = server.invoke(b"3,4", accept=accept)
    assert answer.status == 406
    assert answer.error["code"] == "not_acceptable"
    assert "text/csv" in answer.error["message"]


def test_an_accept_header_without_end_is_not_read(server):
    answer = server.invoke(b"3,4", accept="a/b," * 15_000 + CSV)
    assert answer.status == 406
    assert "Accept has 60008 characters; at most 4096 are read" in answer.error["message"]


@pytest.mark.parametrize("media_type", [CSV, JSON, JSON_LINES, RECORDIO])
def test_the_environment_sets_the_form_of_answers_to_those_who_do_not_care(serve, base, media_type):
    with serve(base, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=media_type.upper()) as server:
        for accept in (None, "*/*", f"{media_type.partition('/')[0]}/*"):
            check(server.invoke(b"3,4\n10,1", accept=accept), media_type)
        check(server.invoke(b"3,4\n10,1", accept=f"{media_type};q=0.1, text/csv"), CSV)


@pytest.mark.data
@pytest.mark.parametrize("i", [0, 1])
def test_a_real_models_answers_are_the_originals(serve, tmp_path, sagemaker_models, acs_rows, i):
    model = sagemaker_models[i]
    save_model(KMeansModel(np.array(model["centers"], np.float32)), tmp_path / "model")
    with serve(tmp_path) as server:
        body = write_rows(acs_rows)
        predictions = json.loads(server.invoke(body, RECORDIO, JSON).body)["predictions"]
        clusters = [int(answer["closest_cluster"]) for answer in predictions]
        assert [clusters.count(j) for j in range(8)] == model["counts"]
        first = predictions[0]
        assert first["closest_cluster"] == model["row0"]["closest_cluster"]
        assert first["distance_to_cluster"] == pytest.approx(
            model["row0"]["distance_to_cluster"], abs=1e-5
        )
        assert read_records(server.invoke(body, RECORDIO, RECORDIO).body) == [
            (answer["closest_cluster"], answer["distance_to_cluster"]) for answer in predictions
        ]
