"""Bytes of a named pipe, as they come."""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import time
from pathlib import Path

from onepass.data.ahead import Stop
from onepass.data.byte_stream import ForwardStream
from onepass.data.failures import cannot_read
from onepass.errors import PlatformError

_log = logging.getLogger(__name__)

_PIPE_BYTES = 2**20
_POLL_S, _REMIND_S = 0.05, 30.0
PATIENCE_S = 3600.0
"""How long a pipe is waited for."""


class PipeStream(ForwardStream):
    """A named pipe, which may appear late, read until its writer has closed it.

    Parameters
    ----------
    path : Path
    stop : Stop
        Ends every wait.
    patience_s : float, optional
        How long it is waited for; an hour by default.

    Attributes
    ----------
    n_read : int
        Bytes.

    Raises
    ------
    PlatformError
        When it does not appear, or cannot be read.
    """

    def __init__(self, path: Path, stop: Stop, patience_s: float | None = None) -> None:
        super().__init__()
        self._path = path
        self._stop = stop
        self._is_written = False
        _wait_for(path, stop, PATIENCE_S if patience_s is None else patience_s)
        try:
            # Opened like that at once; otherwise only when there is a writer, which may not come.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._file = io.FileIO(descriptor)
        except OSError as error:
            raise cannot_read(path, error) from error
        with contextlib.suppress(OSError):  # as large as is allowed: fewer calls
            fcntl.fcntl(self._file, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def close(self) -> None:
        """Close the pipe; its writer is told by a signal if it goes on."""
        self._file.close()

    def _read(self, buffer: memoryview) -> int:
        if not self._is_written:  # before there is a writer, a read says that it has gone
            self._stop.wait(self._file.fileno())
            self._is_written = True
        try:
            while (n := self._file.readinto(buffer)) is None:  # nothing is there yet
                self._stop.wait(self._file.fileno())
        except OSError as error:
            raise cannot_read(self._path, error, self.n_read) from error
        self.n_read += n
        return n


def _wait_for(path: Path, stop: Stop, patience_s: float) -> None:
    """Wait until a pipe has been made: the platform makes that of an epoch when it begins."""
    started = reminded = time.monotonic()
    while not path.exists():
        now = time.monotonic()
        if now - started > patience_s:
            raise PlatformError(
                f"the pipe {path} has not appeared within {patience_s:.0f} s; whoever feeds the "
                "job makes it, one for each pass"
            )
        if now - reminded > _REMIND_S:
            reminded = now
            _log.info("waiting for the pipe %s to appear", path)
        stop.wait(timeout_s=_POLL_S)
