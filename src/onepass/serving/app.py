"""The application: what every route answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property, partial
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

import orjson

from onepass.errors import UserError
from onepass.formats.media import JSON
from onepass.formats.numbers import NotPlainError
from onepass.serving import metrics, routes
from onepass.serving.asgi import UPLOAD, request_of, send_response
from onepass.serving.batch import execution_parameters
from onepass.serving.body import BodyLimits, read_body
from onepass.serving.invocation import Form, Scored, form_of, score
from onepass.serving.limits import Budget, Share, answer_limit_bytes
from onepass.serving.messages import Receive, Request, Response, Send, to_json
from onepass.serving.models import (
    THE_MODEL,
    LoadedModel,
    ModelAlreadyLoadedError,
    ModelStore,
)
from onepass.serving.pace import Pace, pace_of
from onepass.serving.problems import HttpError, to_problem, to_response
from onepass.serving.request_log import log_request
from onepass.serving.settings import ServingSettings
from onepass.serving.upload import Upload

_log = logging.getLogger(__name__)

_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_MODEL_ORDER_BYTES = 2**16

_Handler = Callable[[Request, Receive, Upload], Awaitable[Response]]


class Application:
    """Answers requests, as ASGI has it.

    Parameters
    ----------
    store : ModelStore
        With one model named `THE_MODEL`, but for a multi-model server.
    settings : ServingSettings
        Of the whole server.
    n_workers : int
        Of which this is one.
    n_threads : int
        Of this worker, for what takes longer; as many more for what takes long.
    max_bytes_in_flight : int
        Of bodies, in this worker.
    """

    def __init__(
        self,
        store: ModelStore,
        settings: ServingSettings,
        *,
        n_workers: int = 1,
        n_threads: int = 1,
        max_bytes_in_flight: int = 2**30,
    ) -> None:
        self._store = store
        self._settings = settings
        self._n_workers = n_workers
        self._threads = {
            pace: ThreadPoolExecutor(n_threads, thread_name_prefix=pace.name.lower())
            for pace in (Pace.SOON, Pace.LATER)
        }
        self._budget = Budget(-(-settings.max_requests // n_workers), max_bytes_in_flight)
        self._answer_limit_bytes = answer_limit_bytes(settings)
        self._limits = BodyLimits(settings.max_payload_bytes, settings.silence_s, settings.body_s)
        self._metrics = metrics.Metrics() if settings.metrics else None
        self._handlers = self._routes()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["raw_path"] == b"/ping" and scope["method"] in routes.METHODS[routes.PING]:
            await send_response(Response(200), scope, send, patience_s=self._limits.total_s)
            return
        request = request_of(scope)
        with request.held:
            response, code = await self._answer_or_refuse(request, receive, scope[UPLOAD])
            total_s = time.perf_counter() - request.started
            log_request(request, response, total_s, code)
            if self._metrics:
                self._metrics.count(request, response, total_s, code)
            answer = _with_headers(response, request, total_s)
            await send_response(answer, scope, send, patience_s=self._limits.total_s)

    async def _answer_or_refuse(
        self, request: Request, receive: Receive, upload: Upload
    ) -> tuple[Response, str]:
        """Return an answer, and what went wrong, in a word; empty where nothing did."""
        try:
            with self._metrics.in_flight() if self._metrics else nullcontext():
                return await self._answer(request, receive, upload), ""
        except asyncio.CancelledError:  # the time to finish is up
            problem = HttpError(503, "stopping", "the server is stopping")
        except Exception as error:  # noqa: BLE001 - the one place where errors become answers
            problem = to_problem(error)
            if problem.status == 500:
                _log.error("request %s failed", request.identity, exc_info=error)
        return to_response(problem, request.identity), problem.code

    async def _answer(self, request: Request, receive: Receive, upload: Upload) -> Response:
        found = routes.match(request.path)
        if found is None or found.route not in self._handlers:
            request.route = "other"
            raise routes.not_found(request.path)
        request.route, request.model = found
        if request.method not in routes.METHODS[found.route]:
            raise routes.not_allowed(request.method, found.route)
        return await self._handlers[found.route](request, receive, upload)

    def _routes(self) -> dict[str, _Handler]:
        """Return what this server answers to."""
        handlers: dict[str, _Handler] = {
            routes.PING: _fixed(lambda: Response(200)),
            routes.EXECUTION_PARAMETERS: _fixed(
                lambda: _json(execution_parameters(self._settings, self._n_workers))
            ),
            routes.OPENAPI: _fixed(lambda: Response(200, self._openapi, JSON)),
        }
        if self._metrics:
            handlers[routes.METRICS] = _fixed(self._exposition)
        if not self._settings.multi_model:
            return handlers | {routes.INVOCATIONS: self._invocations}
        return handlers | {
            routes.MODELS: self._models,
            routes.MODEL: self._model,
            routes.INVOKE: self._invoke,
        }

    async def _invocations(self, request: Request, receive: Receive, upload: Upload) -> Response:
        return await self._score(request, receive, upload, name=THE_MODEL)

    async def _invoke(self, request: Request, receive: Receive, upload: Upload) -> Response:
        return await self._score(request, receive, upload, name=request.model)

    async def _score(
        self, request: Request, receive: Receive, upload: Upload, *, name: str
    ) -> Response:
        """Answer with clusters: headers first, then the body, then the model."""
        form = form_of(request.headers, self._settings.default_accept)
        model = self._store.describe(name)
        share = request.held.enter_context(self._budget.request())
        body = await self._body(request, receive, upload, share, self._limits)
        pace = pace_of(len(body), form, model.n_clusters, model.n_features)
        scored = await self._at(pace, partial(self._scored, name, body, form))
        share.hold(len(scored.body))
        request.n_rows, request.durations = scored.n_rows, scored.durations
        return Response(200, scored.body, scored.content_type)

    async def _at(self, pace: Pace, ask: Callable[..., Scored]) -> Scored:
        if pace is Pace.AT_ONCE:
            return ask()
        if pace is Pace.AT_ONCE_IF_PLAIN:
            try:
                return ask(only_plain=True)
            except NotPlainError:
                pace = Pace.SOON
        return await asyncio.get_running_loop().run_in_executor(self._threads[pace], ask)

    def _scored(
        self, name: str, body: bytes | bytearray, form: Form, *, only_plain: bool = False
    ) -> Scored:
        with self._store.use(name) as model:
            return score(
                model,
                body,
                form,
                limit_bytes=self._settings.max_payload_bytes,
                answer_limit_bytes=self._answer_limit_bytes,
                only_plain=only_plain,
            )

    async def _models(self, request: Request, receive: Receive, upload: Upload) -> Response:
        if request.method != "POST":
            page = self._store.page(_page_token(request.query))
            told: dict[str, Any] = {"models": [_told(model) for model in page.models]}
            if page.next_token is not None:
                told["nextPageToken"] = page.next_token
            return _json(told)
        limits = BodyLimits(_MODEL_ORDER_BYTES, self._limits.silence_s, self._limits.total_s)
        with self._budget.request() as share:
            name, url = _order(await self._body(request, receive, upload, share, limits))
            request.model = name
            try:  # not in the threads that score: a large model takes long
                await asyncio.to_thread(self._store.load, name, url)
            except ModelAlreadyLoadedError:
                raise
            except UserError as error:
                raise HttpError(400, "bad_model", str(error)) from error
        return _json({"status": f'Model "{name}" registered'})

    async def _model(self, request: Request, receive: Receive, upload: Upload) -> Response:
        del receive, upload
        if request.method == "DELETE":
            await asyncio.to_thread(self._store.unload, request.model)
            return _json({"status": f'Model "{request.model}" unregistered'})
        return _json(_told(self._store.describe(request.model)))

    async def _body(
        self, request: Request, receive: Receive, upload: Upload, share: Share, limits: BodyLimits
    ) -> bytes | bytearray:
        declared = request.headers.get("content-length")
        body = await read_body(receive, declared, share, limits=limits, upload=upload)
        request.n_bytes_in = len(body)
        return body

    def _exposition(self) -> Response:
        figures = self._metrics.exposition() if self._metrics else b""
        return Response(200, figures, metrics.CONTENT_TYPE)

    @cached_property
    def _openapi(self) -> bytes:
        return files("onepass.serving").joinpath("openapi.json").read_bytes()


def _fixed(answer: Callable[[], Response]) -> _Handler:
    """Return a handler that does not look at its request."""

    async def handle(request: Request, receive: Receive, upload: Upload) -> Response:
        del request, receive, upload
        return answer()

    return handle


def _page_token(query: str) -> str | None:
    tokens = parse_qs(query).get("next_page_token")
    return tokens[0] if tokens else None


def _order(body: bytes | bytearray) -> tuple[str, str]:
    """Read which model shall be loaded, and from where."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, "bad_request", f"the body is not valid JSON: {error}") from error
    told = given if isinstance(given, dict) else {}
    name, url = told.get("model_name"), told.get("url")
    if not isinstance(name, str) or not isinstance(url, str):
        message = 'the body must be {"model_name": "...", "url": "..."}'
        raise HttpError(400, "bad_request", message)
    return name, url


def _told(model: LoadedModel) -> dict[str, str]:
    return {"modelName": model.name, "modelUrl": model.url}


def _json(value: Any) -> Response:
    return Response(200, to_json(value), JSON)


def _with_headers(response: Response, request: Request, total_s: float) -> Response:
    """Add what every answer tells beside its body."""
    timings = request.durations._asdict() | {"total": total_s}
    told = [
        ("X-Request-Id", request.identity),
        ("Server-Timing", ", ".join(f"{n};dur={1000 * s:.3f}" for n, s in timings.items())),
    ]
    attributes = request.headers.get(_CUSTOM_ATTRIBUTES, "")
    if attributes.isascii() and attributes.isprintable() and 0 < len(attributes) <= 1024:
        told.append(("X-Amzn-SageMaker-Custom-Attributes", attributes))
    return response._replace(headers=(*response.headers, *told))
