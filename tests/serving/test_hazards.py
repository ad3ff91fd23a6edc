"""What clients and platforms do to servers; `/ping` is answered in two seconds meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import re
import select
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel
from onepass.formats.record_writer import write_rows
from onepass.serving.gunicorn import worker_count
from onepass.serving.invocation import form_of
from onepass.serving.pace import Pace, pace_of
from onepass.serving.settings import ServingSettings

POST = b"POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
MIB = 2**20


def read_all(connection):
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def with_length(n_bytes, *more):
    return POST + b"".join(more) + b"Content-Length: %d\r\n\r\n" % n_bytes


def status(received):
    return int(received.split(b" ", 2)[1]) if received else None


@contextmanager
def pinged(server):
    """Ask whether the server is there all the while: each answer must come in two seconds."""
    stop, slowest = threading.Event(), [0.0]

    def ping():
        asked = False
        while not (asked and stop.wait(0.02)):
            asked, started = True, time.monotonic()
            try:
                good = server.request("GET", "/ping").status == 200
            except OSError:
                good = False
            slowest[0] = max(slowest[0], time.monotonic() - started) if good else float("inf")

    pinger = threading.Thread(target=ping)
    pinger.start()
    try:
        yield
    finally:
        stop.set()
        pinger.join()
    assert slowest[0] < 2, "a ping was answered late, or not at all"


@pytest.fixture(scope="module")
def hurried(serve, base):
    """A server that has little patience."""
    with serve(base, ONEPASS_SILENCE_S="2", ONEPASS_BODY_S="3") as server:
        yield server
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def patient(serve, base):
    with serve(base) as server:
        yield server
        assert "Traceback" not in server.log


@pytest.fixture
def many():
    """Open many connections to a server."""
    with ExitStack() as stack:
        yield lambda server, n: [stack.enter_context(server.connect()) for _ in range(n)]


class TestSlowClients:
    def test_silent_sockets_hold_nobody_up_and_are_let_go(self, hurried, many):
        silent = many(hurried, 300)
        with pinged(hurried):
            assert hurried.invoke(b"3,4").status == 200
            assert [read_all(connection) for connection in silent] == [b""] * 300

    def test_dripping_headers_hold_nobody_up_and_are_let_go(self, hurried, many):
        slow = many(hurried, 100)
        with pinged(hurried):
            drip(slow, POST * 10)
            assert {status(read_all(connection)) for connection in slow} == {408}

    def test_dripping_bodies_hold_nobody_up_and_are_let_go(self, hurried, many):
        slow = many(hurried, 100)
        for connection in slow:
            connection.sendall(with_length(10_000))
        with pinged(hurried):
            drip(slow, b"3,4\n" * 100)
            assert {status(read_all(connection)) for connection in slow} == {408}

    def test_a_client_that_does_not_read_its_answer_is_let_go(self, hurried):
        body = b"3,4\n" * 2_000_000
        with hurried.connect() as connection, pinged(hurried):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(with_length(len(body)) + body)
            hurried.wait_for_log('"rows":2000000')
            # The worker lets go of the rest of the answer: no more than what was on its way comes.
            ended = threading.Event()
            threading.Thread(target=lambda: (wait_for_end(connection), ended.set())).start()
            assert ended.wait(30)
        assert hurried.invoke(b"3,4").status == 200

    def test_a_slow_reader_gets_the_whole_answer(self, patient):
        body = b"3,4\n" * 300_000
        with patient.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.sendall(with_length(len(body), b"Connection: close\r\n") + body)
            received = b""
            while piece := connection.recv(40_000):
                received += piece
        assert received.partition(b"\r\n\r\n")[2] == b"\n".join([b"0.0,5.0"] * 300_000)


def drip(connections, data):
    """Send byte after byte on all connections, until each is closed or all is sent."""
    open_ = list(connections)
    for i in range(len(data)):
        if not open_:
            return
        time.sleep(0.05)  # what is tested is that time passes
        for connection in list(open_):
            try:
                connection.sendall(data[i : i + 1])
                connection.setblocking(False)
                try:
                    ended = connection.recv(1, socket.MSG_PEEK) is not None
                except BlockingIOError:
                    ended = False
                connection.setblocking(True)
            except OSError:
                ended = True
            if ended:
                open_.remove(connection)


def wait_for_end(connection):
    """Read, but only once the server has closed or reset the connection."""
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP | select.POLLERR | select.POLLHUP)
    poller.poll(30_000)


class TestHeaders:
    @pytest.mark.parametrize("n_bytes", [70_000, 1_000_000])
    def test_huge_headers_are_431(self, patient, n_bytes):
        received = patient.talk(POST + b"X-Huge: " + b"x" * n_bytes + b"\r\n\r\n")
        assert status(received) == 431

    def test_many_headers_are_431(self, patient):
        received = patient.talk(
            POST + b"".join(b"X-%d: y\r\n" % i for i in range(10_000)) + b"\r\n"
        )
        assert status(received) == 431

    def test_headers_without_an_end_are_cut_off(self, patient):
        with patient.connect() as connection:
            connection.sendall(POST)
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                connection.sendall((b"X: " + b"y" * 65536 + b"\r\n") * 1000)

    def test_a_huge_path_is_refused(self, patient):
        received = patient.talk(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        assert status(received) == 431

    @pytest.mark.parametrize(
        "more",
        [
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ],
    )
    def test_an_upgrade_is_passed_over(self, patient, more):
        received = patient.talk(with_length(3, more) + b"3,4")
        assert status(received) == 200
        assert received.endswith(b"0.0,5.0")

    @pytest.mark.parametrize("accept", [";;;;", "a/b;q=;", ",".join(["a/b"] * 3000), "*/*;q=2"])
    def test_an_accept_of_any_kind_is_answered_or_406(self, patient, accept):
        assert patient.invoke(b"3,4", accept=accept).status in (200, 406)

    def test_head_has_no_body(self, patient):
        received = patient.talk(b"HEAD /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert status(received) == 200
        assert received.endswith(b"\r\n\r\n")


class TestBodies:
    def test_a_body_that_is_cut_short_is_400_in_every_form(self, patient):
        for content_type, body in (
            (b"text/csv", b"3,4\n10,1"),
            (b"application/jsonlines", b"[3,4]\n[10,1]"),
            (b"application/x-recordio-protobuf", write_rows([[3.0, 4.0]] * 2)),
        ):
            head = POST.replace(b"text/csv\r\nAccept", content_type + b"\r\nAccept")
            received = patient.talk(head + b"Content-Length: 999\r\n\r\n" + body)
            assert status(received) == 400
            assert b"broken_body" in received

    def test_chunks_beyond_the_limit_are_413(self, server):
        chunk = b"10000\r\n" + b"3,4\n" * 16384 + b"\r\n"
        received = server.talk(POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20)
        assert status(received) == 413

    def test_many_small_chunks_are_read(self, patient):
        chunks = b"".join(b"4\r\n3,4\n\r\n" for _ in range(65_536))
        received = patient.talk(
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        )
        assert status(received) == 200
        assert received.count(b"0.0,5.0") == 65_536

    def test_a_broken_chunk_does_not_harm_the_answer_before(self, patient):
        broken = POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        received = patient.talk(with_length(3) + b"3,4" + broken)
        first, second = received.split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200 ")
        assert first.endswith(b"0.0,5.0")
        assert second.startswith(b"400 ")

    def test_what_is_no_request_does_not_harm_the_answer_before(self, patient):
        received = patient.talk(with_length(3) + b"3,4" + b"nonsense\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"0.0,5.0" in received

    def test_a_hundred_requests_at_once_are_answered_in_order(self, patient):
        requests = b"".join(with_length(len(b"%d,0" % i)) + b"%d,0" % i for i in range(-50, 50))
        received = patient.talk(requests)
        distances = [float(d) for d in re.findall(rb"\.0,([\d.]+)", received)]
        assert distances == [min(abs(i), abs(i - 10)) for i in range(-50, 50)]

    @pytest.mark.parametrize("n_mib", [25, 100])
    def test_a_large_body_is_answered(self, patient, n_mib):
        n = n_mib * MIB // 4
        with pinged(patient):
            answer = patient.invoke(b"3,4\n" * n, accept="application/x-npy")
        assert answer.status == 200
        assert len(answer.body) == 128 + 8 * n

    def test_deep_json_is_400(self, patient):
        for body in (b"[" * 10**6, b'{"instances":' * 10**5, b'{"instances":[' + b"[" * 10**5):
            answer = patient.invoke(body, "application/json")
            assert answer.status == 400

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1e39"])
    def test_what_is_no_finite_number_is_400(self, patient, number):
        for content_type, body in (
            ("application/json", f'{{"instances":[[{number},1]]}}'),
            ("application/jsonlines", f"[{number},1]"),
            ("text/csv", f"{number},1"),
        ):
            assert patient.invoke(body, content_type).status == 400

    def test_a_gzip_bomb_is_413_and_takes_no_memory(self, serve, base):
        bomb = gzip.compress((b"3,4" + b" " * 1020 + b"\n") * (200 * 1024))
        with serve(base) as server:
            server.invoke(gzip.compress(b"3,4"), Content_Encoding="gzip")
            answer = server.invoke(bomb, Content_Encoding="gzip")
            assert answer.status == 413
            assert "larger than the 104857600 bytes accepted" in answer.error["message"]
            assert max(map(peak_mib, server.workers())) < 350

    @pytest.mark.parametrize("cut", [1, 10, 15])
    def test_gzip_that_is_cut_short_is_400(self, patient, cut):
        body = gzip.compress(b"3,4\n10,1")[:-cut]
        answer = patient.invoke(body, Content_Encoding="gzip")
        assert (answer.status, answer.error["code"]) == (400, "bad_payload")

    def test_gzip_that_is_none_is_400(self, patient):
        assert patient.invoke(b"3,4", Content_Encoding="gzip").status == 400

    def test_sparse_records_that_unfold_far_take_no_memory(self, serve, tmp_path):
        n = 2**18
        save_model(KMeansModel(np.zeros((1, n), np.float32)), tmp_path / "model")
        body = write_rows(np.eye(2, n, dtype=np.float32), sparse=True) * 200  # 400 MiB of zeros
        with serve(tmp_path) as server:
            answer = server.invoke(body, "application/x-recordio-protobuf", "text/csv")
            assert answer.body == b"\n".join([b"0.0,1.0"] * 400)
            assert max(map(peak_mib, server.workers())) < 200

    def test_an_answer_much_larger_than_its_request_is_413(self, serve, tmp_path):
        save_model(KMeansModel(np.arange(1000, dtype=np.float32)[:, None]), tmp_path / "model")
        with serve(tmp_path, SAGEMAKER_MAX_PAYLOAD_IN_MB="1") as server:
            answer = server.invoke(b"1\n" * 10_000, accept="text/csv;verbose=true")
            assert (answer.status, answer.error["code"]) == (413, "answer_too_large")


def n_sockets(pid):
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has been closed since
            links.append(link.readlink())
    return sum(str(link).startswith("socket:") for link in links)


def peak_mib(pid):
    told = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", told)[1]) / 1024


class TestLoad:
    def test_more_requests_than_are_accepted_are_503_and_told_when_to_come_back(self, serve, base):
        n_workers = 2
        with serve(base, ONEPASS_MAX_REQUESTS="2") as server, ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(8)]
            for connection in held:
                connection.sendall(with_length(3) + b"3,")
                time.sleep(0.05)  # each reaches whichever worker is awake
            with pinged(server):
                refused = [status(peek(connection)) for connection in held]
                assert refused.count(503) >= 8 - max(2, n_workers)
                [one] = [c for c, got in zip(held, refused, strict=True) if got == 503][:1]
                answer = one.recv(65536)
                assert b"retry-after: 1\r\n" in answer
                assert b'"code":"busy"' in answer
            for connection, got in zip(held, refused, strict=True):
                if got is None:
                    connection.sendall(b"4")
                    assert status(connection.recv(65536)) == 200
            assert server.invoke(b"3,4").status == 200

    def test_more_bytes_than_are_accepted_are_503(self, serve, base):
        with serve(base, ONEPASS_MAX_MB_IN_FLIGHT="2") as server, ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(6)]
            for connection in held:
                connection.sendall(with_length(MIB * 3 // 4) + b"3,4\n")
                time.sleep(0.05)
            refused = [status(peek(connection)) for connection in held]
            assert refused.count(503) >= 3
            assert refused.count(None) >= 1

    def test_one_body_may_be_larger_than_all_that_are_accepted_at_once(self, serve, base):
        with serve(base, ONEPASS_MAX_MB_IN_FLIGHT="1") as server:
            assert server.invoke(b"3,4\n" * MIB).status == 200

    def test_clients_that_stay_are_shared_out_among_workers(self, serve, base, many):
        n_workers = worker_count(ServingSettings())
        with serve(base) as server:
            server.wait_until_answers(lambda: len(server.workers()) == n_workers)
            before = [n_sockets(worker) for worker in server.workers()]
            for connection in many(server, 20 * n_workers):
                connection.sendall(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
                assert status(connection.recv(65536)) == 200
            after = [n_sockets(worker) for worker in server.workers()]
            shares = [there - had for there, had in zip(after, before, strict=True)]
            assert min(shares) >= 15

    def test_many_connections_are_served(self, patient, many):
        connections = many(patient, 400)
        with pinged(patient):
            for connection in connections:
                connection.sendall(with_length(3) + b"3,4")
            assert all(status(connection.recv(65536)) == 200 for connection in connections)

    @pytest.mark.parametrize("last", [b"7", b"0x7"])
    def test_many_bodies_that_are_answered_at_once_keep_no_ping_waiting(
        self, serve, tmp_path, many, last
    ):
        n_rows, n_features, n_clusters = 8000, 32, 1024  # nearly the most of each
        centers = np.random.default_rng(0).normal(size=(n_clusters, n_features))
        save_model(KMeansModel(centers.astype(np.float32)), tmp_path / "model")
        body = b"\n".join([b",".join([b"7"] * n_features)] * n_rows)[:-1] + last
        wanted = 200 if last == b"7" else 400
        form = form_of({"content-type": "text/csv"}, "text/csv")
        assert pace_of(len(body), form, n_clusters, n_features) is Pace.AT_ONCE_IF_PLAIN
        with serve(tmp_path) as server, pinged(server):
            connections = many(server, 60)
            for connection in connections:
                connection.sendall(with_length(len(body)) + body)
            assert [status(connection.recv(65536)) for connection in connections] == [wanted] * 60


def peek(connection):
    """What has come within a moment, without taking it; nothing if nothing has."""
    connection.settimeout(1)
    try:
        return connection.recv(65536, socket.MSG_PEEK)
    except TimeoutError:
        return b""
    finally:
        connection.settimeout(30)


class TestEnds:
    def test_a_worker_that_is_killed_is_replaced_and_others_go_on(self, serve, base):
        with serve(base) as server:
            n_workers = worker_count(ServingSettings())
            if n_workers < 2:
                pytest.skip("one processor: there is one worker only")
            server.wait_until_answers(lambda: len(server.workers()) == n_workers)
            workers = server.workers()
            stop, outcomes = threading.Event(), []

            def ask():
                while not stop.is_set():
                    try:
                        outcomes.append(server.invoke(b"3,4\n" * 1000).status)
                    except OSError:
                        outcomes.append("lost")

            clients = [threading.Thread(target=ask) for _ in range(4)]
            for client in clients:
                client.start()
            os.kill(workers[0], signal.SIGKILL)
            server.wait_until_answers(
                lambda: workers[0] not in server.workers() and len(server.workers()) == len(workers)
            )
            n = len(outcomes)
            while len(outcomes) < n + 50:
                assert any(client.is_alive() for client in clients)
            stop.set()
            for client in clients:
                client.join()
            # What the killed one was answering is lost: one request a client at most.
            assert outcomes.count("lost") <= 4
            assert set(outcomes) <= {200, "lost"}
            assert "Perhaps out of memory?" in server.log

    def test_sigterm_waits_for_what_is_in_flight_and_lets_go_of_what_is_idle(self, serve, base):
        body = b"3,4\n" * 200_000
        with serve(base) as server, server.connect() as idle, server.connect() as busy:
            idle.sendall(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
            assert status(idle.recv(65536)) == 200
            busy.sendall(with_length(len(body)) + body[:-4])
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""
            busy.sendall(body[-4:])
            received = read_all(busy)
            assert status(received) == 200
            assert b"connection: close" in received.partition(b"\r\n\r\n")[0]
            assert received.count(b"0.0,5.0") == 200_000
            assert server.process.wait(30) == 0

    @pytest.mark.slow
    def test_sigterm_ends_within_30_seconds_whatever_is_in_flight(self, serve, base):
        with serve(base, ONEPASS_SILENCE_S="3600", ONEPASS_BODY_S="3600") as server:
            with server.connect() as connection:
                connection.sendall(with_length(1000) + b"3,4\n")
                started = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(30) == 0
                assert 20 < time.monotonic() - started < 30
            assert "Traceback" not in server.log

    def test_metrics_are_those_of_all_workers(self, serve, base):
        with serve(base, ONEPASS_METRICS="true") as server:
            for _ in range(40):
                assert server.invoke(b"3,4\n10,1").status == 200
            assert server.invoke(b"wrong").status == 400
            killed = server.workers()[0]
            os.kill(killed, signal.SIGKILL)
            server.wait_until_answers(lambda: killed not in server.workers())
            answer = server.request("GET", "/metrics")
            assert answer.type == "text/plain; version=0.0.4; charset=utf-8"
            figures = dict(
                line.rsplit(" ", 1)
                for line in answer.body.decode().splitlines()
                if not line.startswith("#")
            )
            route = 'route="/invocations"'
            assert float(figures['onepass_requests_total{code="200",' + route + "}"]) == 40
            assert float(figures['onepass_requests_total{code="400",' + route + "}"]) == 1
            assert float(figures["onepass_rows_total"]) == 80
            assert float(figures['onepass_refused_total{reason="bad_payload"}']) == 1
            assert float(figures['onepass_body_bytes_total{direction="in"}']) == 40 * 8 + 5
            assert float(figures["onepass_request_seconds_count{" + route + "}"]) == 41
            assert float(figures["onepass_in_flight"]) == 1  # this one

    def test_metrics_leave_nothing_behind(self, serve, base, tmp_path):
        with serve(base, ONEPASS_METRICS="true", TMPDIR=str(tmp_path)) as server:
            assert server.stop() == 0
        assert list(tmp_path.iterdir()) == []


class TestBatch:
    @pytest.mark.parametrize(
        ("variables", "wanted"),
        [
            ({}, ("MULTI_RECORD", 6)),
            ({"SAGEMAKER_BATCH": "true"}, ("MULTI_RECORD", 6)),
            ({"SAGEMAKER_BATCH": "True"}, ("MultiRecord", 6)),
            (
                {"SAGEMAKER_BATCH": "True", "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD"},
                ("SingleRecord", 6),
            ),
            ({"SAGEMAKER_BATCH_STRATEGY": "SingleRecord"}, ("SINGLE_RECORD", 6)),
            ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "100"}, ("MULTI_RECORD", 100)),
            ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, ("MULTI_RECORD", 0)),
        ],
    )
    def test_execution_parameters_are_true(self, serve, base, variables, wanted):
        with serve(base, **variables) as server:
            told = json.loads(server.request("GET", "/execution-parameters").body)
        assert (told["BatchStrategy"], told["MaxPayloadInMB"]) == wanted
        at_once = told["MaxConcurrentTransforms"]
        assert 1 <= at_once <= len(os.sched_getaffinity(0))
        assert at_once * told["MaxPayloadInMB"] <= 100

    def test_as_much_as_they_say_is_taken_at_once(self, serve, base):
        with serve(base, SAGEMAKER_MAX_PAYLOAD_IN_MB="20") as server:
            told = json.loads(server.request("GET", "/execution-parameters").body)
            body = b"3,4\n" * (told["MaxPayloadInMB"] * MIB // 4)
            statuses = []
            clients = [
                threading.Thread(
                    target=lambda: statuses.append(
                        server.invoke(body, accept="application/x-npy").status
                    )
                )
                for _ in range(told["MaxConcurrentTransforms"])
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            assert statuses == [200] * len(clients)
