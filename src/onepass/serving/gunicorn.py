"""The process that listens: gunicorn, set up for short requests of pure computation."""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from onepass.cluster.model import KMeansModel
from onepass.resources import available_cpus, memory_limit_bytes
from onepass.serving.app import create_app, self_test
from onepass.serving.settings import ServingSettings

THREADS = 8
"""Of each worker: more than can compute at once, so that /ping always finds a free one."""

_WORKER_BYTES = 256 * 2**20
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only gunicorn's heartbeat, and only where it exists


class Server(BaseApplication):
    """Serves one model until it is told to stop.

    Parameters
    ----------
    model : KMeansModel
        Loaded before the workers are forked, which share its memory. Nothing is computed before
        the fork: some linear algebra libraries do not survive one.
    settings : ServingSettings
    """

    def __init__(self, model: KMeansModel, settings: ServingSettings) -> None:
        self._model = model
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to run."""
        for name, value in gunicorn_options(self._model, self._settings).items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Listen and answer; ends with `SystemExit`."""
        _keep_signals_for_workers()
        super().run()

    def load(self) -> Any:
        """Return the application."""
        return create_app(self._model, self._settings)


def gunicorn_options(model: KMeansModel, settings: ServingSettings) -> dict[str, Any]:
    """Return gunicorn's settings.

    A worker listens only once it has answered a self-test, and drains for 25 of the 30 seconds
    that the platform leaves it after SIGTERM.
    """
    return {
        "bind": f"0.0.0.0:{settings.port}",  # the platform asks for all interfaces
        "worker_class": "gthread",
        "workers": worker_count(),
        "threads": THREADS,
        "preload_app": True,
        "when_ready": partial(_limit_silence, seconds=settings.silence_s),
        "post_worker_init": lambda worker: self_test(model),  # noqa: ARG005
        "timeout": 120,
        "graceful_timeout": 25,
        "keepalive": 75,
        "worker_tmp_dir": _scratch_directory(),
        "control_socket_disable": True,
        "loglevel": settings.log_level,
        "proc_name": "onepass",
    }


def worker_count() -> int:
    """One worker a processor, as far as the memory reaches at 256 MiB each."""
    return max(1, min(available_cpus(), int(0.8 * memory_limit_bytes()) // _WORKER_BYTES))


def _keep_signals_for_workers() -> None:
    """Let no worker lose a signal in the moments after its fork.

    There it still has the handler of its parent, which would note the signal and do nothing: a
    server stopped while it starts would then wait for the worker until its time is up.
    """
    stopping = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping)

    def reset_and_release() -> None:
        for number in stopping:
            signal.signal(number, signal.SIG_DFL)
        release()

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, stopping),
        after_in_parent=release,
        after_in_child=reset_and_release,
    )


def _limit_silence(arbiter: Arbiter, *, seconds: int) -> None:
    """Let no client that stops in the middle of a request keep a thread; sockets inherit this."""
    for listener in arbiter.LISTENERS:
        limit = struct.pack("ll", seconds, 0)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    logging.getLogger("gunicorn.error").addFilter(_is_no_silence)


def _is_no_silence(record: logging.LogRecord) -> bool:
    """Keep the clients that fell silent, which gunicorn takes for bugs, out of the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))


def _scratch_directory() -> str:
    """Return a place in memory for heartbeats: on disk they may block a worker."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    return str(_SHARED_MEMORY) if usable else tempfile.gettempdir()
