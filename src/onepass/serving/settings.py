"""What a server is told from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onepass.formats.media import JSON
from onepass.serving.variables import (
    ACCEPT,
    BATCH,
    BATCH_STRATEGY,
    BODY,
    DEFAULT_MAX_PAYLOAD_MB,
    DEFAULT_PORT,
    LOG_LEVEL,
    MAX_MB_IN_FLIGHT,
    MAX_PAYLOAD,
    MAX_REQUESTS,
    METRICS,
    MULTI_MODEL,
    PORT,
    PORT_RANGE,
    SILENCE,
    UNLIMITED_MB,
)  # fmt: skip

MIB = 2**20


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
        payload_mb = MAX_PAYLOAD.read(variables)
        PORT_RANGE.read(variables)
        return cls(
            port=port or PORT.read(variables),
            max_payload_bytes=(payload_mb or UNLIMITED_MB) * MIB,
            default_accept=ACCEPT.read(variables),
            log_level=LOG_LEVEL.read(variables),
            multi_model=MULTI_MODEL.read(variables),
            metrics=METRICS.read(variables),
            max_requests=MAX_REQUESTS.read(variables),
            max_bytes_in_flight=MAX_MB_IN_FLIGHT.read(variables) * MIB,
            silence_s=SILENCE.read(variables),
            body_s=BODY.read(variables),
            batch=_batch(variables),
        )


def _batch(variables: Mapping[str, str]) -> BatchSettings:
    is_batch = BATCH.read(variables)
    is_told = bool(variables.get(MAX_PAYLOAD.name, "").strip())
    return BatchSettings(
        many_records=BATCH_STRATEGY.read(variables),
        # The platform says "true".
        spelt_as_sdk=is_batch and BATCH.written(variables) == "True",
        payload_mb=MAX_PAYLOAD.read(variables) if is_told else None,
    )
