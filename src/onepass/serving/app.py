"""The application: two routes over one model."""

from __future__ import annotations

import logging
import time
from functools import partial
from urllib.parse import quote

import numpy as np
from flask import Flask, Response, g, request

from onepass.cluster.model import KMeansModel
from onepass.errors import AlgorithmError
from onepass.formats.arrays import Rows, Vector
from onepass.formats.media import CODECS
from onepass.serving import problems
from onepass.serving.body import discard_body, read_body
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
    app.before_request(_start_clock)
    app.after_request(_log_answer)

    @app.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @app.post("/invocations")
    def invocations() -> Response:
        return _invoke(model, settings)

    @app.after_request
    def let_the_client_finish(response: Response) -> Response:
        if response.status_code >= 400:
            response.call_on_close(
                partial(
                    discard_body,
                    request.environ["wsgi.input"],
                    request.environ.get("gunicorn.socket"),
                    limit_bytes=2 * settings.max_payload_bytes,
                )
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


def _invoke(model: KMeansModel, settings: ServingSettings) -> Response:
    """Answer the request that Flask is at: headers first, then the body, then the model."""
    media = content_type(request.headers.get("Content-Type"))
    answer = answer_type(request.headers.get("Accept"), settings.default_accept)
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
    _check_distances(assignment.distances)
    g.n_rows = len(rows)
    return Response(CODECS[answer].write(*assignment), content_type=answer)


def _check_width(rows: Rows, model: KMeansModel) -> None:
    if rows.shape[1] != model.n_features:
        raise HttpError(
            400,
            "bad_payload",
            f"unable to evaluate payload provided: rows have {rows.shape[1]} features, "
            f"the model takes {model.n_features}",
        )


def _check_distances(distances: Vector) -> None:
    """Refuse to answer with an infinite distance, which JSON has no number for."""
    far = np.flatnonzero(~np.isfinite(distances))
    if len(far):
        raise HttpError(
            400,
            "bad_payload",
            f"unable to evaluate payload provided: row {far[0] + 1} is too far from every center "
            "for float32",
        )


def _refuse_encodings(encoding: str | None) -> None:
    if encoding and encoding.strip().lower() != "identity":
        raise HttpError(
            415, "unsupported_encoding", f"Content-Encoding {encoding!r}: send the body as it is"
        )


def _start_clock() -> None:
    g.started = time.perf_counter()


def _log_answer(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    if request.path != "/ping":
        milliseconds = 1000 * (time.perf_counter() - g.started)
        _log.info(
            "%s %s %d, %d rows, %.1f ms, request %s",
            request.method,
            quote(request.path),
            response.status_code,
            g.get("n_rows", 0),
            milliseconds,
            request_id(),
        )
    return response
