"""Every environment variable of the server, declared once: its kind, default and meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from onepass.errors import UserError
from onepass.formats.media import CODECS, JSON, MediaType
from onepass.sagemaker.values import Kind

DEFAULT_PORT = 8080
DEFAULT_MAX_PAYLOAD_MB = 100

UNLIMITED_MB = 1024
"""Accepted where the platform says that it sets no limit: as much as asynchronous endpoints."""

_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}
_PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_STRATEGIES = {"singlerecord": False, "multirecord": True}
_LEVELS = {"10": "debug", "20": "info", "30": "warning", "40": "error", "50": "critical"}


class Variable(NamedTuple):
    """What is known of one environment variable of the server.

    Attributes
    ----------
    name : str
    kind : Kind
    default : str
        As the user would write it.
    meaning : str
    option : str
        Of the command ``serve``, which goes before the variable; empty where there is none.
    """

    name: str
    kind: Kind
    default: str
    meaning: str
    option: str = ""

    def written(self, variables: Mapping[str, str]) -> str:
        """Return the text of the variable; the default where it has none."""
        return variables.get(self.name, "").strip() or self.default

    def read(self, variables: Mapping[str, str]) -> Any:
        """Return the value.

        Raises
        ------
        UserError
            Naming the variable, its value and what is accepted.
        """
        text = self.written(variables)
        try:
            return self.kind.parse(text)
        except ValueError as error:
            raise UserError(f"{self.name}={text!r} must be {self.kind.accepted}") from error


def _whole(minimum: int, maximum: int = 2**20) -> Kind:
    def parse(text: str) -> int:
        right = text.isascii() and text.isdigit() and len(text) <= 10
        if not (right and minimum <= int(text) <= maximum):
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number from {minimum} to {maximum}", parse)


def _one_of(values: Mapping[str, Any], accepted: str) -> Kind:
    """Accept the words that some values go by, in any case."""

    def parse(text: str) -> Any:
        if text.lower() not in values:
            raise ValueError(text)
        return values[text.lower()]

    return Kind(accepted, parse)


def _media_type(text: str) -> str:
    name = MediaType.parse(text).name
    if name not in CODECS:
        raise ValueError(text)
    return name


def _strategy(text: str) -> bool:
    """Read whether a request holds many records, spelt by the platform or by the SDK."""
    word = text.replace("_", "").lower()
    if word not in _STRATEGIES:
        raise ValueError(text)
    return _STRATEGIES[word]


def _port_range(text: str) -> str:
    found = _PORT_RANGE.fullmatch(text)
    if text and not (found and 1 <= int(found[1]) <= int(found[2]) <= 65535):
        raise ValueError(text)
    return text


_TRUTH = _one_of(_TRUTHS, "true or false")
_LEVEL = _one_of(
    {**_LEVELS, **{name: name for name in _LEVELS.values()}},
    f"one of {', '.join(_LEVELS.values())}",
)

PORT = Variable(
    "SAGEMAKER_BIND_TO_PORT", _whole(1, 65535), str(DEFAULT_PORT), "Where to listen.", "--port"
)
PORT_RANGE = Variable(
    "SAGEMAKER_SAFE_PORT_RANGE",
    Kind("two ports such as 9000-9999, the lower one first", _port_range),
    "",
    "Checked, and not used: no port is opened but that of requests.",
)
MAX_PAYLOAD = Variable(
    "SAGEMAKER_MAX_PAYLOAD_IN_MB",
    _whole(0),
    str(DEFAULT_MAX_PAYLOAD_MB),
    f"The longest body, and the longest unzipped; 0 stands for {UNLIMITED_MB}.",
)
ACCEPT = Variable(
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
    Kind(f"one of {', '.join(CODECS)}", _media_type),
    JSON,
    "The media type of answers where the client does not care.",
)
LOG_LEVEL = Variable(
    "SAGEMAKER_CONTAINER_LOG_LEVEL",
    _LEVEL,
    "info",
    "The least level of log lines; a name, or the number that Python gives it.",
)
MULTI_MODEL = Variable(
    "SAGEMAKER_MULTI_MODEL", _TRUTH, "false", "Whether models are loaded and unloaded by requests."
)
BATCH = Variable(
    "SAGEMAKER_BATCH", _TRUTH, "false", "Whether this is a batch transform job, for its parameters."
)
BATCH_STRATEGY = Variable(
    "SAGEMAKER_BATCH_STRATEGY",
    Kind("SINGLE_RECORD or MULTI_RECORD", _strategy),
    "MULTI_RECORD",
    "Whether a request of a batch transform job holds one record, or as many as fit.",
)
METRICS = Variable("ONEPASS_METRICS", _TRUTH, "false", "Whether GET /metrics is answered.")
MAX_REQUESTS = Variable(
    "ONEPASS_MAX_REQUESTS", _whole(1), "256", "Requests in flight in the whole server."
)
MAX_MB_IN_FLIGHT = Variable(
    "ONEPASS_MAX_MB_IN_FLIGHT",
    _whole(0),
    "0",
    "Of bodies in flight in the whole server, MiB; 0: a quarter of the memory.",
)
SILENCE = Variable(
    "ONEPASS_SILENCE_S", _whole(1, 3600), "15", "Seconds that a client may send nothing."
)
BODY = Variable(
    "ONEPASS_BODY_S",
    _whole(1, 3600),
    "60",
    "Seconds that a body may take, beside one for each MiB.",
)

VARIABLES = (
    PORT, PORT_RANGE, MAX_PAYLOAD, ACCEPT, LOG_LEVEL, MULTI_MODEL, BATCH, BATCH_STRATEGY, METRICS,
    MAX_REQUESTS, MAX_MB_IN_FLIGHT, SILENCE, BODY,
)  # fmt: skip
"""All of them, in the order that they are told in."""
