"""The document that describes the server says what is true."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from onepass.errors import TooLargeError, UserError
from onepass.formats.media import CODECS
from onepass.serving import routes
from onepass.serving.models import (
    ModelAlreadyLoadedError,
    ModelNotLoadedError,
    ModelTooLargeError,
)
from onepass.serving.problems import to_problem

DOCUMENT = json.loads(files("onepass.serving").joinpath("openapi.json").read_text())
OPERATIONS = {
    (route, method.upper()): operation
    for route, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


def test_it_is_served_as_it_is(server):
    answer = server.request("GET", "/openapi.json")
    assert (answer.status, answer.type) == (200, "application/json")
    assert json.loads(answer.body) == DOCUMENT


def test_every_route_and_method_is_described_and_no_other():
    there = {(route, method) for route, methods in routes.METHODS.items() for method in methods}
    assert set(OPERATIONS) == there


def test_every_format_is_described_and_no_other():
    for route in (routes.INVOCATIONS, routes.INVOKE):
        operation = OPERATIONS[route, "POST"]
        assert set(operation["requestBody"]["content"]) == set(CODECS)
        assert set(operation["responses"]["200"]["content"]) == set(CODECS)


def test_every_status_in_the_code_is_described():
    sources = [path for path in files("onepass.serving").iterdir() if path.name.endswith(".py")]
    written = {
        status
        for source in sources
        for status in re.findall(r"HttpError\(\s*([45]\d\d),", source.read_text())
    }
    errors = (
        *(ModelNotLoadedError(""), ModelAlreadyLoadedError(""), ModelTooLargeError("")),
        *(TooLargeError(""), UserError(""), MemoryError(), RuntimeError()),
    )
    written |= {str(to_problem(error).status) for error in errors}
    described = {status for one in OPERATIONS.values() for status in one["responses"]}
    assert {"400", "404", "406", "408", "413", "415", "431", "500", "503", "507"} <= written
    assert written - described == set()


def test_every_reference_leads_somewhere():
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for part in reference.split("/"):
            found = found[part]
        assert found


@pytest.mark.parametrize("path", ["/ping", "/execution-parameters", "/openapi.json"])
def test_head_is_answered_without_a_body(server, path):
    told, asked = server.request("HEAD", path), server.request("GET", path)
    assert (told.status, told.body) == (200, b"")
    assert told.headers["Content-Length"] == str(len(asked.body))
