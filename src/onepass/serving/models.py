"""The models a server has loaded, by name."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from onepass.artifact.model_file import load_model, model_bytes
from onepass.cluster.model import KMeansModel
from onepass.errors import AlgorithmError, OnepassError, PlatformError, UserError
from onepass.resources import give_back_memory, memory_limit_bytes, memory_used_bytes

_log = logging.getLogger(__name__)

THE_MODEL = "model"
"""What a server of one model calls it."""

PAGE_MODELS = 100
_LONGEST_NAME = 1024

_COPIES = 3
"""Of its centers that a model takes: itself, and what searches keep of it, up to twice as much."""

_RESTORE_S = 60.0
"""As long as that, nobody is answered: a process that is silent for twice that is ended."""


class ModelNotLoadedError(UserError):
    """A name under which no model is loaded."""


class ModelAlreadyLoadedError(UserError):
    """A name that a model has already."""


class ModelTooLargeError(PlatformError):
    """A model that there is no memory for."""


class LoadedModel(NamedTuple):
    """What is told of a model.

    Attributes
    ----------
    name : str
        Whatever the platform calls it: never a path.
    url : str
        Where it was read, as the platform gave it.
    n_clusters, n_features : int
    """

    name: str
    url: str
    n_clusters: int
    n_features: int


class Page(NamedTuple):
    """Some of the models.

    Attributes
    ----------
    models : list of LoadedModel
        In the order of their names.
    next_token : str or None
        What asks for those behind them; None when there are none.
    """

    models: list[LoadedModel]
    next_token: str | None


@dataclass
class _Entry:
    model: KMeansModel
    url: str
    n_users: int = 0


class ModelStore:
    """Models by name. Safe to use from many threads.

    Parameters
    ----------
    root : Path
        Under which all models must lie.
    limit_bytes : int, optional
        Of memory for all that the process does; by default what it may use at all.
    reserve_bytes : int
        Of it, what models leave to requests.
    journal : Path, optional
        A file in which is kept what is loaded, for `restore` in a process that takes the place of
        this one.
    """

    def __init__(
        self,
        root: Path,
        *,
        limit_bytes: int | None = None,
        reserve_bytes: int = 2**26,
        journal: Path | None = None,
    ) -> None:
        self._root = root
        self._journal = journal
        self._limit_bytes = memory_limit_bytes() if limit_bytes is None else limit_bytes
        self._reserve_bytes = reserve_bytes
        self._entries: dict[str, _Entry] = {}
        self._loading: dict[str, int] = {}  # and the memory it will take
        self._to_restore: dict[str, str] = {}
        self._changed = threading.Condition()

    def put(self, name: str, model: KMeansModel, url: str) -> None:
        """Enter a model that has been loaded, in the place of any of that name."""
        with self._changed:
            self._entries[name] = _Entry(model, url)
            self._keep_journal()

    def restore(self, patience_s: float = _RESTORE_S) -> None:
        """Load what another process had loaded, as far as that goes: what does not is logged.

        Parameters
        ----------
        patience_s : float
            After which no further model is begun.
        """
        if self._journal is None or not self._journal.exists():
            return
        deadline = time.monotonic() + patience_s
        # Those that have not been tried stay noted, in case this process is ended meanwhile.
        self._to_restore = orjson.loads(self._journal.read_bytes())
        while self._to_restore:
            name, url = self._to_restore.popitem()
            try:
                if time.monotonic() > deadline:
                    raise PlatformError("to load all that were there before takes too long")
                self.load(name, url)
            except OnepassError as error:
                _log.error("model %r is not there any more: %s", name, error)

    def load(self, name: str, url: str) -> LoadedModel:
        """Read a model, let it answer once, and enter it.

        Parameters
        ----------
        name : str
            Of 1 to 1,024 characters.
        url : str
            A path: ``model_algo-1``, ``model.tar.gz`` or a directory that holds either.

        Raises
        ------
        ModelAlreadyLoadedError
            Also while another thread is loading a model of that name.
        ModelTooLargeError
            When it would take more memory than is left, before anything of it is read.
        UserError
            When it lies elsewhere than under the root, or cannot be read.
        """
        _check_name(name)
        path = self._path(url)
        with self._room_for(name, _COPIES * model_bytes(path)):
            try:
                model = load_model(path)
                self_test(model)
            except MemoryError as error:
                raise ModelTooLargeError(f"there is no memory for model {name!r}") from error
            self.put(name, model, url)
        return _told(name, model, url)  # even if it has been unloaded since

    def unload(self, name: str) -> None:
        """Let go of a model; returns when the last who uses it is done, and its memory is free.

        Nobody can begin to use it as soon as this is called, and its name is free.
        """
        self._remove(name)
        give_back_memory()

    def describe(self, name: str) -> LoadedModel:
        """Tell of a model."""
        entry = self._entry(name)
        return _told(name, entry.model, entry.url)

    def page(self, token: str | None = None) -> Page:
        """Tell of a hundred models: the first, or those behind a token."""
        with self._changed:
            names = sorted(name for name in self._entries if token is None or name > token)
            told = [self.describe(name) for name in names[:PAGE_MODELS]]
        more = len(names) > PAGE_MODELS
        return Page(told, told[-1].name if more else None)

    @contextmanager
    def use(self, name: str) -> Iterator[KMeansModel]:
        """Hold a model while a request is answered."""
        with self._changed:
            entry = self._entry(name)
            entry.n_users += 1
        try:
            yield entry.model
        finally:
            with self._changed:
                entry.n_users -= 1
                self._changed.notify_all()

    def _remove(self, name: str) -> None:
        with self._changed:
            entry = self._entry(name)
            del self._entries[name]
            self._keep_journal()
            self._changed.wait_for(lambda: entry.n_users == 0)

    def _keep_journal(self) -> None:
        if self._journal is None:
            return
        urls = {name: entry.url for name, entry in self._entries.items()}
        told = orjson.dumps(self._to_restore | urls)
        new = self._journal.with_suffix(".new")
        try:
            new.write_bytes(told)
            new.replace(self._journal)
        except OSError as error:  # the models are there even so
            _log.error("cannot note for another process which models are loaded: %s", error)

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise ModelNotLoadedError(f"Model not found: {name[:_LONGEST_NAME]}")
        return entry

    def _path(self, url: str) -> Path:
        """Return where a model lies; one outside the root is not looked for."""
        if url.isprintable() and url.startswith("/"):
            with suppress(OSError, RuntimeError):  # links that lead nowhere
                path = Path(url).resolve()
                if path.is_relative_to(self._root.resolve()) and not _is_loop(path):
                    return path
        raise UserError(f"url {url[:_LONGEST_NAME]!r} must be a path under {self._root}")

    @contextmanager
    def _room_for(self, name: str, n_bytes: int) -> Iterator[None]:
        """Keep a name and memory for a model that is being loaded."""
        with self._changed:
            if name in self._entries or name in self._loading:
                raise ModelAlreadyLoadedError(f"Model {name} is already registered.")
            left = self._left_bytes()
            if n_bytes > left:
                give_back_memory()  # what answers have left behind
                left = self._left_bytes()
            if n_bytes > left:
                raise ModelTooLargeError(
                    f"model {name!r} takes {n_bytes} bytes of memory, {max(0, left)} are left: "
                    "unload others first"
                )
            self._loading[name] = n_bytes
        try:
            yield
        finally:
            with self._changed:
                del self._loading[name]

    def _left_bytes(self) -> int:
        kept = self._reserve_bytes + sum(self._loading.values())
        return self._limit_bytes - memory_used_bytes() - kept


def _told(name: str, model: KMeansModel, url: str) -> LoadedModel:
    return LoadedModel(name, url, model.n_clusters, model.n_features)


def self_test(model: KMeansModel) -> None:
    """Let a model answer once, so that the first client does not wait for anything to load.

    Raises
    ------
    AlgorithmError
        When a center is not its own closest center.
    """
    if model.assign(model.centers[:1]).distances[0] != 0:
        raise AlgorithmError("the model does not find its own centers")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise UserError(
            f"model_name {name[:_LONGEST_NAME]!r} must have 1 to {_LONGEST_NAME} characters that "
            "can be printed"
        )


def _is_loop(path: Path) -> bool:
    """Tell links that lead to themselves, which `resolve` leaves be from Python 3.13 on."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
