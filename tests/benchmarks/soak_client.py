"""A client of the soak: it asks in all manners, and checks what it is answered."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from load_client import CLOSE, HEAD_END, LENGTH
from soak_requests import CHUNKED, Answer, Case, Kind, Requests

PATIENCE_S = 120
PIECE_BYTES = 2**16
DRIPS, DRIP_S = 8, 0.05
RESET = struct.pack("ii", 1, 0)
CONTINUE = re.compile(rb"HTTP/1.1 100 [^\r]*\r\n\r\n")
MANNERS = {"kept": 70, "new": 20, "in chunks": 5, "asking first": 3, "slow": 1, "vanishing": 1}
VANISHING = ("at once", "in the headers", "in the body", "before the answer", "in the answer")
ASK = b"100"
"""In the place of a piece: wait until the server asks for what follows."""


class BrokenError(OSError):
    """A connection that ended before an answer did."""


@dataclass
class Report:
    """What a client saw.

    Attributes
    ----------
    statuses : Counter
        Answers by status.
    manners : Counter
        Requests by the manner they were sent in.
    latencies_s : dict
        Of good requests that were sent at once, by size.
    n_let_go : int
        Kept connections that the server ended without having said that it would.
    wrong, failed : list of str
        Answers that were not right; requests that were answered with 5xx, or not at all.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    manners: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    n_let_go: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take in what another client saw."""
        self.statuses += other.statuses
        self.manners += other.manners
        self.kinds += other.kinds
        for size, seconds in other.latencies_s.items():
            self.latencies_s[size] += seconds
        self.n_let_go += other.n_let_go
        self.wrong += other.wrong
        self.failed += other.failed


class Client:
    """Asks one request after another."""

    def __init__(self, port: int, requests: Requests, seed: int) -> None:
        self._port, self._draw = port, random.Random(seed)
        requests.reseed(seed)
        self._kinds = requests.kinds()
        self._shares = [kind.share for kind in self._kinds]
        self._kept: socket.socket | None = None
        self.report = Report()

    def run(self, seconds: float) -> Report:
        """Ask for so long, and everything once at least."""
        end = time.monotonic() + seconds
        for kind in self._draw.sample(self._kinds, len(self._kinds)):
            self._ask(kind)
        for manner in (*MANNERS, *VANISHING):
            self._ask(self._kinds[0], manner)
        while time.monotonic() < end:
            (kind,) = self._draw.choices(self._kinds, self._shares)
            self._ask(kind)
        self._drop()
        return self.report

    def _ask(self, kind: Kind, manner: str = "") -> None:
        case = kind.make(self._draw)
        if case.raw or case.unsent:
            manner = "new"
        if not manner:
            (manner,) = self._draw.choices([*MANNERS], MANNERS.values())
        if manner == "vanishing":
            manner = self._draw.choice(VANISHING)
        self.report.kinds[kind.title] += 1
        self.report.manners[manner] += 1
        try:
            if manner in VANISHING:
                self._vanish(case, manner)
            else:
                self._judge(case, manner, *self._answer(case, manner))
        except OSError as error:
            self._drop()
            self.report.failed.append(f"{case.kind}, {manner}: {error!r}")

    def _judge(self, case: Case, manner: str, answer: Answer, took_s: float) -> None:
        self.report.statuses[answer.status] += 1
        where = f"{case.kind}, {manner}: {answer.status}"
        if answer.status >= 500:
            self.report.failed.append(f"{where} {answer.body[:200]!r}")
            return
        if answer.status != case.status:
            complaint = f"{case.status} was due; {answer.body[:200]!r}"
        else:
            complaint = case.check(answer.body)
        if complaint:
            self.report.wrong.append(f"{where}: {complaint}")
        if case.size and manner in ("kept", "new"):
            self.report.latencies_s[case.size].append(took_s)

    def _answer(self, case: Case, manner: str) -> tuple[Answer, float]:
        """Ask, and wait for the answer; returns how long that took, too."""
        connection = self._connect() if manner == "new" else self._keep()
        begun = time.perf_counter()
        with contextlib.ExitStack() as stack:
            if manner == "new":
                stack.enter_context(connection)
            whole = _send(connection, _pieces(case, manner))
            answer = _read(connection, DRIP_S if manner == "slow" else 0)
        if manner != "new" and (CLOSE.search(answer.head) or not whole):
            self._drop()
        return answer, time.perf_counter() - begun

    def _vanish(self, case: Case, manner: str) -> None:
        """Go away, by a reset or in peace, when so much has been sent."""
        message = b"".join(piece for piece, _ in _pieces(case, "new"))
        head = message.index(HEAD_END) + len(HEAD_END)
        n = {"at once": 0, "in the headers": head // 2, "in the body": (head + len(message)) // 2}
        with self._connect() as connection:
            if self._draw.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with contextlib.suppress(OSError):
                connection.sendall(message[: n.get(manner, len(message))])
                if manner == "in the answer":
                    connection.recv(10)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _keep(self) -> socket.socket:
        """Return the connection that is kept, made anew where the server let go of it."""
        if self._kept is not None:
            with contextlib.suppress(BlockingIOError):
                self._kept.setblocking(False)
                with contextlib.suppress(ConnectionResetError):
                    self._kept.recv(1)  # all that can come is the end
                self.report.n_let_go += 1
                self._drop()
        if self._kept is None:
            self._kept = self._connect()
        self._kept.settimeout(PATIENCE_S)
        return self._kept

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _send(connection: socket.socket, pieces: Iterator[tuple[bytes, float]]) -> bool:
    """Send a request; returns whether all of it was, which it is not when a server refuses it."""
    for piece, pause_s in pieces:
        if piece is ASK:
            if not _is_asked(connection):
                return False
            continue
        connection.sendall(piece)
        time.sleep(pause_s)
    return True


def _pieces(case: Case, manner: str) -> Iterator[tuple[bytes, float]]:
    """Yield the bytes of a request as they are sent, and the pauses after them."""
    if case.raw:
        yield case.raw, 0
        return
    lines = [f"{case.start} HTTP/1.1", "Host: localhost", *case.headers]
    lines += ["Connection: close"] * (manner == "new")
    chunked = case.body is not None and (CHUNKED in lines or manner == "in chunks")
    if chunked:
        lines += [CHUNKED] * (CHUNKED not in lines)
    elif case.body is not None:
        lines += [f"Content-Length: {len(case.body)}"]
    lines += ["Expect: 100-continue"] * (manner == "asking first" and bool(case.body))
    head, body = "\r\n".join((*lines, "", "")).encode(), case.body or b""
    body = b"".join(_chunks(body)) if chunked else body[: 0 if case.unsent else None]
    if manner == "asking first" and body:
        yield from ((head, 0), (ASK, 0), (body, 0))
        return
    step = -(-len(head + body) // DRIPS) if manner == "slow" else len(head + body)
    for start in range(0, len(head + body), step):
        yield (head + body)[start : start + step], DRIP_S if manner == "slow" else 0


def _chunks(body: bytes) -> Iterator[bytes]:
    step = max(1, min(PIECE_BYTES, len(body) // 3))
    for start in range(0, len(body), step):
        piece = body[start : start + step]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _is_asked(connection: socket.socket) -> bool:
    """Wait until a server asks for the body; one that refuses answers instead."""
    if connection.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL)[9:12] != b"100":
        return False
    received = b""
    while not CONTINUE.fullmatch(received):
        received += _more(connection, 1, received)
    return True


def _read(connection: socket.socket, pause_s: float) -> Answer:
    """Read one answer, whose length must be declared."""
    received = bytearray()
    while HEAD_END not in received:
        received += _more(connection, PIECE_BYTES, received)
    head, _, start = received.partition(HEAD_END)
    declared = LENGTH.search(head)
    if not declared:
        raise BrokenError(f"no Content-Length in {bytes(head)!r}")
    body, pauses = bytearray(start), [pause_s] * DRIPS
    while len(body) < int(declared[1]):
        time.sleep(pauses.pop() if pauses else 0)
        body += _more(connection, PIECE_BYTES, body)
    if len(body) > int(declared[1]):
        raise BrokenError(f"more than the {int(declared[1])} bytes declared")
    return Answer(int(head[9:12]), bytes(head), bytes(body))


def _more(connection: socket.socket, n_bytes: int, received: bytes | bytearray) -> bytes:
    piece = connection.recv(n_bytes)
    if not piece:
        raise BrokenError(f"the connection ended after {bytes(received[:200])!r}")
    return piece
