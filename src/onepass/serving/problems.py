"""The one place where errors become HTTP."""

from __future__ import annotations

import logging
import re
import uuid

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from onepass.errors import OnepassError, TooLargeError, UserError

_log = logging.getLogger(__name__)

_ID_HEADERS = ("X-Amzn-SageMaker-Inference-Id", "X-Request-Id")
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
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def to_problem(error: Exception) -> HttpError:
    """Translate any error into what the client is told."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, HTTPException):
        code = error.name.lower().replace(" ", "_")
        return HttpError(error.code or 500, code, error.description or error.name)
    if isinstance(error, TooLargeError):
        return HttpError(413, "too_large", str(error))
    if isinstance(error, UserError):
        return HttpError(400, "bad_payload", f"unable to evaluate payload provided: {error}")
    return HttpError(500, "internal_error", "the server failed; its log has the reason")


def request_id() -> str:
    """Return the id the client gave this request, or one of our own."""
    if "request_id" not in g:
        given = next((request.headers[name] for name in _ID_HEADERS if name in request.headers), "")
        g.request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def register(app: Flask) -> None:
    """Answer every error of `app` as a problem."""

    def answer(error: Exception) -> Response:
        problem = to_problem(error)
        if problem.status >= 500:
            _log.error("request %s failed", request_id(), exc_info=error)
        body = {"code": problem.code, "message": str(problem), "request_id": request_id()}
        response = jsonify(error=body)
        response.status_code = problem.status
        if isinstance(error, MethodNotAllowed):
            response.allow.update(error.valid_methods or ())
        return response

    app.register_error_handler(Exception, answer)
