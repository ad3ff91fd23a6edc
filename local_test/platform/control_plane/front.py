"""The one address for all of AWS: what runs something is done here, all else is moto's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug import Request, Response

from control_plane.errors import ApiError
from control_plane.hosting import Hosting
from control_plane.requests import check

_INVOCATION = re.compile(r"/endpoints/([^/]+)/invocations")
_JSON = "application/x-amz-json-1.1"
_ASKED = {"Accept", "Content-Type", "X-Amzn-Sagemaker-Custom-Attributes"}

Operation = Callable[[dict[str, Any]], dict[str, Any]]


class Front:
    """A WSGI application.

    Parameters
    ----------
    operations : dict of str to callable
        Of SageMaker's JSON API: by their names, what takes a request and returns the answer.
    hosting : Hosting
        Answers requests to endpoints.
    """

    def __init__(self, operations: dict[str, Operation], hosting: Hosting) -> None:
        self._operations, self._hosting = operations, hosting
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        service, _, name = target.partition(".")
        invocation = _INVOCATION.fullmatch(environ.get("PATH_INFO", ""))
        if service == "SageMaker" and name in self._operations:
            answer = self._operate(name, Request(environ))
        elif invocation:
            answer = self._invoke(invocation[1], Request(environ))
        else:
            moto: Iterable[bytes] = self._moto(environ, start_response)
            return moto
        return answer(environ, start_response)

    def _operate(self, name: str, request: Request) -> Response:
        try:
            given = json.loads(request.get_data() or b"{}")
            check(name, given)
            return Response(
                json.dumps(self._operations[name](given), default=_plain), 200, mimetype=_JSON
            )
        except ApiError as error:
            return _problem(error)
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            return _problem(ApiError("InternalFailure", repr(error), 500))

    def _invoke(self, endpoint: str, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name.title() in _ASKED}
        target = request.headers.get("X-Amzn-SageMaker-Target-Model", "")
        wanted = request.headers.get("X-Amzn-SageMaker-Target-Variant", "")
        body = request.get_data()
        try:
            told, variant = self._hosting.invoke(endpoint, body, headers, target, wanted)
        except ApiError as error:
            return _problem(error)
        if told.status >= 300:
            return _of_model(told.status, told.body.decode(errors="replace"), endpoint)
        answer = Response(told.body, 200, content_type=told.headers.get("Content-Type"))
        answer.headers["x-Amzn-Invoked-Production-Variant"] = variant
        return answer


def _of_model(status: int, text: str, endpoint: str) -> Response:
    """Return the error that boto3 shows where a container has answered with one."""
    kind = "client" if status < 500 else "server"
    message = (
        f'Received {kind} error ({status}) from primary with message "{text}". See '
        f"/aws/sagemaker/Endpoints/{endpoint} in the logs for more information."
    )
    told: dict[str, object] = {"ErrorCode": "CONTAINER_ERROR", "Message": message}
    told |= {"OriginalStatusCode": status, "OriginalMessage": text}
    answer = Response(json.dumps(told), 424, mimetype="application/json")
    answer.headers["x-amzn-ErrorType"] = "ModelError"
    return answer


def _problem(error: ApiError) -> Response:
    text = json.dumps({"__type": error.code, "message": error.message, "Message": error.message})
    answer = Response(text, error.status, mimetype=_JSON)
    answer.headers["x-amzn-ErrorType"] = error.code
    return answer


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{value!r} cannot be told")
