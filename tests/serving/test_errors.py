"""What a server refuses, and in which words."""

from __future__ import annotations

import re

import pytest

from onepass.formats.record_writer import write_rows

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"


@pytest.mark.parametrize("content_type", [CSV, JSON, JSON_LINES, RECORDIO])
def test_an_empty_body_is_400(server, content_type):
    answer = server.invoke(b"", content_type)
    assert answer.status == 400
    assert answer.error["code"] == "bad_payload"
    assert "empty" in answer.error["message"]


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (CSV, b"1,2,3", "rows have 3 features, the model takes 2"),
        (CSV, b"1", "rows have 1 features, the model takes 2"),
        (CSV, b"1,2\n3", "row 2: the row has 1 columns, 2 are expected"),
        (CSV, b"a,b\n1,2", "row 1, column 1: 'a' is not a number"),
        (CSV, b"1,2\n3,nan", "row 2, column 2: 'nan' is not a number"),
        (CSV, b"1,inf", "row 1, column 2"),
        (CSV, b"1,1e39", "too large for float32"),
        (CSV, b"1,", "row 1, column 2"),
        (CSV, b"\n\n", "empty"),
        (CSV, b"\x00\xff", "row 1, column 1"),
        (JSON, b"{", "not valid JSON"),
        (JSON, b"[[1, 2]]", 'the body must be {"instances"'),
        (JSON, b'{"instances": []}', "empty"),
        (JSON, b'{"instances": [[1, 2, 3]]}', "instance 1: the instance has 3 features"),
        (JSON, b'{"instances": [[1, 2], [1, NaN]]}', "NaN is not a finite number"),
        (JSON, b'{"instances": [[1, 2], [1, "2"]]}', "instance 2"),
        (JSON, b'{"instances": [[1, null]]}', "instance 1"),
        (JSON, b'{"instances": [[1, true]]}', "instance 1"),
        (JSON, b'{"instances": [[1, 1e999]]}', "instance 1"),
        (JSON, b'{"instances": ' + b"[" * 100_000, "nested too deeply"),
        (JSON, b"\xff\xfe", "not UTF-8"),
        (JSON_LINES, b'{"features": [1, 2]}\n{"features": [1]}', "instance 2"),
        (JSON_LINES, b'{"features": [1, 2]}\n\n{"features": [1, 2]}', "instance 2"),
        (RECORDIO, write_rows([[1.0, 2.0, 3.0]]), "record 0 at byte 0: the record has 3 features"),
        (RECORDIO, write_rows([[1.0, 2.0]] * 2)[:-1], "record 1 at byte 32"),
        (RECORDIO, write_rows([[1.0, 2.0], [1.0, float("nan")]]), "record 1 at byte 32"),
        (RECORDIO, b"garbage", "record 0 at byte 0"),
    ],
)
def test_a_body_that_cannot_be_read_is_400_with_the_place(server, content_type, body, reason):
    answer = server.invoke(body, content_type)
    assert answer.status == 400
    error = answer.error
    assert error["code"] == "bad_payload"
    assert error["message"].startswith("unable to evaluate payload provided: ")
    assert reason in error["message"]


def test_a_row_too_far_away_for_its_distance_to_be_a_number_is_400(server):
    answer = server.invoke(b"1,2\n3e38,3e38")
    assert answer.status == 400
    assert "row 2 is too far from every center" in answer.error["message"]


def test_label_columns_that_leave_nothing_are_400(server):
    assert server.invoke(b"1,2", "text/csv; label_size=2").status == 400
    assert server.invoke(b"1,2", "text/csv; label_size=x").status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "application/octet-stream",
        "text/plain",
        "csv",
        "text/csv, text/csv",
        "application/x-npz",
        "",
        "\xff",
    ],
)
def test_a_content_type_that_is_not_read_here_is_415(server, content_type):
    answer = server.invoke(b"1,2", content_type)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_content_type"
    assert "text/csv, application/x-recordio-protobuf" in answer.error["message"]


def test_a_body_of_no_type_is_415(server):
    answer = server.request("POST", "/invocations", b"1,2")
    assert answer.status == 415
    assert "missing" in answer.error["message"]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, identity"])
def test_a_body_compressed_otherwise_than_by_gzip_is_415(server, encoding):
    answer = server.invoke(b"1,2", Content_Encoding=encoding)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_encoding"


def test_the_encoding_identity_is_none(server):
    assert server.invoke(b"1,2", Content_Encoding="identity").status == 200


@pytest.mark.parametrize(
    "path", ["/", "/invocations/", "/ping/", "/models", "/metrics", "/models/m/invoke", "/%0Aevil"]
)
def test_an_unknown_path_is_404(server, path):
    answer = server.request("GET", path)
    assert answer.status == 404
    assert answer.error["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/invocations", {"POST"}),
        ("PUT", "/invocations", {"POST"}),
        ("OPTIONS", "/invocations", {"POST"}),
        ("DELETE", "/invocations", {"POST"}),
        ("POST", "/ping", {"GET", "HEAD"}),
        ("POST", "/execution-parameters", {"GET", "HEAD"}),
        ("DELETE", "/openapi.json", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_405_and_told_which_are_allowed(server, method, path, allowed):
    answer = server.request(method, path, b"")
    assert answer.status == 405
    assert answer.error["code"] == "method_not_allowed"
    assert set(re.split(r",\s*", answer.headers["Allow"])) == allowed


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Amzn-SageMaker-Inference-Id"])
@pytest.mark.parametrize("body", [b"1,2", b"wrong"])
def test_the_clients_id_is_given_back(server, name, body):
    answer = server.invoke(body, **{name: "abc-123"})
    assert answer.headers["X-Request-Id"] == "abc-123"
    server.wait_for_log('"request_id":"abc-123"')


@pytest.mark.parametrize("given", ["two words", "x" * 65, "\xff", ""])
def test_an_id_that_could_not_stand_in_a_log_is_replaced(server, given):
    answer = server.invoke(b"1,2", X_Request_Id=given)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_requests_without_an_id_get_different_ones(server):
    ids = {server.invoke(b"1,2").headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


def test_headers_of_the_platform_are_passed_over(server):
    answer = server.invoke(
        b"3,4", X_Amzn_SageMaker_Target_Variant="v", X_Amzn_SageMaker_Session_Id="s"
    )
    assert answer.status == 200


@pytest.mark.parametrize("body", [b"3,4", b"wrong"])
def test_custom_attributes_are_given_back_and_logged(server, body):
    given = 'trace="7"; tenant=a'
    named = {"X_Amzn_SageMaker_Custom_Attributes": given, "X_Request_Id": f"with-{len(body)}"}
    answer = server.invoke(body, **named)
    assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == given
    assert server.request_line(f"with-{len(body)}")["custom_attributes"] == given


@pytest.mark.parametrize("given", ["x" * 1025, "caf\xe9", ""])
def test_custom_attributes_that_the_platform_would_not_send_are_not_given_back(server, given):
    answer = server.invoke(b"3,4", X_Amzn_SageMaker_Custom_Attributes=given)
    assert answer.status == 200
    assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] is None


def test_the_phases_of_an_answer_are_told(server):
    timing = server.invoke(b"3,4").headers["Server-Timing"]
    assert re.fullmatch(
        r"decode;dur=[\d.]+, predict;dur=[\d.]+, encode;dur=[\d.]+, total;dur=[\d.]+", timing
    )


def test_ping_is_200_and_empty(server):
    answer = server.request("GET", "/ping")
    assert (answer.status, answer.body) == (200, b"")


def test_a_path_cannot_forge_a_line_of_the_log(server):
    server.request("GET", "/%0Aforged", X_Request_Id="forger")
    line = server.request_line("forger")
    assert (line["path"], line["route"], line["status"]) == ("/%0Aforged", "other", 404)
    assert "\nforged" not in server.log
