"""What batch transform should send: the answer of ``GET /execution-parameters``."""

from __future__ import annotations

from typing import TypedDict

from onepass.serving.settings import MIB, ServingSettings

_ALL_TRANSFORMS_MB = 100
"""The platform's limit to transforms at once times megabytes of each."""

_PAYLOAD_MB = 6
"""What the platform would send unasked."""

_SPELLINGS = {  # by whether many records are sent at once, and whether the SDK asks
    (True, False): "MULTI_RECORD",
    (False, False): "SINGLE_RECORD",
    (True, True): "MultiRecord",
    (False, True): "SingleRecord",
}


class ExecutionParameters(TypedDict):
    """As the platform names them."""

    MaxConcurrentTransforms: int
    BatchStrategy: str
    MaxPayloadInMB: int


def execution_parameters(settings: ServingSettings, n_workers: int) -> ExecutionParameters:
    """Tell what the server can take at once, and the platform may send.

    Parameters
    ----------
    settings : ServingSettings
    n_workers : int

    Returns
    -------
    dict
        As many transforms as there are workers, of 6 MB or as the job says, and no more than 100 MB
        in all or than is accepted at once.
    """
    batch = settings.batch
    payload_mb = _PAYLOAD_MB if batch.payload_mb is None else batch.payload_mb
    payload_mb = min(payload_mb, settings.max_payload_bytes // MIB)
    in_all_mb = min(_ALL_TRANSFORMS_MB, settings.max_bytes_in_flight // MIB or _ALL_TRANSFORMS_MB)
    at_once = min(n_workers, settings.max_requests, in_all_mb // max(1, payload_mb))
    return {
        "MaxConcurrentTransforms": max(1, at_once),
        "BatchStrategy": _SPELLINGS[batch.many_records, batch.spelt_as_sdk],
        "MaxPayloadInMB": payload_mb,
    }
