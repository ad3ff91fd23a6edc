"""``onepass elbow``: of a state, of an archive, of data."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import save_model
from onepass.artifact.state_file import save_state
from onepass.cluster.kmeans import KMeans
from onepass.formats.record_writer import write_rows

COMMAND = [sys.executable, "-m", "onepass.cli.main", "elbow"]


def elbow(*arguments):
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of four places with its state, its archive, and the data."""
    path = tmp_path_factory.mktemp("left")
    rng = np.random.default_rng(6)
    places = rng.normal(0, 9, (4, 3))
    rows = (places[rng.integers(0, 4, 4000)] + rng.normal(size=(4000, 3))).astype(np.float32)
    kmeans = KMeans(4, device="cpu").partial_fit(rows).finalize()
    save_model(kmeans.to_model(), path / "model")
    pack(path / "model", path / "bare.tar.gz")
    save_state(kmeans.state(), path / "model/state_algo-1", {})
    pack(path / "model", path / "model.tar.gz")
    (path / "data").mkdir()
    (path / "data/a.pbr").write_bytes(write_rows(rows))
    np.savetxt(path / "rows.csv", rows, delimiter=",", fmt="%.9g")
    return path


@pytest.mark.parametrize(
    "where", ["model", "model/state_algo-1", "model.tar.gz", "data", "data/a.pbr", "rows.csv"]
)
def test_it_tells_where_the_knee_is(folder, where):
    done = elbow(folder / where, "--k", "2-8")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == list("2345678")
    assert lines[3].endswith("<- knee")
    assert lines[8].startswith("the knee is at k=4: the msd falls fast up to k=4")


def test_as_json_and_as_files(folder, tmp_path):
    done = elbow(folder / "model.tar.gz", "--k", "2,4,6,8", "--json", "-o", tmp_path / "plots")
    told = json.loads(done.stdout)
    assert [point["k"] for point in told["points"]] == [2, 4, 6, 8]
    assert told == json.loads((tmp_path / "plots/elbow.json").read_text())
    assert (tmp_path / "plots/elbow.csv").read_text().startswith("k,msd,msd_error,")
    pytest.importorskip("PIL")
    assert (tmp_path / "plots/elbow.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_written_unasked(folder):
    before = sorted(folder.rglob("*"))
    elbow(folder / "model", "--k", "2-4")
    assert sorted(folder.rglob("*")) == before


def test_the_seed_is_what_it_depends_on(folder):
    def told(seed):
        points = json.loads(elbow(folder / "model", "--json", "--seed", seed).stdout)["points"]
        return [point["msd"] for point in points]

    assert told(1) == told(1)
    assert told(1) != told(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model/model_algo-1"],
            "model_algo-1 is a model without a state_algo-1: nothing is known",
        ),
        (["bare.tar.gz"], "is a model without a state_algo-1"),
        (["nothing"], "there is no directory and no file"),
        (["model", "--k", "0-3"], "'0-3' is not accepted: it must be numbers and ranges from 1"),
        (["model", "--k", ""], "'' is not accepted"),
        (["model", "--k", "2-5000"], "not accepted"),
        (["data", "--k", "4001"], "4000 rows of a weight above zero cannot make n_clusters=4001"),
        (["data", "--feature-dim", "4"], "feature_dim=4 does not fit the data"),
    ],
)
def test_what_is_wrong_is_told(folder, arguments, message):
    done = elbow(folder / arguments[0], *arguments[1:])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_damaged_state_is_refused(folder, tmp_path):
    content = bytearray((folder / "model/state_algo-1").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "state_algo-1").write_bytes(content)
    done = elbow(tmp_path / "state_algo-1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
