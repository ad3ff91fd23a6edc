"""What a server is told from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onepass.errors import UserError
from onepass.formats.media import CODECS, JSON, MediaType

DEFAULT_PORT = 8080
DEFAULT_MAX_PAYLOAD_MB = 100


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
    silence_s : int
        How long a client may send nothing in the middle of a request.
    """

    port: int = DEFAULT_PORT
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_MB * 2**20
    default_accept: str = JSON
    log_level: str = "info"
    silence_s: int = 15

    @classmethod
    def from_environment(cls, variables: Mapping[str, str], port: int | None) -> ServingSettings:
        """Read the platform's variables.

        Parameters
        ----------
        variables : mapping of str to str
            ``SAGEMAKER_BIND_TO_PORT``, ``SAGEMAKER_MAX_PAYLOAD_IN_MB``,
            ``SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT`` and ``SAGEMAKER_CONTAINER_LOG_LEVEL`` are
            used, ``SAGEMAKER_MULTI_MODEL`` is refused.
        port : int, optional
            Goes before the variable.
        """
        if variables.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true":
            raise UserError("SAGEMAKER_MULTI_MODEL=true: this version serves one model an endpoint")
        return cls(
            port or _whole(variables, "SAGEMAKER_BIND_TO_PORT", DEFAULT_PORT, 65535),
            _whole(variables, "SAGEMAKER_MAX_PAYLOAD_IN_MB", DEFAULT_MAX_PAYLOAD_MB, 2**20) * 2**20,
            _accept(variables),
            _log_level(variables),
        )


def _whole(variables: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    text = variables.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= maximum):
        raise UserError(f"{name}={text!r} must be a whole number from 1 to {maximum}")
    return int(text)


def _accept(variables: Mapping[str, str]) -> str:
    name = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
    accept = MediaType.parse(variables.get(name, "") or JSON).name
    if accept not in CODECS:
        raise UserError(f"{name}={variables[name]!r} must be one of {', '.join(CODECS)}")
    return accept


def _log_level(variables: Mapping[str, str]) -> str:
    """Read a level as a name, or as the number that Python gives it."""
    names = {"10": "debug", "20": "info", "30": "warning", "40": "error", "50": "critical"}
    text = variables.get("SAGEMAKER_CONTAINER_LOG_LEVEL", "").strip().lower() or "info"
    level = names.get(text, text)
    if level not in names.values():
        raise UserError(
            f"SAGEMAKER_CONTAINER_LOG_LEVEL={text!r} must be one of {', '.join(names.values())}"
        )
    return level
