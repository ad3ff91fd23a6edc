"""The processes that listen: gunicorn watches over workers, in each of which uvicorn serves."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from onepass.resources import available_cpus, keep_freed_memory, memory_limit_bytes
from onepass.serving.accepting import Acceptor, Balance
from onepass.serving.app import Application
from onepass.serving.connections import limited
from onepass.serving.limits import ConnectionLimits, bytes_in_flight
from onepass.serving.metrics import forget_worker
from onepass.serving.models import ModelStore
from onepass.serving.settings import MIB, ServingSettings

_log = logging.getLogger(__name__)

_WORKER_BYTES = 256 * 2**20
_KEPT_BYTES = 2**26
_BACKLOG = 2048
_DRAIN_S = 24
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only gunicorn's heartbeat, and only where it exists


class Server(BaseApplication):
    """Serves models until it is told to stop.

    Parameters
    ----------
    store : ModelStore
        What it holds has been loaded before workers are forked, which share its memory. Nothing
        before the fork starts a thread: some linear algebra libraries do not survive one.
    settings : ServingSettings
    ready : callable
        Called in each worker before it listens; what it raises ends the server.
    """

    def __init__(
        self, store: ModelStore, settings: ServingSettings, ready: Callable[[], None]
    ) -> None:
        self._store = store
        self.settings = settings
        self._ready = ready
        self.balance = Balance(worker_count(settings))
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to run."""
        for name, value in gunicorn_options(self.settings).items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Listen and answer; ends with `SystemExit`."""
        _log.info(
            "%s; together at most %d requests and %d MiB of bodies at once, %d MiB each",
            _describe_workers(self.settings),
            self.settings.max_requests,
            bytes_in_flight(self.settings) // MIB,
            self.settings.max_payload_bytes // MIB,
        )
        _keep_signals_for_workers()
        gc.collect()
        gc.freeze()  # what is there is not looked at again, and so stays shared with workers
        super().run()

    def load(self) -> Any:
        """Return the application of a worker."""
        keep_freed_memory(_KEPT_BYTES)
        self._ready()
        n_workers = worker_count(self.settings)
        return Application(
            self._store,
            self.settings,
            n_workers=n_workers,
            n_threads=-(-available_cpus() // n_workers),
            max_bytes_in_flight=bytes_in_flight(self.settings) // n_workers,
        )


def gunicorn_options(settings: ServingSettings) -> dict[str, Any]:
    """Return gunicorn's settings; it drains for 25 of the platform's 30 seconds after SIGTERM."""
    return {
        "bind": f"0.0.0.0:{settings.port}",  # the platform asks for all interfaces
        "backlog": _BACKLOG,
        "worker_class": UvicornWorker,
        "workers": worker_count(settings),
        "timeout": 120,
        "graceful_timeout": _DRAIN_S + 1,
        "keepalive": 75,
        "worker_tmp_dir": scratch_place(),
        "control_socket_disable": True,
        "loglevel": settings.log_level,
        "proc_name": "onepass",
        "pre_fork": _give_place,
        **({"child_exit": _forget} if settings.metrics else {}),
    }


def _describe_workers(settings: ServingSettings) -> str:
    """Tell how many workers there are, and what decides that."""
    n = worker_count(settings)
    if settings.multi_model:
        reason = "all models are in one"
    else:
        reason = "one a processor" if n == available_cpus() else "as many as the memory is for"
    return f"{n} worker{'s' if n > 1 else ''} ({reason}), which share the memory of models"


def worker_count(settings: ServingSettings) -> int:
    """One worker a processor, as far as the memory reaches at 256 MiB each; one of many models."""
    if settings.multi_model:
        return 1  # a request to load one reaches but one
    return max(1, min(available_cpus(), int(0.8 * memory_limit_bytes()) // _WORKER_BYTES))


class UvicornWorker(Worker):
    """A worker in which uvicorn serves; gunicorn makes it, for a `Server`."""

    place = 0
    _server: _Uvicorn | None = None

    def run(self) -> None:
        """Serve until told to stop."""
        server: Server = self.app  # type: ignore[assignment]
        settings = server.settings
        self._server = _Uvicorn(
            uvicorn.Config(
                self.wsgi,
                loop="asyncio",
                http=limited(
                    ConnectionLimits(
                        headers_s=settings.silence_s,
                        drain_bytes=2 * settings.max_payload_bytes,
                        connections=resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2,
                    )
                ),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=self.cfg.keepalive,
                timeout_notify=1,
                timeout_graceful_shutdown=_DRAIN_S,
                callback_notify=self._beat,
            ),
            server.balance,
            self.place,
        )
        asyncio.run(self._server.serve(sockets=self.sockets))

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Finish what is in flight, and end."""
        del sig, frame
        if self._server is None:
            sys.exit(0)
        self._server.should_exit = True

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End."""
        del sig, frame
        sys.exit(0)

    async def _beat(self) -> None:
        self.notify()


class _Uvicorn(uvicorn.Server):
    """A server whose signals are gunicorn's, and whose clients are shared out among workers.

    Parameters
    ----------
    config : Config
    balance : Balance
    worker : int
        Its place there.
    """

    def __init__(self, config: uvicorn.Config, balance: Balance, worker: int) -> None:
        super().__init__(config)
        self._balance = balance
        self._worker = worker
        self._acceptors: list[Acceptor] = []

    async def startup(self, sockets: Any = None) -> None:
        """Take clients in."""
        self.servers = []
        self._acceptors = [
            Acceptor(listener.sock, self._make_protocol, balance=self._balance, worker=self._worker)
            for listener in sockets
        ]
        self.started = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Take nobody in any more, and wait for what is in flight."""
        for acceptor in self._acceptors:
            acceptor.close()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Do what is to be done ten times a second."""
        self._balance.tell(self._worker, len(self.server_state.connections))
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def _make_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state={}
        )
        return protocol


def _give_place(arbiter: Arbiter, worker: Any) -> None:
    """Give a worker that is about to be forked a place among the others."""
    taken = {vars(other).get("place") for other in arbiter.WORKERS.values()}
    n_places = worker_count(worker.app.settings)
    worker.place = next((place for place in range(n_places) if place not in taken), 0)


def _forget(arbiter: Arbiter, worker: Worker) -> None:
    """Drop what a worker that has ended was in the middle of from the figures."""
    del arbiter
    forget_worker(int(worker.pid))


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


def scratch_place() -> str:
    """Return a place in memory for small files, such as heartbeats, which on disk block workers."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    return str(_SHARED_MEMORY) if usable else tempfile.gettempdir()
