"""What a server is told from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from onepass.errors import UserError
from onepass.formats.media import CODECS, JSON, MediaType

DEFAULT_PORT = 8080
DEFAULT_MAX_PAYLOAD_MB = 100
MIB = 2**20

_UNLIMITED_MB = 1024
"""Accepted where the platform says that it sets no limit: as much as asynchronous endpoints."""

_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}
_PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_STRATEGIES = {"singlerecord": False, "multirecord": True}


@dataclass(frozen=True)
class BatchSettings:
    """What the platform says about a batch transform job.

    Attributes
    ----------
    many_records : bool
        Whether a request holds as many records as fit it.
    spelt_as_sdk : bool
        The SageMaker Python SDK, which plays the platform on one's own machine, understands other
        spellings than the platform's.
    payload_mb : int or None
        The longest body that will be sent, if that is known.
    """

    many_records: bool = True
    spelt_as_sdk: bool = False
    payload_mb: int | None = None


@dataclass(frozen=True)
class ServingSettings:
    """Settings of a server.

    Attributes
    ----------
    port : int
    max_payload_bytes : int
        The longest body accepted.
    default_accept : str
        The media type of answers where the client does not care.
    log_level : str
    multi_model : bool
        Whether models are loaded and unloaded by requests.
    metrics : bool
        Whether ``GET /metrics`` is answered.
    max_requests : int
        In flight in the whole server.
    max_bytes_in_flight : int
        Of bodies in the whole server; 0: a quarter of the memory.
    silence_s, body_s : float
        How long a client may send nothing, and how long a body may take beside a second for each
        MiB.
    batch : BatchSettings
    """

    port: int = DEFAULT_PORT
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_MB * MIB
    default_accept: str = JSON
    log_level: str = "info"
    multi_model: bool = False
    metrics: bool = False
    max_requests: int = 256
    max_bytes_in_flight: int = 0
    silence_s: float = 15
    body_s: float = 60
    batch: BatchSettings = BatchSettings()

    @classmethod
    def from_environment(cls, variables: Mapping[str, str], port: int | None) -> ServingSettings:
        """Read the platform's variables, ``SAGEMAKER_…``, and our own, ``ONEPASS_…``.

        Parameters
        ----------
        variables : mapping of str to str
        port : int, optional
            Goes before the variable.

        Raises
        ------
        UserError
            Naming the variable, its value and what is accepted.
        """
        payload_mb = _whole(variables, "SAGEMAKER_MAX_PAYLOAD_IN_MB", DEFAULT_MAX_PAYLOAD_MB, 0)
        _check_port_range(variables)
        return cls(
            port=port or _whole(variables, "SAGEMAKER_BIND_TO_PORT", DEFAULT_PORT, 1, 65535),
            max_payload_bytes=(payload_mb or _UNLIMITED_MB) * MIB,
            default_accept=_accept(variables),
            log_level=_log_level(variables),
            multi_model=_truth(variables, "SAGEMAKER_MULTI_MODEL"),
            metrics=_truth(variables, "ONEPASS_METRICS"),
            max_requests=_whole(variables, "ONEPASS_MAX_REQUESTS", 256, 1),
            max_bytes_in_flight=_whole(variables, "ONEPASS_MAX_MB_IN_FLIGHT", 0, 0) * MIB,
            silence_s=_whole(variables, "ONEPASS_SILENCE_S", 15, 1, 3600),
            body_s=_whole(variables, "ONEPASS_BODY_S", 60, 1, 3600),
            batch=_batch(variables),
        )


def _batch(variables: Mapping[str, str]) -> BatchSettings:
    is_batch = _truth(variables, "SAGEMAKER_BATCH")
    text = _text(variables, "SAGEMAKER_BATCH_STRATEGY") or "MULTI_RECORD"
    strategy = text.replace("_", "").lower()
    if strategy not in _STRATEGIES:
        raise UserError(f"SAGEMAKER_BATCH_STRATEGY={text!r} must be SINGLE_RECORD or MULTI_RECORD")
    told = _text(variables, "SAGEMAKER_MAX_PAYLOAD_IN_MB")
    return BatchSettings(
        many_records=_STRATEGIES[strategy],
        # The platform says "true".
        spelt_as_sdk=is_batch and _text(variables, "SAGEMAKER_BATCH") == "True",
        payload_mb=int(told) if told else None,
    )


def _check_port_range(variables: Mapping[str, str]) -> None:
    """Refuse what is no range; no port but that of requests is opened, so none is taken of it."""
    text = _text(variables, "SAGEMAKER_SAFE_PORT_RANGE")
    found = _PORT_RANGE.fullmatch(text)
    if text and not (found and 1 <= int(found[1]) <= int(found[2]) <= 65535):
        raise UserError(
            f"SAGEMAKER_SAFE_PORT_RANGE={text!r} must be two ports such as 9000-9999, the lower "
            "one first"
        )


def _text(variables: Mapping[str, str], name: str) -> str:
    return variables.get(name, "").strip()


def _whole(
    variables: Mapping[str, str], name: str, default: int, minimum: int, maximum: int = 2**20
) -> int:
    text = _text(variables, name) or str(default)
    right = text.isascii() and text.isdigit() and len(text) <= 10
    if not (right and minimum <= int(text) <= maximum):
        raise UserError(f"{name}={text!r} must be a whole number from {minimum} to {maximum}")
    return int(text)


def _truth(variables: Mapping[str, str], name: str) -> bool:
    text = _text(variables, name)
    if text.lower() not in _TRUTHS:
        raise UserError(f"{name}={text!r} must be true or false")
    return _TRUTHS[text.lower()]


def _accept(variables: Mapping[str, str]) -> str:
    name = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
    accept = MediaType.parse(variables.get(name, "") or JSON).name
    if accept not in CODECS:
        raise UserError(f"{name}={variables[name]!r} must be one of {', '.join(CODECS)}")
    return accept


def _log_level(variables: Mapping[str, str]) -> str:
    """Read a level as a name, or as the number that Python gives it."""
    names = {"10": "debug", "20": "info", "30": "warning", "40": "error", "50": "critical"}
    text = _text(variables, "SAGEMAKER_CONTAINER_LOG_LEVEL").lower() or "info"
    level = names.get(text, text)
    if level not in names.values():
        raise UserError(
            f"SAGEMAKER_CONTAINER_LOG_LEVEL={text!r} must be one of {', '.join(names.values())}"
        )
    return level
