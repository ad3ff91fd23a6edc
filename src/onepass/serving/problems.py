"""The one place where errors become HTTP."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from onepass.errors import OnepassError, TooLargeError, UserError
from onepass.formats.media import JSON
from onepass.serving.messages import Response, to_json
from onepass.serving.models import ModelAlreadyLoadedError, ModelNotLoadedError, ModelTooLargeError

_ID_HEADERS = ("x-amzn-sagemaker-inference-id", "x-request-id")
_ID = re.compile(r"[!-~]{1,64}")


class HttpError(OnepassError):
    """Something to answer a client with.

    Parameters
    ----------
    status : int
        The HTTP status.
    code : str
        A word that stays the same, for programs.
    message : str
        A sentence for people.
    headers : tuple of pairs of str
        Further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


def to_problem(error: BaseException) -> HttpError:
    """Translate any error into what the client is told."""
    if isinstance(error, HttpError):
        return error
    for kind, status, code in (
        (ModelNotLoadedError, 404, "model_not_loaded"),
        (ModelAlreadyLoadedError, 409, "model_already_loaded"),
        (ModelTooLargeError, 507, "no_memory_for_model"),
        (TooLargeError, 413, "too_large"),
    ):
        if isinstance(error, kind):
            return HttpError(status, code, str(error))
    if isinstance(error, UserError):
        return HttpError(400, "bad_payload", f"unable to evaluate payload provided: {error}")
    if isinstance(error, MemoryError):
        message = "there is no memory for this request at the moment"
        return HttpError(507, "no_memory", message)
    return HttpError(500, "internal_error", "the server failed; its log has the reason")


def to_response(problem: HttpError, identity: str) -> Response:
    """Make the answer that tells a client of a problem."""
    told = {"code": problem.code, "message": str(problem), "request_id": identity}
    return Response(problem.status, to_json({"error": told}), JSON, problem.headers)


def request_id(headers: Mapping[str, str]) -> str:
    """Return the id the client gave its request, or one of our own.

    Parameters
    ----------
    headers : mapping of str to str
        Names in lower case.
    """
    given = next((headers[name] for name in _ID_HEADERS if name in headers), "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex
