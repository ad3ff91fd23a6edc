"""A channel of sparse records: rows stay sparse where that pays, or where it is asked for."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.data.batches import BatchReader
from onepass.data.sources import whole_files
from onepass.formats.record_writer import write_rows
from onepass.sparse import SparseRows

WIDTH = 64


def rows_of(n, n_values, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, WIDTH), np.float32)
    for row in rows:
        row[rng.choice(WIDTH, n_values, replace=False)] = rng.normal(size=n_values)
    return rows


def dense(batch):
    return batch.dense() if isinstance(batch, SparseRows) else batch


@pytest.mark.parametrize("n", [1, 99, 256, 257, 700])
@pytest.mark.parametrize("n_values", [1, 4, 5, 40])
@pytest.mark.parametrize("keep_sparse", [True, False, "auto"])
def test_rows_are_the_same_however_they_are_kept(tmp_path, n, n_values, keep_sparse):
    rows = rows_of(n, n_values)
    path = tmp_path / "a"
    path.write_bytes(write_rows(rows, sparse=True))
    reader = BatchReader(whole_files([path]), WIDTH, 100, keep_sparse=keep_sparse)
    sizes, kinds, start = [], set(), 0
    for batch in reader:
        np.testing.assert_array_equal(dense(batch), rows[start : start + len(batch)])
        start += len(batch)
        sizes.append(len(batch))
        kinds.add(isinstance(batch, SparseRows))
    wanted = n_values * 16 <= WIDTH if keep_sparse == "auto" else keep_sparse
    assert kinds == {wanted}
    assert sizes == [100] * (n // 100) + [n % 100] * (n % 100 > 0)
    assert (reader.n_rows, reader.n_bytes) == (n, path.stat().st_size)


def test_the_first_rows_decide(tmp_path, caplog):
    path = tmp_path / "a"
    few, many = rows_of(300, 1), rows_of(300, 60)
    path.write_bytes(write_rows(few, sparse=True) + write_rows(many))
    reader = BatchReader(whole_files([path]), WIDTH, 600, keep_sparse="auto")
    with caplog.at_level(logging.INFO):
        [batch] = reader
    assert isinstance(batch, SparseRows)
    np.testing.assert_array_equal(batch.dense(), np.concatenate([few, many]))
    assert "rows stay sparse: 1.56 % of the first rows' values are given" in caplog.text
    path.write_bytes(write_rows(many) + write_rows(few, sparse=True))
    [batch] = BatchReader(whole_files([path]), WIDTH, 600, keep_sparse="auto")
    np.testing.assert_array_equal(batch, np.concatenate([many, few]))


def test_batches_end_where_their_values_take_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("onepass.data.batch._MOST_VALUES", 500)
    rows = rows_of(400, 4)
    path = tmp_path / "a"
    path.write_bytes(write_rows(rows, sparse=True))
    for keep_sparse in (True, "auto"):
        reader = BatchReader(whole_files([path]), WIDTH, 1000, keep_sparse=keep_sparse)
        parts = [batch.dense() for batch in reader]
        np.testing.assert_array_equal(np.concatenate(parts), rows)
        assert max(map(len, parts)) <= 125


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.booleans()), min_size=1),
    st.integers(1, 200),
    st.sampled_from([True, "auto"]),
)
@settings(max_examples=60)
def test_files_of_any_records(tmp_path_factory, pieces, batch_rows, keep_sparse):
    folder, wanted = tmp_path_factory.mktemp("files"), []
    for i, (n, n_values, sparse) in enumerate(pieces):
        rows = rows_of(n, n_values, seed=i)
        (folder / f"{i:03}").write_bytes(write_rows(rows, sparse=sparse))
        wanted.append(rows)
    sources = whole_files(sorted(folder.iterdir()))
    reader = BatchReader(sources, WIDTH, batch_rows, keep_sparse=keep_sparse)
    found = [dense(batch).copy() for batch in reader]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(wanted))
    assert all(len(batch) == batch_rows for batch in found[:-1])
