"""What the loop answers itself, and what it leaves to threads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel
from onepass.formats.compiled import is_compiled
from onepass.formats.numbers import NotPlainError
from onepass.formats.record_writer import write_rows
from onepass.serving.invocation import form_of, score
from onepass.serving.pace import Pace, pace_of

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
MIB = 2**20


def form(content_type=CSV, accept=CSV, **more):
    return form_of({"content-type": content_type, "accept": accept, **more}, JSON)


@pytest.mark.parametrize(
    ("n_bytes", "media", "accept", "shape", "pace"),
    [
        (400, CSV, CSV, (10, 26), Pace.AT_ONCE),
        (60_000, CSV, CSV, (100, 26), Pace.AT_ONCE),
        (4_000, CSV, CSV, (1000, 400), Pace.AT_ONCE),
        (60_000, CSV, CSV, (200, 26), Pace.AT_ONCE_IF_PLAIN),  # many distances to find
        (280_000, CSV, CSV, (1000, 26), Pace.AT_ONCE_IF_PLAIN),
        (280_000, JSON, CSV, (1000, 26), Pace.AT_ONCE_IF_PLAIN),
        (280_000, JSON_LINES, JSON, (10, 26), Pace.AT_ONCE_IF_PLAIN),
        (280_000, RECORDIO, CSV, (10, 26), Pace.SOON),  # whether it is plain, nobody can tell
        (280_000, CSV, CSV, (2000, 26), Pace.SOON),  # too many distances
        (280_000, CSV, f"{CSV};verbose=true", (100, 26), Pace.SOON),  # too many to write
        (280_000, CSV, CSV, (10, 2), Pace.SOON),  # too many answers
        (600_000, CSV, CSV, (10, 26), Pace.SOON),
        (60_000, CSV, CSV, (1, 100_000), Pace.AT_ONCE_IF_PLAIN),  # too many zeros if sparse
        (60_000, RECORDIO, CSV, (1, 100_000), Pace.SOON),
        (8 * MIB, CSV, CSV, (1000, 26), Pace.SOON),
        (17 * MIB, CSV, CSV, (10, 26), Pace.LATER),
        (8 * MIB, CSV, CSV, (10_000, 26), Pace.LATER),
        (MIB, RECORDIO, CSV, (100, 100_000), Pace.LATER),
    ],
)
def test_what_takes_long_waits_for_what_does_not(n_bytes, media, accept, shape, pace):
    assert pace_of(n_bytes, form(media, accept), *shape) is pace


@pytest.mark.parametrize(
    ("n_bytes", "pace"), [(400, Pace.SOON), (MIB, Pace.SOON), (2 * MIB, Pace.LATER)]
)
def test_nobody_knows_how_long_a_compressed_body_is(n_bytes, pace):
    assert pace_of(n_bytes, form(**{"content-encoding": "gzip"}), 10, 26) is pace


MODEL = KMeansModel(np.float32([[0, 0], [10, 0]]))
LIMITS = {"limit_bytes": MIB, "answer_limit_bytes": MIB}
SPARSE = {"features": {"keys": [0], "shape": [2], "values": [9]}}


@pytest.mark.skipif(not is_compiled(), reason="no compiler was there: all is read slowly")
@pytest.mark.parametrize(
    ("media", "plain", "other"),
    [
        (CSV, b"1,2\n9,1", b"1,2\n9,0x1"),
        (CSV, b"1,2\n9,1", b"1,2\n9"),
        (
            JSON,
            b'{"instances":[[1,2],[9,1]]}',
            json.dumps({"instances": [[1, 2], SPARSE]}).encode(),
        ),
        (JSON, b'{"instances":[[1,2],[9,1]]}', b'{"instances":[[1,2],[9,null]]}'),
        (JSON, b'{"instances":[[1,2],[9,1]]}', b"{"),
        (JSON_LINES, b"[1,2]\n[9,1]", b'[1,2]\n{"features":[9,1]}'),
    ],
)
def test_what_would_be_read_slowly_is_given_up_where_that_is_asked_for(media, plain, other):
    found = score(MODEL, plain, form(media), only_plain=True, **LIMITS)
    assert found.body == score(MODEL, plain, form(media), **LIMITS).body
    assert [line[:3] for line in found.body.split(b"\n")] == [b"0.0", b"1.0"]
    with pytest.raises(NotPlainError):
        score(MODEL, other, form(media), only_plain=True, **LIMITS)


def test_a_format_of_which_nobody_can_tell_is_read_as_it_is():
    body = write_rows([[1, 2], [9, 1]])
    found = score(MODEL, body, form(RECORDIO), only_plain=True, **LIMITS)
    assert found.n_rows == 2


def test_bodies_are_answered_the_same_at_every_pace(serve, tmp_path):
    save_model(KMeansModel(np.float32([[0] * 26, [10] * 26])), tmp_path / "model")
    sparse = {"features": {"keys": list(range(26)), "shape": [26], "values": [9] * 26}}
    with serve(tmp_path) as server:
        for n, pace in ((100, Pace.AT_ONCE), (2_000, Pace.AT_ONCE_IF_PLAIN), (10_000, Pace.SOON)):
            for last in (sparse, {"features": [9.5] * 26}):
                instances = [{"features": [1.5] * 26}] * n + [last]
                body = json.dumps({"instances": instances}).encode()
                assert pace_of(len(body), form(JSON), 2, 26) is pace
                answer = server.invoke(body, JSON, JSON)
                assert answer.status == 200
                clusters = [
                    row["closest_cluster"] for row in json.loads(answer.body)["predictions"]
                ]
                assert clusters == [0] * n + [1]
