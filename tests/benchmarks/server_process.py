"""Servers in process groups of their own, and what a group takes of processors and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from memory import own_bytes

READY_S, STOP_S = 120, 40
POLL_S, SETTLE_S = 0.002, 0.5
IDLE_SHARE = 0.05
"""Of a processor, that a server takes when nobody asks it anything."""

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes
    ----------
    process : Popen
        The first of its group, of which it has the number.
    log : Path
        What all of them print.
    ready_s : float
        From the call that started it to its first ping that was answered with 200.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    ready_s: float

    def pids(self) -> list[int]:
        """Return the numbers of all processes of the group, in order."""
        numbers = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        fields = ((pid, _stat(pid)) for pid in numbers)
        return sorted(pid for pid, stat in fields if stat and int(stat[2]) == self.process.pid)

    def cpu_seconds(self) -> float:
        """Return seconds of processors: of the group's processes and those they waited for."""
        stats = filter(None, map(_stat, self.pids()))
        return sum(sum(map(int, stat[11:15])) for stat in stats) / TICKS_A_SECOND

    def pss_bytes(self) -> int:
        """Return resident memory; what several processes share is counted once."""
        return sum(map(own_bytes, self.pids()))

    def rss_bytes(self) -> int:
        """Return resident memory; what several processes share is counted for each of them."""
        pages = (_read(pid, "statm").split()[1:2] for pid in self.pids())
        return sum(int(n) for found in pages for n in found) * os.sysconf("SC_PAGE_SIZE")

    def n_descriptors(self) -> int:
        """Return how many files and sockets the group has open."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return total

    def settle(self) -> None:
        """Wait until no process is busy: some servers answer before all of their workers do."""
        deadline, before = time.monotonic() + READY_S, -1.0
        while self.cpu_seconds() - before > IDLE_SHARE * SETTLE_S and time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(SETTLE_S)

    def stop(self) -> tuple[int, float]:
        """Tell it to stop; returns its exit code, and how long it took."""
        begun = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S), time.perf_counter() - begun


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    port: int,
    *,
    log: Path,
    ping: str = "/ping",
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server beside its log, and wait until it answers; all its group is ended after."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAGEMAKER_")}
    environment = {**clean, **ONE_THREAD, **(variables or {})}
    with log.open("wb") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(  # MLServer writes files to where it is started
            command,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        _wait_for(process, port, ping, log)
        yield Server(process, port, log, time.perf_counter() - begun)
    finally:
        _end(process)


def onepass(base: Path, port: int) -> list[str | Path]:
    """Return the command that serves the model under a directory."""
    command = [sys.executable, "-m", "onepass.cli.main", "serve", "--base", base]
    return [*command, "--port", str(port)]


def busy_seconds() -> float:
    """Return seconds in which this machine's processors were busy, for whomever."""
    user, nice, system, _, _, *rest = map(int, _read("", "stat").splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS_A_SECOND


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens at."""
    with contextlib.ExitStack() as open_sockets:
        listeners = [open_sockets.enter_context(socket.socket()) for _ in range(n)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def _wait_for(process: subprocess.Popen[bytes], port: int, ping: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not _answers(port, ping):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{process.args!r} does not answer:\n{log.read_text()[-3000:]}")
        time.sleep(POLL_S)


def _answers(port: int, ping: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
        connection.request("GET", ping)
        return connection.getresponse().status == 200
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, as proc(5) has them from the third."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int | str, name: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""
