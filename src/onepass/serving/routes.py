"""Which paths there are, and which methods each answers to."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from onepass.serving.problems import HttpError

PING = "/ping"
INVOCATIONS = "/invocations"
EXECUTION_PARAMETERS = "/execution-parameters"
OPENAPI = "/openapi.json"
METRICS = "/metrics"
MODELS = "/models"
MODEL = "/models/{name}"
INVOKE = "/models/{name}/invoke"

_READ = ("GET", "HEAD")
METHODS = {
    PING: _READ,
    INVOCATIONS: ("POST",),
    EXECUTION_PARAMETERS: _READ,
    OPENAPI: _READ,
    METRICS: _READ,
    MODELS: ("GET", "HEAD", "POST"),
    MODEL: ("GET", "HEAD", "DELETE"),
    INVOKE: ("POST",),
}
"""All routes; which of them a server has depends on its settings."""


class Match(NamedTuple):
    """A route, and the name of the model in its path."""

    route: str
    name: str = ""


def match(path: str) -> Match | None:
    """Find the route of a path as it was sent.

    A model's name may hold anything, slashes among it, as long as it is percent-encoded; it is
    decoded once.

    Examples
    --------
    >>> match("/models/a%2Fb/invoke")
    Match(route='/models/{name}/invoke', name='a/b')
    """
    if path in METHODS and "{" not in path:
        return Match(path)
    parts = path.split("/")
    if parts[:2] != ["", "models"] or len(parts) not in (3, 4) or not parts[2]:
        return None
    route = {3: MODEL, 4: INVOKE}[len(parts)]
    if len(parts) == 4 and parts[3] != "invoke":
        return None
    try:
        return Match(route, unquote(parts[2], errors="strict"))
    except UnicodeDecodeError:
        return None


def not_found(path: str) -> HttpError:
    """Refuse a path."""
    return HttpError(404, "not_found", f"there is nothing at {quote(path, safe='/%')[:200]}")


def not_allowed(method: str, route: str) -> HttpError:
    """Refuse a method."""
    allowed = ", ".join(METHODS[route])
    message = f"{method} is not allowed at {route}; allowed are {allowed}"
    return HttpError(405, "method_not_allowed", message, headers=(("Allow", allowed),))
