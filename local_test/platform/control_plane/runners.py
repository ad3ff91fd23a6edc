"""Where containers run: in Docker, or as processes where there is none."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

STOP_S = 120
"""Between SIGTERM and SIGKILL."""


class Wanted(NamedTuple):
    """A container that is wanted.

    Attributes
    ----------
    name : str
        Of its own in all the world.
    image : str
    argument : str
        ``train`` or ``serve``.
    base : Path
        What it has as /opt/ml.
    environment : dict of str to str
    host : str
        How others of its network find it.
    network : str
        Empty for none of its own.
    """

    name: str
    image: str
    argument: str
    base: Path
    environment: dict[str, str]
    host: str = ""
    network: str = ""


class Running:
    """A container, or a process in its place.

    Parameters
    ----------
    process : Popen
        With its output in a pipe.
    tell : callable
        Is told each line.
    stop : callable
        Asks it to end: SIGTERM, and SIGKILL later.
    port : int
        Where it serves; 0 where it does not.
    """

    def __init__(
        self,
        process: subprocess.Popen[str],
        tell: Callable[[str], None],
        stop: Callable[[int], None],
        port: int = 0,
    ) -> None:
        self.port = port
        self._process, self._tell, self._stop = process, tell, stop
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; returns its exit code, or None when that lasts longer."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(5)
        return code

    def stop(self, within_s: int = STOP_S) -> None:
        """Ask it to end, and end it when it has not within some seconds."""
        if self.code is None:
            self._stop(within_s)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._tell(line.rstrip("\n"))


class Runner(Protocol):
    """Where containers run.

    Attributes
    ----------
    interface : str
        Of the network that hosts meet in.
    """

    interface: str

    def host_names(self, n: int) -> list[str]:
        """Return what the hosts of a job are called."""

    def inside(self, base: Path) -> str:
        """Return where a container has the directory that is its /opt/ml."""

    def new_network(self, name: str) -> str:
        """Make a network for the hosts of a job; returns its name."""

    def remove_network(self, name: str) -> None:
        """Remove it."""

    def start(self, wanted: Wanted, tell: Callable[[str], None]) -> Running:
        """Start a container."""


class DockerRunner:
    """Docker, by its command."""

    interface = "eth0"

    def host_names(self, n: int) -> list[str]:
        """Return algo-1 to algo-n."""
        return sorted(f"algo-{i + 1}" for i in range(n))

    def inside(self, base: Path) -> str:
        """Return /opt/ml."""
        del base
        return "/opt/ml"

    def new_network(self, name: str) -> str:
        """Make a bridge of its own."""
        _docker("network", "create", name)
        return name

    def remove_network(self, name: str) -> None:
        """Remove it, if it is there."""
        _docker("network", "rm", name, check=False)

    def start(self, wanted: Wanted, tell: Callable[[str], None]) -> Running:
        """Start a container; a server gets a port of this machine."""
        options = ["--rm", "--name", wanted.name, "--volume", f"{wanted.base.resolve()}:/opt/ml"]
        port = 0
        if wanted.network:
            options += ["--network", wanted.network, "--hostname", wanted.host]
            options += ["--network-alias", wanted.host]
        if wanted.argument == "serve":
            port = free_port()
            options += ["--publish", f"127.0.0.1:{port}:8080"]
        for name, value in wanted.environment.items():
            options += ["--env", f"{name}={value}"]
        command = ["docker", "run", *options, wanted.image, wanted.argument]

        def stop(within_s: int) -> None:
            _docker("stop", "--time", str(within_s), wanted.name, check=False)

        return Running(_popen(command, None), tell, stop, port)


class ProcessRunner:
    """Processes of the command ``onepass`` instead of containers: whatever image is asked for.

    Hosts are addresses of this machine, as they cannot have names of their own.
    """

    interface = ""

    def __init__(self, command: str = "onepass") -> None:
        path = shutil.which(command)
        if path is None:
            raise FileNotFoundError(f"there is no command {command}: install Onepass")
        self._command = path
        self._nets = itertools.count()

    def host_names(self, n: int) -> list[str]:
        """Return addresses that no other job has."""
        net = next(self._nets)
        of_process = 1 + os.getpid() % 250  # another platform of this machine has others
        return sorted(f"127.{of_process}.{net % 250}.{i + 1}" for i in range(n))

    def inside(self, base: Path) -> str:
        """Return the directory itself."""
        return str(base)

    def new_network(self, name: str) -> str:
        """Return nothing: processes share the machine's."""
        del name
        return ""

    def remove_network(self, name: str) -> None:
        """Do nothing."""

    def start(self, wanted: Wanted, tell: Callable[[str], None]) -> Running:
        """Start a process."""
        command = [self._command, wanted.argument, "--base", str(wanted.base)]
        port = 0
        if wanted.argument == "serve":
            port = free_port()
            command += ["--port", str(port)]
        process = _popen(command, os.environ | wanted.environment)

        def stop(within_s: int) -> None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                process.kill()

        return Running(process, tell, stop, port)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _popen(command: Sequence[str], environment: dict[str, str] | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,  # Ctrl-C is for the server: it ends its jobs itself
    )


def _docker(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")


def remove(directory: Path) -> None:
    """Remove a directory, whoever its files belong to."""
    with suppress(OSError):
        shutil.rmtree(directory)
