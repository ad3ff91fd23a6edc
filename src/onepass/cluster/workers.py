"""Work for several threads, each of which computes on one core."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_P = ParamSpec("_P")
_T = TypeVar("_T")
_R = TypeVar("_R")

_LONG_CALL = 150_000_000


def spread(n_workers: int, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Call `function` for each item, in threads.

    NumPy and SciPy let other threads run while they compute on arrays.

    Parameters
    ----------
    n_workers : int
        Calls at a time; with 1 there is no thread.
    function : callable
    items : iterable

    Returns
    -------
    list
        In the order of the items. An exception of a call is raised once all have ended.
    """
    items = list(items)
    if n_workers < 2 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(n_workers, len(items)), "onepass") as pool:
        return list(pool.map(function, items))


def worth_threads(n_workers: int, n_operations: int) -> int:
    """Return `n_workers` where single calls of NumPy are long enough for that, else 1.

    Between short calls threads wait for Python's lock, and two take longer than one.

    Parameters
    ----------
    n_workers : int
    n_operations : int
        Of the longest call.
    """
    return n_workers if n_operations >= _LONG_CALL else 1


class _BlasLimit:
    """Keeps linear algebra at one thread while anyone asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._limiter: Any = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._lock:
            if not self._n_inside:
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._n_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_inside -= 1
                if not self._n_inside:
                    self._limiter.restore_original_limits()


_blas_limit = _BlasLimit()


def one_blas_thread(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function that must not start the threads of the linear algebra library.

    Those spin while they wait: on products as small as ours, two of them cost twice the time of
    one. Our own threads take their place. The limit is the whole process's while the function runs.
    """

    @functools.wraps(function)
    def limited(*args: _P.args, **keywords: _P.kwargs) -> _R:
        with _blas_limit.hold():
            return function(*args, **keywords)

    return limited


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
