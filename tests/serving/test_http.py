"""Clients that break off, send too much, are slow or reuse their connection."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest

POST = b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
OFFER = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 2**20
ROW = b"3,4\n"
ANSWER = b"0.0,5.0"
PIECE = ROW * 16384  # 64 KiB


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_all(connection):
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def with_length(n_bytes, *more):
    return POST + b"".join(more) + b"Content-Length: %d\r\n\r\n" % n_bytes


def status(received):
    return int(received.split(b" ", 2)[1]) if received else None


@pytest.mark.parametrize("sent", [b"", b"3", b"3,4", b"3,4\n", b"3,4\n10,1\n"])
def test_a_client_that_closes_early_is_never_answered_200(server, sent):
    received = server.talk(with_length(100_000), sent)
    assert status(received) == 400
    assert f"the body broke off after {len(sent)} bytes".encode() in received


def test_a_client_that_is_reset_early_harms_nobody(server):
    connection = server.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.sendall(with_length(100_000) + b"3,4\n")
    connection.close()
    assert server.invoke(b"3,4").status == 200


def test_a_chunked_body_is_read_whole(server):
    received = server.talk(CHUNKED, chunk(b"3,"), chunk(b"4\n1"), chunk(b"0,1"), b"0\r\n\r\n")
    assert status(received) == 200
    assert received.endswith(b"\r\n\r\n0.0,5.0\n1.0,1.0")


@pytest.mark.parametrize(
    "sent",
    [
        [b""],
        [b"10\r\n3,4"],
        [chunk(b"3,4\n")],
        [chunk(b"3,4\n"), b"0\r\n"],
        [chunk(b"3,4\n"), b"5\r\n"],
        [b"zz\r\n3,4\r\n0\r\n\r\n"],
        [b"-4\r\n3,4\n\r\n0\r\n\r\n"],
        [b"4\r\n3,4\nXX0\r\n\r\n"],
    ],
)
def test_a_chunked_body_that_is_cut_off_or_broken_is_400(server, sent):
    assert status(server.talk(CHUNKED, *sent)) == 400


def test_a_chunked_body_of_just_the_limit_is_read(server):
    received = server.talk(CHUNKED, *[chunk(PIECE)] * 16, b"0\r\n\r\n")
    assert status(received) == 200
    assert received.endswith(b"\n".join([ANSWER] * 3))


def test_a_chunked_body_over_the_limit_is_413(server):
    received = server.talk(CHUNKED, *[chunk(PIECE)] * 16, chunk(b"3,4\n"), b"0\r\n\r\n")
    assert status(received) == 413
    assert f"larger than the {LIMIT} bytes accepted".encode() in received


def test_a_length_over_the_limit_is_413_before_the_body_is_sent(server):
    with server.connect() as connection:
        connection.sendall(with_length(LIMIT + 1))
        assert status(connection.recv(65536)) == 413


def test_a_length_of_just_the_limit_is_read(server):
    assert status(server.talk(with_length(LIMIT), ROW * (LIMIT // 4))) == 200


@pytest.mark.parametrize("content_type", ["text/csv", "image/png"])
@pytest.mark.parametrize("n_bytes", [LIMIT + 4, 2 * LIMIT])
def test_a_client_that_sends_all_before_it_reads_sees_why_it_is_refused(
    server, content_type, n_bytes
):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/invocations", ROW * (n_bytes // 4), {"Content-Type": content_type})
    response = connection.getresponse()
    response.read()
    assert response.status == (413 if content_type == "text/csv" else 415)
    connection.request("POST", "/invocations", b"3,4", {"Content-Type": "text/csv"})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_so_does_one_that_wants_the_connection_closed(server, version):
    head = with_length(2 * LIMIT, b"Connection: close\r\n").replace(b"HTTP/1.1", b"HTTP/" + version)
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(head)
            for _ in range(32):
                connection.sendall(PIECE)
            assert status(read_all(connection)) == 413


def test_a_client_that_goes_on_sending_is_cut_off(server):
    with server.connect() as connection:
        connection.sendall(with_length(2**30))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            connection.sendall(bytes(2**26))


def test_a_client_that_is_refused_and_falls_silent_is_let_go(server):
    with server.connect() as connection:
        connection.sendall(with_length(LIMIT + 1))
        received = read_all(connection)  # ends when the server closes
    assert status(received) == 413


def test_a_client_that_expects_100_is_told_to_go_on(server):
    with server.connect() as connection:
        connection.sendall(with_length(3, b"Expect: 100-continue\r\n"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"3,4")
        connection.shutdown(socket.SHUT_WR)
        received = read_all(connection)
    assert status(received) == 200
    assert received.endswith(ANSWER)


def test_a_client_that_expects_100_for_too_much_sees_413(server):
    received = server.talk(with_length(LIMIT + 1, b"Expect: 100-continue\r\n"))
    assert b"HTTP/1.1 413 " in received


def test_a_connection_is_used_again_after_answers_of_all_kinds(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    first_socket = connection.sock
    for body, wanted in [
        (b"3,4", 200),
        (b"wrong", 400),
        (b"", 400),
        (b"1,2,3", 400),
        (b"3,4", 200),
    ]:
        connection.request("POST", "/invocations", body, {"Content-Type": "text/csv"})
        response = connection.getresponse()
        response.read()
        assert response.status == wanted
    connection.request("GET", "/ping")
    assert connection.getresponse().status == 200
    assert connection.sock is first_socket
    connection.close()


def test_two_requests_sent_at_once_are_answered_in_order(server):
    received = server.talk(with_length(3) + b"3,4" + with_length(4) + b"10,1")
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.index(b"0.0,5.0") < received.index(b"1.0,1.0")


def test_http_1_0_is_answered_and_closed(server):
    head = b"POST /invocations HTTP/1.0\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
    received = server.talk(head + b"Content-Length: 3\r\n\r\n3,4", shut=False)
    assert status(received) == 200
    assert received.endswith(ANSWER)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_without_a_length_is_empty(server, version):
    head = b"POST /invocations HTTP/" + version + b"\r\nHost: h\r\nContent-Type: text/csv\r\n"
    assert status(server.talk(head + b"Connection: close\r\n\r\n")) == 400


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"POST /invocations\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n3,4",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3,4",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Bad Header: x\r\n\r\n",
        b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
        OFFER + b"Transfer-Encoding: gzip\r\n\r\n3,4",
    ],
)
def test_what_is_no_http_is_refused_without_a_traceback(server, head):
    received = server.talk(head)
    assert 400 <= status(received) <= 501
    assert b"Traceback" not in received


def test_a_path_that_is_none_does_not_harm_the_answer_before(server):
    received = server.talk(with_length(3) + b"3,4" + b"GET http://h HTTP/1.1\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"0.0,5.0" in received


@pytest.mark.parametrize("sent", [[b"zz\r\n"], [chunk(b"3,4"), b"zz\r\n"]])
@pytest.mark.parametrize("together", [True, False])
def test_a_broken_body_of_a_request_that_offers_another_protocol_is_400(server, sent, together):
    head = OFFER + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = [head + b"".join(sent)] if together else [head, *sent]
    assert status(server.talk(*pieces)) == 400


def test_slow_clients_do_not_keep_others_from_being_answered(server):
    slow = [server.connect() for _ in range(6)]
    for connection in slow:
        connection.sendall(with_length(7) + b"3,4")
    started = time.monotonic()
    assert server.request("GET", "/ping").status == 200
    assert server.invoke(b"3,4").status == 200
    assert time.monotonic() - started < 2
    for connection in slow:
        connection.sendall(b"\n10,")
        connection.shutdown(socket.SHUT_WR)
        assert status(connection.recv(65536)) == 400
        connection.close()


def test_clients_that_fall_silent_in_a_request_are_let_go(serve, base):
    with serve(base, ONEPASS_SILENCE_S="1") as server:
        silent = [server.connect() for _ in range(20)]
        for connection in silent:
            connection.sendall(with_length(7) + b"3,4")
        received = [connection.recv(65536) for connection in silent]
        for connection in silent:
            connection.close()
        assert [status(one) for one in received] == [408] * 20
        assert all(b"no more of the body came after 3 bytes" in one for one in received)
        with server.connect() as connection:
            connection.sendall(POST)
            assert b"the headers did not come in time" in read_all(connection)
        with server.connect() as connection:
            assert read_all(connection) == b""
        assert server.invoke(b"3,4").status == 200
        assert "Traceback" not in server.log


BIG_BODIES = {
    "text/csv": b"3,4\n" * 400_000,
    "application/json": b'{"instances": [' + b"[3,4]," * 150_000 + b"[3,4]]}",
}


@pytest.mark.parametrize("content_type", BIG_BODIES)
def test_ping_is_answered_within_two_seconds_while_large_requests_are_in_flight(
    serve, base, content_type
):
    with serve(base) as server:
        statuses = []
        clients = [
            threading.Thread(
                target=lambda: statuses.append(
                    server.invoke(BIG_BODIES[content_type], content_type).status
                )
            )
            for _ in range(4)
        ]
        for client in clients:
            client.start()
        slowest, n_pings = 0.0, 0
        while any(client.is_alive() for client in clients):
            started = time.monotonic()
            assert server.request("GET", "/ping").status == 200
            slowest = max(slowest, time.monotonic() - started)
            n_pings += 1
        assert statuses == [200] * 4
        assert n_pings > 1
        assert slowest < 2
