"""The application: two routes over one model."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from onepass.cluster.model import KMeansModel
from onepass.errors import AlgorithmError
from onepass.formats.arrays import Rows
from onepass.formats.media import CODECS
from onepass.serving import problems
from onepass.serving.body import read_body
from onepass.serving.negotiation import answer_type, content_type
from onepass.serving.problems import HttpError, request_id
from onepass.serving.settings import ServingSettings

_log = logging.getLogger(__name__)


def create_app(model: KMeansModel, settings: ServingSettings) -> Flask:
    """Make the application.

    Parameters
    ----------
    model : KMeansModel
    settings : ServingSettings

    Returns
    -------
    flask.Flask
        ``GET /ping`` and ``POST /invocations`` as SageMaker hosting asks for them.
    """
    app = Flask("onepass", static_folder=None)
    problems.register(app)

    @app.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @app.post("/invocations")
    def invocations() -> Response:
        media = content_type(request.headers.get("Content-Type"))
        answer = answer_type(request.accept_mimetypes, settings.default_accept)
        _refuse_encodings(request.headers.get("Content-Encoding"))
        body = read_body(
            request.environ["wsgi.input"],
            request.content_length,
            limit_bytes=settings.max_payload_bytes,
        )
        if not body:
            raise HttpError(400, "bad_payload", "the body is empty; at least one row is needed")
        rows = CODECS[media.name].read(body, media, model.n_features)
        _check_width(rows, model)
        assignment = model.assign(rows)
        g.n_rows = len(rows)
        return Response(CODECS[answer].write(*assignment), content_type=answer)

    @app.before_request
    def start_clock() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def log(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id()
        if request.path != "/ping":
            milliseconds = 1000 * (time.perf_counter() - g.started)
            _log.info(
                "%s %s %d, %d rows, %.1f ms, request %s",
                request.method,
                request.path,
                response.status_code,
                g.get("n_rows", 0),
                milliseconds,
                request_id(),
            )
        return response

    return app


def self_test(model: KMeansModel) -> None:
    """Let a model answer once, so that the first client does not wait for anything to load.

    Raises
    ------
    AlgorithmError
        When a center is not its own closest center.
    """
    if model.assign(model.centers[:1]).distances[0] != 0:
        raise AlgorithmError("the model does not find its own centers")


def _check_width(rows: Rows, model: KMeansModel) -> None:
    if rows.shape[1] != model.n_features:
        raise HttpError(
            400,
            "bad_payload",
            f"unable to evaluate payload provided: rows have {rows.shape[1]} features, "
            f"the model takes {model.n_features}",
        )


def _refuse_encodings(encoding: str | None) -> None:
    if encoding and encoding.strip().lower() != "identity":
        raise HttpError(
            415, "unsupported_encoding", f"Content-Encoding {encoding!r}: send the body as it is"
        )
