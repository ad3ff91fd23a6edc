"""The command ``onepass predict``: what the server answers, for files of any size."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from onepass.artifact.archive import pack
from onepass.formats.record_writer import write_rows
from onepass.resources import available_cpus

COMMAND = [sys.executable, "-m", "onepass.cli.main", "predict"]
ROWS = np.float32([[3, 4], [10, 1], [0, 10.5]])
ANSWER = b"0.0,5.0\n1.0,1.0\n2.0,0.5\n"


def npy(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def document(rows):
    return json.dumps({"instances": [{"features": row} for row in rows.tolist()]}).encode()


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows.tolist()).encode()


def text(rows):
    return "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode()


FILES = {
    "rows.csv": text(ROWS),
    "ROWS.CSV.gz": gzip.compress(text(ROWS)),
    "rows.json": document(ROWS),
    "rows.jsonl.zst": pa.Codec("zstd").compress(lines(ROWS), asbytes=True),
    "rows.pbr": write_rows(ROWS),
    "sparse.rec": write_rows(ROWS, sparse=True),
    "rows.npy": npy(ROWS),
}


@pytest.fixture
def predict(base, tmp_path):
    """Run the command; return its exit code, what it wrote and what it said."""

    def run(*arguments, data=None, model=base / "model"):
        done = subprocess.run(
            [*COMMAND, str(model), *map(str, arguments)],
            input=data,
            capture_output=True,
            check=False,
            cwd=tmp_path,
        )
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr.decode()

    return run


@pytest.fixture
def put(tmp_path):
    def put(name, content):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return put


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_are_told_by_their_names(predict, put, name):
    code, out, said = predict(put(name, FILES[name]), "--accept", "text/csv")
    assert (code, out) == (0, ANSWER), said
    assert said.startswith("3 rows, 24 bytes of answers, ")


@pytest.mark.parametrize(
    "accept", ["text/csv", "application/json", "application/x-recordio-protobuf"]
)
@pytest.mark.parametrize("verbose", ["", "; verbose=true"])
def test_answers_are_those_of_the_server(predict, put, server, accept, verbose):
    code, out, _ = predict(put("rows.csv", text(ROWS)), "--accept", accept + verbose)
    answered = server.invoke(text(ROWS), accept=accept + verbose).body
    assert code == 0
    assert out == answered + b"\n" * ("recordio" not in accept)


def test_answers_are_json_lines_if_nothing_else_is_asked_for(predict, put):
    code, out, _ = predict(put("rows.csv", text(ROWS)))
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()][1] == {
        "closest_cluster": 1.0,
        "distance_to_cluster": 1.0,
    }


def test_directories_are_read_in_order_and_many_inputs_are_one_answer(predict, put, tmp_path):
    put("b/2.csv", b"10,1\n")
    put("b/1.npy", npy(ROWS[:1]))
    put("b/.hidden.csv", b"broken")
    last = put("last.jsonl", b"[0, 10.5]")
    code, out, _ = predict(tmp_path / "in/b", last, "--accept", "application/json")
    assert code == 0
    clusters = [one["closest_cluster"] for one in json.loads(out)["predictions"]]
    assert clusters == [0, 1, 2]


def test_a_model_may_be_the_archive_of_a_job(predict, put, base, tmp_path):
    pack(base / "model", tmp_path / "model.tar.gz")
    code, out, _ = predict(
        put("rows.csv", text(ROWS)), "--accept", "text/csv", model=tmp_path / "model.tar.gz"
    )
    assert (code, out) == (0, ANSWER)


@pytest.mark.parametrize(
    "data", [b"9,3,4\n9,10,1\n9,0,10.5", gzip.compress(b"9,3,4\n9,10,1\n9,0,10.5", mtime=0)]
)
def test_standard_input_may_be_compressed_too(predict, data):
    told = ("--content-type", "text/csv; label_size=1", "--accept", "text/csv")
    assert predict("-", *told, data=data)[:2] == (0, ANSWER)


def test_a_matrix_is_written_to_a_file(predict, put, tmp_path):
    inputs = [put(name, content) for name, content in FILES.items()]
    out = tmp_path / "out.npy"
    assert predict(*inputs, "--accept", "application/x-npy", "-o", out)[:2] == (0, b"")
    found = np.load(out, allow_pickle=False)
    assert found.tolist() == [[0, 5], [1, 1], [2, 0.5]] * len(FILES)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.csv"], "ClientError: none.csv: there is no such file"),
        (["-"], "what standard input holds must be told by --content-type"),
        (["in/rows.dat"], "in/rows.dat: its name does not tell what it is; --content-type does"),
        (["in"], "in/rows.dat: its name does not tell"),
        (["in/wide.csv"], "in/wide.csv: rows have 3 features, the model takes 2"),
        (["in/bad.csv"], "in/bad.csv, row 2, column 1: 'x' is not a number"),
        (["in/far.csv"], "in/far.csv: row 2 is too far from every center for float32"),
        (["in/cut.pbr"], "in/cut.pbr, record 1 at byte 32: the data ends inside this record"),
        (["in/empty.csv"], "in/empty.csv: the data is empty"),
        (["in/wide.csv", "--accept", "image/png"], "Accept 'image/png' is not supported"),
        (["in/wide.csv", "--content-type", "image/png"], "content-type image/png is not supported"),
        (["in/wide.csv", "--accept", "application/x-npy"], "name a file by --output"),
    ],
)
def test_what_cannot_be_scored_is_told_in_one_line(predict, put, arguments, reason):
    for name, content in (
        ("rows.dat", b"1,2"),
        ("wide.csv", b"1,2,3"),
        ("bad.csv", b"1,2\nx,3"),
        ("far.csv", b"1,2\n3e38,3e38"),
        ("cut.pbr", write_rows(ROWS)[:-40]),
        ("empty.csv", b""),
    ):
        put(name, content)
    code, _, said = predict(*arguments)
    assert code == 2
    assert reason in said
    assert len(said.splitlines()) == 1


def test_a_file_is_written_whole_or_not_at_all(predict, put, tmp_path):
    out = tmp_path / "out.csv"
    out.write_bytes(b"before")
    bad = put("bad.csv", b"1,2\n" * 2**20 + b"x,3")
    assert predict(bad, "-o", out)[0] == 2
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.csv"]


def test_a_model_that_is_not_there_is_told(predict, put, tmp_path):
    code, _, said = predict(put("rows.csv", text(ROWS)), model=tmp_path / "none")
    assert code == 2
    assert "cannot read the model" in said


def test_a_reader_that_has_seen_enough_is_no_error(base, put):
    big = put("rows.csv", b"3,4\n" * 10**6)
    process = subprocess.Popen(
        [*COMMAND, str(base / "model"), str(big)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline().startswith(b"{")
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert said == b""


def test_sigterm_leaves_nothing_behind(base, tmp_path):
    out = tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [*COMMAND, str(base / "model"), "-", "--content-type", "text/csv", "-o", str(out)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(20):
            process.stdin.write(b"3,4\n" * 2**16)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 143
    assert b"stopped by SIGTERM before all rows were scored" in said
    assert list(tmp_path.iterdir()) == []


def peak_mib_of(model, path, out):
    """Score a file; returns the most memory that the process has had, in MiB."""
    script = (
        "import sys\nfrom onepass.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    print(end.code, *(x for x in open('/proc/self/status') if 'VmHWM' in x))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "predict", str(model), str(path), "-o", out],
        capture_output=True,
        text=True,
        check=True,
    )
    code, peak_kib = map(int, re.findall(r"\d+", done.stdout))
    assert code == 0
    return peak_kib / 1024


@pytest.mark.parametrize("kind", ["csv", "jsonl", "pbr", "npy"])
def test_memory_does_not_grow_with_the_file(base, put, tmp_path, kind):
    unit = {
        "csv": b"3,4\n" * 2**15,
        "jsonl": b"[3,4]\n" * 2**15,
        "pbr": write_rows([[3.0, 4.0]] * 2**15),
    }
    sizes = []
    for n in (16, 128):
        rows = np.tile(np.float32([[3, 4]]), (n * 2**15, 1))
        path = put(f"{n}.{kind}", npy(rows) if kind == "npy" else unit[kind] * n)
        # How far threads are ahead of one another is chance; what grows with the file is not.
        sizes.append(min(peak_mib_of(base / "model", path, tmp_path / "out") for _ in range(2)))
    assert sizes[1] < sizes[0] + 20 + 10 * available_cpus()
