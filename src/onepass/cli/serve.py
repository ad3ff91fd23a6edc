"""``onepass serve``: load, listen, stop."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from onepass.cli.logs import set_up_logging
from onepass.cli.threads import limit_blas_threads
from onepass.errors import PlatformError
from onepass.sagemaker.outcome import describe_failure
from onepass.sagemaker.paths import Paths

if TYPE_CHECKING:
    from onepass.serving.models import ModelStore
    from onepass.serving.settings import ServingSettings

_log = logging.getLogger(__name__)


def run_server(base: Path, port: int | None) -> int:
    """Serve the model under `base`; returns the exit code when it cannot be served."""
    limit_blas_threads(1)  # each worker has threads enough of its own
    set_up_logging("info")
    try:
        _serve(base, port)
    except Exception as error:  # noqa: BLE001 - nothing may end without a reason
        failure = describe_failure(error)
        known = isinstance(error, OSError) or failure.exit_code != 1
        _log.error("%s", failure.reason, exc_info=None if known else error)
        return failure.exit_code
    return 0


def _serve(base: Path, port: int | None) -> None:
    from onepass.serving.settings import ServingSettings

    settings = ServingSettings.from_environment(os.environ, port)
    logging.getLogger().setLevel(settings.log_level.upper())
    if not (settings.multi_model or settings.metrics):
        _listen(*_one_model(base, settings), settings)
        return
    with _scratch_directory() as scratch:
        if settings.metrics:  # the library looks there when it is imported
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(scratch)
        if settings.multi_model:
            _listen(*_many_models(base, settings, scratch), settings)
        else:
            _listen(*_one_model(base, settings), settings)


def _listen(store: ModelStore, ready: Callable[[], None], settings: ServingSettings) -> None:
    from onepass.serving.gunicorn import Server

    _check_port(settings.port)
    Server(store, settings, ready).run()


def _one_model(base: Path, settings: ServingSettings) -> tuple[ModelStore, Callable[[], None]]:
    from onepass.artifact.model_file import load_model
    from onepass.serving.models import THE_MODEL, ModelStore, self_test

    directory = Paths(base).model
    model = load_model(directory)
    model.prepare()
    store = ModelStore(directory)
    store.put(THE_MODEL, model, str(directory))
    _log.info(
        "serving %d clusters of %d features from %s on port %d",
        model.n_clusters,
        model.n_features,
        directory,
        settings.port,
    )
    return store, partial(self_test, model)


def _many_models(
    base: Path, settings: ServingSettings, scratch: Path
) -> tuple[ModelStore, Callable[[], None]]:
    from onepass.serving.limits import bytes_in_flight
    from onepass.serving.models import ModelStore

    directory = Paths(base).models
    _log.info(
        "serving models under %s, as they are asked for, on port %d", directory, settings.port
    )
    reserve_bytes = bytes_in_flight(settings)
    store = ModelStore(directory, reserve_bytes=reserve_bytes, journal=scratch / "models.json")
    return store, store.restore


def _check_port(port: int) -> None:
    """Refuse a port that is taken at once: gunicorn would try for seconds and not say it last."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))  # noqa: S104 - as the server will
        except OSError as error:
            raise PlatformError(f"cannot listen on port {port}: {error.strerror}") from error


@contextmanager
def _scratch_directory() -> Iterator[Path]:
    """Make a directory for what workers leave each other, which the first process removes."""
    from onepass.serving.gunicorn import scratch_place

    first = os.getpid()
    directory = Path(tempfile.mkdtemp(prefix="onepass-", dir=scratch_place()))
    try:
        yield directory
    finally:
        if os.getpid() == first:
            shutil.rmtree(directory, ignore_errors=True)
