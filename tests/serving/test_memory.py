"""What requests and answers take of the memory, and for how long."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import tracemalloc
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from onepass.cluster.model import KMeansModel
from onepass.errors import DecodeError
from onepass.serving import asgi
from onepass.serving.invocation import form_of, parts, score
from onepass.serving.limits import Budget
from onepass.serving.messages import Response
from onepass.serving.problems import HttpError
from onepass.serving.upload import Upload

MIB = 2**20
CSV, NPY, RECORDIO = "text/csv", "application/x-npy", "application/x-recordio-protobuf"


def form(content_type=CSV, accept=NPY, **more):
    return form_of({"content-type": content_type, "accept": accept, **more}, "application/json")


def answer_and_peak(model, body, form_, limit_mib=100):
    """What is answered, and how many bytes that took at its most."""
    limits = {"limit_bytes": limit_mib * MIB, "answer_limit_bytes": limit_mib * MIB}
    tracemalloc.start()
    try:
        try:
            scored = score(model, body, form_, **limits)
        except (HttpError, DecodeError) as error:
            scored = error
        return scored, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def saved(matrix):
    file = io.BytesIO()
    np.save(file, matrix)
    return file.getvalue()


class TestAnswersManyTimesTheirRequest:
    MODEL = KMeansModel(np.arange(1000, dtype=np.float32)[:, None])

    @pytest.mark.parametrize("accept", [CSV, "application/json", "application/jsonlines", RECORDIO])
    def test_they_are_refused_before_they_are_all_there(self, accept):
        body = b"1\n" * 100_000  # each of its 100 million distances would have 3 bytes at least
        refused, peak = answer_and_peak(self.MODEL, body, form(CSV, f"{accept};verbose=true"), 16)
        assert isinstance(refused, HttpError)
        assert refused.code == "answer_too_large"
        assert peak < 80 * MIB

    def test_they_are_the_same_as_row_by_row(self):
        rows = [[x] for x in range(600)]  # in three parts
        body, form_ = saved(np.float32(rows)), form(NPY, f"{CSV};verbose=true")
        whole, _ = answer_and_peak(self.MODEL, body, form_)
        assert whole.n_rows == 600
        one_by_one = [answer_and_peak(self.MODEL, saved([row]), form_)[0].body for row in rows]
        assert whole.body == b"\n".join(one_by_one)

    @pytest.mark.parametrize("accept", [NPY, "application/json"])
    def test_they_are_whole_in_every_form(self, accept):
        body = saved(np.arange(600, dtype=np.float32)[:, None])
        whole, _ = answer_and_peak(self.MODEL, body, form(NPY, f"{accept};verbose=true"))
        if accept == NPY:
            assert np.load(io.BytesIO(whole.body)).shape == (600, 1002)
        else:
            assert whole.body.count(b'{"closest_cluster": ') == 600
            assert whole.body.endswith(b"]}]}")

    def test_records_are_not_held_twice(self):
        body = saved(np.zeros((300_000, 1), np.uint8))
        scored, peak = answer_and_peak(self.MODEL, body, form(NPY, RECORDIO))
        assert peak < 1.3 * len(scored.body) + 64 * MIB


def test_a_place_is_named_in_whatever_part_of_a_block_it_is():
    model = KMeansModel(np.float32([[3e38], [2e38]]))
    rows = np.float32([[1]] * 200_000 + [[-3e38]] + [[1]] * 9)
    with pytest.raises(ValueError, match="row 200001 is too far from every center"):
        score(model, saved(rows), form(NPY), limit_bytes=MIB, answer_limit_bytes=99 * MIB)


def test_parts_are_all_rows_in_their_order():
    rows = np.arange(1000, dtype=np.float32)[:, None]
    for n_columns in (2, 2**12, 2**20):
        there = list(parts(rows, n_columns))
        np.testing.assert_array_equal(np.concatenate(there), rows)
        assert all(len(part) * n_columns <= 2**18 or len(part) == 1 for part in there)


class TestGzip:
    MODEL = KMeansModel(np.float32([[0, 0], [10, 0]]))

    def test_what_is_read_by_lines_is_never_unfolded_whole(self):
        body = gzip.compress(b"3,4\n" * (32 * MIB // 4))
        scored, peak = answer_and_peak(self.MODEL, body, form(**{"content-encoding": "gzip"}))
        assert scored.n_rows == 8 * MIB
        assert peak < 1.3 * len(scored.body) + 24 * MIB

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_matrix_is_unfolded_in_either_order(self, order):
        rows = np.zeros((300_000, 2), np.float32, order=order)
        rows[-1] = 3, 4
        body = gzip.compress(saved(rows))
        scored, _ = answer_and_peak(
            self.MODEL, body, form(NPY, CSV, **{"content-encoding": "gzip"})
        )
        assert scored.body.endswith(b"0.0,0.0\n0.0,5.0")

    def test_a_json_document_is_unfolded(self):
        body = gzip.compress(b'{"instances":[' + b"[3,4]," * 400_000 + b"[10,1]]}")
        form_ = form("application/json", CSV, **{"content-encoding": "gzip"})
        scored, _ = answer_and_peak(self.MODEL, body, form_)
        assert scored.n_rows == 400_001
        assert scored.body.endswith(b"0.0,5.0\n1.0,1.0")


class TestUploads:
    @staticmethod
    def upload():
        upload = Upload(lambda: None)
        upload.take(lambda _: None, b"", is_whole=False)
        return upload

    @pytest.mark.parametrize("sizes", [[], [1], [0, 5], [70_000], [1, 70_000, 2, 3, 70_000, 4]])
    def test_a_body_is_its_pieces(self, sizes):
        upload = self.upload()
        pieces = [bytes([65 + i]) * n for i, n in enumerate(sizes)]
        for piece in pieces:
            upload.put(piece)
        assert upload.give() == b"".join(pieces)
        assert upload.give() == b""

    def test_tiny_pieces_take_little_more_than_their_bytes(self):
        upload = self.upload()
        tracemalloc.start()
        try:
            for i in range(2**18):
                upload.put(b"%02d" % (i % 100))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * MIB
        assert upload.give()[:8] == b"00010203"


class TestBudget:
    def test_an_answer_takes_the_place_of_its_body(self):
        budget = Budget(max_requests=9, max_bytes=MIB)
        with budget.request() as one, budget.request() as other:
            one.grow_to(MIB)
            one.hold(10)
            other.grow_to(MIB // 2)
            one.hold(2 * MIB)
            with pytest.raises(HttpError, match="bodies and answers of 2097152 bytes are in fl"):
                other.grow_to(MIB)
        assert (budget.n_requests, budget.n_bytes) == (0, 0)

    def test_a_small_body_is_taken_on_whatever_is_in_flight(self):
        budget = Budget(max_requests=9, max_bytes=MIB)
        with budget.request() as one, budget.request() as other:
            one.hold(2 * MIB)
            other.grow_to(2**16)
            assert budget.n_bytes == 2 * MIB + 2**16


def test_a_client_that_reads_on_too_slowly_is_let_go(monkeypatch):
    monkeypatch.setattr(asgi, "LEAST_BYTES_A_SECOND", 2**40)
    let_go, sent = [], []

    class Connection:
        def let_go(self):
            let_go.append(len(sent))

    async def send(message):
        await asyncio.sleep(0.02 if message.get("body") else 0)
        sent.append(message)

    answer = Response(200, bytes(100 * MIB))
    asyncio.run(asgi.send_response(answer, {asgi.CONNECTION: Connection()}, send, patience_s=0.3))
    assert len(let_go) == 1
    assert 2 < let_go[0] < 100


ONE_WORKER = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from onepass.cli.serve import run_server
sys.exit(run_server(Path(sys.argv[1]), int(sys.argv[2])))
"""
HEAD = b"POST /invocations HTTP/1.1\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"


def with_length(n_bytes):
    return HEAD + b"Content-Length: %d\r\n\r\n" % n_bytes


def resident_mib(server):
    [worker] = server.workers()
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096 // MIB


class TestServers:
    def test_clients_that_stay_leave_nothing_of_their_bodies_behind(self, serve, base):
        body = b"x" + b"3,4\n" * (10 * MIB)
        with serve(base, ONE_WORKER) as server, ExitStack() as stay:
            for _ in range(8):
                connection = stay.enter_context(server.connect())
                connection.sendall(with_length(len(body)) + body)
                assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
            assert resident_mib(server) < 250  # not 8 times 40 MiB

    def test_clients_that_break_off_leave_nothing_of_their_bodies_behind(self, serve, base):
        with serve(base, ONE_WORKER) as server:
            for _ in range(10):
                received = server.talk(with_length(99_000_000) + bytes(40 * MIB))
                assert received.startswith(b"HTTP/1.1 400 ")
            assert resident_mib(server) < 250  # not 10 times 40 MiB

    def test_an_answer_that_is_not_read_is_in_flight(self, serve, base):
        body, mib = b"3,4\n" * (4 * MIB), b"3,4\n" * (MIB // 4)
        with serve(base, ONE_WORKER, ONEPASS_MAX_MB_IN_FLIGHT="2") as server:
            with server.connect() as idle:
                idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                idle.sendall(with_length(len(body)) + body)
                server.wait_for_log('"rows":4194304')
                refused = server.invoke(mib)
                assert (refused.status, refused.error["code"]) == (503, "busy")
                assert server.invoke(b"3,4").status == 200
            server.wait_until_answers(lambda: server.invoke(mib, accept=CSV).status == 200)
