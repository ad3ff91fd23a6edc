"""``state_algo-1`` on disk."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import save_model
from onepass.artifact.state_file import FORMAT, has_state, load_state, save_state
from onepass.cluster.kmeans import KMeans
from onepass.errors import PlatformError, UserError
from onepass.formats.npz import write_arrays

OLD = Path(__file__).with_name("states")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(6_000, 4)).astype(np.float32)


@pytest.fixture
def kmeans(rows):
    return KMeans(3, device="cpu").partial_fit(rows)


@pytest.fixture
def path(tmp_path, kmeans):
    return save_state(kmeans.state(), tmp_path / "model/state_algo-1", {"note": "hello"})


def test_what_was_written_is_gone_on_with(path, kmeans):
    state = load_state(path)
    assert state.facts["note"] == "hello"
    assert state.facts["format"] == FORMAT
    again = KMeans(3, device="cpu").restore(state).finalize()
    assert again.cluster_centers_.tobytes() == kmeans.finalize().cluster_centers_.tobytes()


def test_numpy_and_json_alone_read_it(path, kmeans):
    with np.load(path, allow_pickle=False) as loaded:
        n_taken = json.loads(loaded["about.json"])["n_taken"]
        assert n_taken + len(loaded["held_rows"]) == 6_000
        np.testing.assert_array_equal(loaded["held_rows"], kmeans.state().arrays["held_rows"])


@pytest.mark.parametrize("where", ["file", "directory", "archive", "directory of an archive"])
def test_it_is_found(path, where, tmp_path, kmeans):
    save_model(kmeans.finalize().to_model(), path.parent)
    archive = tmp_path / "packed/model.tar.gz"
    pack(path.parent, archive)
    places = {
        "file": path,
        "directory": path.parent,
        "archive": archive,
        "directory of an archive": archive.parent,
    }
    assert load_state(places[where]).facts["n_features"] == 4
    if places[where].is_dir():
        assert has_state(places[where])


def test_where_there_is_none_that_is_said(tmp_path, kmeans):
    save_model(kmeans.finalize().to_model(), tmp_path)
    pack(tmp_path, tmp_path / "packed/model.tar.gz")
    assert not has_state(tmp_path)
    assert not has_state(tmp_path / "packed")
    with pytest.raises(UserError, match=r"there is no state in .*: expected a file state_algo-1"):
        load_state(tmp_path)
    with pytest.raises(UserError, match="a regular file state_algo-1 is expected"):
        load_state(tmp_path / "packed")


def test_a_broken_archive_is_told(tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model\.tar\.gz: this is no readable"):
        has_state(tmp_path)


def test_a_damaged_one_is_told(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="state_algo-1: it is torn or damaged"):
        load_state(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "state_algo-1")
    with pytest.raises(UserError, match=r"no regular file|there is no state"):
        load_state(tmp_path)


def test_one_of_a_later_version_is_told(tmp_path, kmeans):
    path = tmp_path / "state"
    save_state(kmeans.state(), path, {})
    facts, arrays = load_state(path)
    with path.open("wb") as file:
        write_arrays(file, json.dumps({**facts, "format": FORMAT + 1}).encode(), arrays)
    with pytest.raises(UserError, match=f"its format is {FORMAT + 1}, and {FORMAT} is the latest"):
        load_state(path)


def test_a_state_that_does_not_read_back_leaves_the_old_one(path, kmeans, monkeypatch):
    before = path.read_bytes()
    state = kmeans.state()

    def torn(file, _text, _arrays):
        file.write(b"PK half of it")

    monkeypatch.setattr("onepass.artifact.state_file.write_arrays", torn)
    with pytest.raises(PlatformError, match="does not read back as it was written"):
        save_state(state, path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["state_algo-1"]


@pytest.mark.parametrize("path", sorted(OLD.iterdir()), ids=lambda path: path.name)
def test_states_of_every_version_are_read(path):
    kmeans = KMeans(3, device="cpu").restore(load_state(path)).finalize()
    expected = json.loads((OLD.parent / "states.json").read_text())[path.name]
    assert kmeans.n_samples_seen_ == expected["n_rows"]
    assert kmeans.msd_ == pytest.approx(expected["msd"], rel=1e-4)


def test_it_is_packed_beside_the_model(path, tmp_path):
    pack(path.parent, tmp_path / "model.tar.gz")
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert tar.getnames() == ["state_algo-1"]
