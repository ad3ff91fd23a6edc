"""Bodies of known length are read right into their place, whatever their client does."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import tracemalloc
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from onepass.serving import upload as uploads
from onepass.serving.straight import StraightReader
from onepass.serving.upload import Upload

POST = b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
MIB = 2**20


@pytest.fixture(scope="module")
def hurried(serve, base):
    """A server that has little patience."""
    with serve(base, ONEPASS_SILENCE_S="1", ONEPASS_BODY_S="3") as server:
        yield server
        assert "Traceback" not in server.log


def lines(n):
    """Rows whose answers tell them apart: the distance of each is its place from the end."""
    return b"".join(b"-%d,0\n" % i for i in range(n, 0, -1))


def wanted(n):
    return "\n".join(f"0.0,{float(i)}" for i in range(n, 0, -1)).encode()


def post(body, *more):
    return POST + b"".join(more) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def one_answer(reader):
    """Read an answer of a connection that stays: status and body."""
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return status, reader.read(int(headers.get(b"content-length", 0)))


@contextmanager
def connected(server):
    """Connect: what to send by, and what to read by."""
    with server.connect() as connection, connection.makefile("rb") as reader:
        yield connection, reader


@pytest.mark.parametrize("cuts", [[], [0], [1], [100_000], [-1], [0, 70_000, 70_001, -70_000, -3]])
def test_a_long_body_may_come_in_any_pieces_and_another_request_behind_it(server, cuts):
    body = lines(50_000)
    request = post(body)
    start = len(request) - len(body)
    ends = [start + cut if cut >= 0 else len(request) + cut for cut in cuts]
    stream = request + post(b"3,4") + post(lines(30_000))
    with connected(server) as (connection, reader):
        at = 0
        for end in [*ends, len(stream)]:
            connection.sendall(stream[at:end])
            at = end
            time.sleep(0.05)
        assert one_answer(reader) == (200, wanted(50_000))
        assert one_answer(reader) == (200, b"0.0,5.0")
        assert one_answer(reader) == (200, wanted(30_000))


def test_a_body_longer_than_its_first_room(serve, base):
    with serve(base, SAGEMAKER_MAX_PAYLOAD_IN_MB="40") as server:
        body = b"3,4\n" * (5 * MIB)
        answer = server.invoke(body + b"-7,0", accept="text/csv")
        assert answer.status == 200
        assert answer.body.count(b"\n") == 5 * MIB
        assert answer.body.endswith(b"0.0,5.0\n0.0,7.0")


def test_a_client_that_waits_to_be_told_to_go_on(server):
    body = lines(50_000)
    with connected(server) as (connection, reader):
        connection.sendall(post(body, b"Expect: 100-continue\r\n")[: -len(body)])
        assert one_answer(reader) == (100, b"")
        connection.sendall(body)
        assert one_answer(reader) == (200, wanted(50_000))


@pytest.mark.parametrize(
    "more",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ],
)
def test_an_upgrade_with_a_long_body_is_passed_over(server, more):
    with connected(server) as (connection, reader):
        connection.sendall(post(lines(50_000), more) + post(b"3,4"))
        assert one_answer(reader) == (200, wanted(50_000))
        assert b"200 OK" not in reader.read(), "the connection ends with it"


def test_an_upgrade_that_the_connection_does_not_name_is_none(server):
    with connected(server) as (connection, reader):
        connection.sendall(post(lines(50_000), b"Upgrade: h2c\r\n") + post(b"3,4"))
        assert one_answer(reader) == (200, wanted(50_000))
        assert one_answer(reader) == (200, b"0.0,5.0")


def test_two_lengths_are_refused(server):
    for more in (b"Transfer-Encoding: chunked\r\n", b"Content-Length: 7\r\n"):
        received = server.talk(post(lines(50_000), more))
        assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("n", [10, 150_000, 300_000])
def test_a_long_body_that_is_cut_short_is_400(server, n):
    body = lines(50_000)
    received = server.talk(post(body)[: n - len(body)])
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"broken_body" in received
    assert b"broke off after %d bytes: the client ended the connection" % n in received


def test_the_rest_of_a_body_that_came_too_late_is_passed_over(hurried):
    body = lines(50_000)
    with connected(hurried) as (connection, reader):
        connection.sendall(post(body)[:200_000])
        status, told = one_answer(reader)
        assert (status, b"body_timeout" in told) == (408, True)
        connection.sendall(post(body)[200_000:] + post(b"3,4"))
        assert one_answer(reader) == (200, b"0.0,5.0")


def test_a_client_that_resets_its_connection_amid_a_long_body(hurried):
    for _ in range(20):
        connection = hurried.connect()
        connection.sendall(post(lines(50_000))[:200_000])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert hurried.invoke(b"3,4", accept="text/csv").body == b"0.0,5.0"


class TestRoom:
    @staticmethod
    def filled(upload, body, step):
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            while piece:
                room = upload.room()
                n = min(len(room), len(piece))
                room[:n], piece = piece[:n], piece[n:]
                upload.fill(n)

    @pytest.mark.parametrize("n_first", [0, 5, 100_000])
    @pytest.mark.parametrize("step", [60_000, 10**6])
    def test_what_is_filled_is_what_is_given(self, n_first, step, monkeypatch):
        monkeypatch.setattr(uploads, "_ROOM_BYTES", 150_000)
        body = lines(50_000)
        upload = Upload(lambda: None)
        upload.take(lambda _: None, body[:n_first], is_whole=False, n_bytes=len(body))
        assert upload.n_to_come == len(body) - n_first
        self.filled(upload, body[n_first:], step)
        assert (upload.n_to_come, upload.n_bytes) == (0, len(body))
        assert upload.give() == body

    def test_there_is_no_room_where_little_is_to_come_or_it_is_unknown(self):
        for n_bytes in (0, 2**16 + 4):
            upload = Upload(lambda: None)
            upload.take(lambda _: None, b"12345", is_whole=False, n_bytes=n_bytes)
            assert upload.n_to_come == 0
            upload.put(b"678")
            assert upload.give() == b"12345678"

    def test_what_comes_after_the_answer_is_counted(self):
        """As much of it as the connection puts up with; then the connection goes on."""
        told = []
        connection = SimpleNamespace(
            cycle=SimpleNamespace(response_complete=True),
            on_drained=told.append,
            on_straight_body=lambda: told.append("end"),
        )
        upload = Upload(lambda: None)
        upload.take(lambda _: None, b"", is_whole=False, n_bytes=100_000)
        upload.drop()
        reader = StraightReader(connection, upload)
        while upload.n_to_come:
            reader.buffer_updated(len(reader.get_buffer(-1)))
        assert told == [2**16, 100_000 - 2**16, "end"]

    def test_what_comes_for_nobody_takes_no_memory(self):
        upload = Upload(lambda: None)
        upload.take(lambda _: None, b"", is_whole=False, n_bytes=100 * MIB)
        upload.room()
        upload.drop()
        tracemalloc.start()
        try:
            while upload.n_to_come:
                upload.fill(len(upload.room()))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MIB
        assert upload.n_bytes == 100 * MIB
        assert upload.give() == b""

    def test_the_end_wakes_who_waits(self):
        async def waited():
            upload = Upload(lambda: None)
            upload.take(lambda _: None, b"", is_whole=False, n_bytes=MIB)
            self.filled(upload, bytes(MIB), MIB)
            assert not await upload.wait(0.01)
            upload.end()
            return await upload.wait(0.01)

        assert asyncio.run(waited())
