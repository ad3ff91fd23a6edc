"""A client that is not in the way: ready-made requests over connections that are kept.

    python tests/benchmarks/serving_client.py PORT REQUEST_FILE CONNECTIONS SECONDS

Prints JSON: requests answered, seconds, the median and the 99th percentile of the latency in
milliseconds, and the statuses that came.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path


def read_answer(connection: socket.socket, left: bytes) -> tuple[int, bytes]:
    """Read one answer; return its status and what came behind it."""
    while b"\r\n\r\n" not in left:
        left += _more(connection)
    head, _, left = left.partition(b"\r\n\r\n")
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at < 0:
        raise ValueError(f"an answer without a length: {head!r}")
    n_bytes = int(lower[at + 15 :].split(b"\r\n", 1)[0])
    n_there = len(left)
    pieces = [left]
    while n_there < n_bytes:
        pieces.append(_more(connection))
        n_there += len(pieces[-1])
    return int(head.split(b" ", 2)[1]), b"".join(pieces)[n_bytes:]


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(2**20)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def main() -> None:
    port, n_connections, seconds = int(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4])
    request = Path(sys.argv[2]).read_bytes()
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    start = threading.Barrier(n_connections + 1)
    ends: list[float] = []

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request)
            status, left = read_answer(connection, b"")
            start.wait()
            deadline = time.perf_counter() + seconds
            while True:
                asked = time.perf_counter()
                if asked >= deadline:
                    break
                connection.sendall(request)
                status, left = read_answer(connection, left)
                latencies.append(time.perf_counter() - asked)
                statuses[status] += 1
            ends.append(time.perf_counter())

    threads = [threading.Thread(target=ask) for _ in range(n_connections)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    latencies.sort()
    told = {
        "n": len(latencies),
        "seconds": max(ends) - began,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
        "statuses": dict(statuses),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
