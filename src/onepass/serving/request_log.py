"""One line of JSON for each request."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from onepass.serving.messages import Request, Response, to_json

_log = logging.getLogger("onepass.requests")
_GIVEN = {
    "content-type": "content_type",
    "accept": "accept",
    "x-amzn-sagemaker-custom-attributes": "custom_attributes",
    "traceparent": "traceparent",
}
_LONGEST = 256


def log_request(request: Request, response: Response, total_s: float, code: str) -> None:
    """Write the line of a request that has been answered.

    Parameters
    ----------
    request : Request
    response : Response
    total_s : float
    code : str
        What went wrong, in a word; empty where nothing did.
    """
    if not _log.isEnabledFor(logging.INFO):
        return
    line: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": "INFO",
        "event": "request",
        "request_id": request.identity,
        "method": request.method,
        "route": request.route,
        "path": request.path[:_LONGEST],
        "status": response.status,
        "rows": request.n_rows,
        "bytes_in": request.n_bytes_in,
        "bytes_out": len(response.body),
        "total_ms": _milliseconds(total_s),
    }
    for name, seconds in request.durations._asdict().items():
        line[f"{name}_ms"] = _milliseconds(seconds)
    for header, name in _GIVEN.items():
        if header in request.headers:
            line[name] = request.headers[header][:_LONGEST]
    if request.model:
        line["model"] = request.model
    if code:
        line["error"] = code
    _log.info("%s", to_json(line).decode())


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
