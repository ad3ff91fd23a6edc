"""Channels of Parquet files and of matrices as NumPy saves them."""

from __future__ import annotations

import contextlib
import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from onepass.data.batches import BatchReader, most_rows
from onepass.data.shards import cut
from onepass.data.sources import whole_files
from onepass.data.table_format import format_of
from onepass.errors import DecodeError, WidthError

PARQUET, NPY = "application/x-parquet", "application/x-npy"
ROWS = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)


def put(folder, content, name="data"):
    path = folder / name
    path.write_bytes(content)
    return path


def as_parquet(columns, **options):
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def table(rows, names="xyz"):
    return {name: pa.array(column) for name, column in zip(names, rows.T, strict=True)}


def as_npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version)
    return file.getvalue()


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


SHAPED = b"{'descr': '<f4', 'fortran_order': False, 'shape': %s}"


def read(paths, content_type, n_features=3, batch_rows=64):
    reader = BatchReader(
        whole_files(paths), n_features, batch_rows, format_of(content_type, "train")
    )
    batches = [batch.copy() for batch in reader]
    assert reader.n_bytes >= sum(path.stat().st_size for path in paths) // 2
    return np.concatenate(batches) if batches else np.empty((0, n_features), np.float32)


def refusal(path, content_type, kind=DecodeError):
    with pytest.raises(kind) as caught:
        read([path], content_type)
    return str(caught.value)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd"}, {"compression": "gzip"}, {"row_group_size": 10}]
)
def test_parquet_columns_are_features(tmp_path, options):
    assert np.array_equal(read([put(tmp_path, as_parquet(table(ROWS), **options))], PARQUET), ROWS)


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u1", "?"])
def test_numbers_of_any_kind_are_read(tmp_path, kind):
    rows = np.array([[0, 1, 1], [1, 0, 1]], kind)
    for content, content_type in ((as_parquet(table(rows)), PARQUET), (as_npy(rows), NPY)):
        found = read([put(tmp_path, content)], content_type)
        assert found.dtype == np.float32
        assert np.array_equal(found, rows.astype(np.float32))


@pytest.mark.parametrize(
    ("content_type", "labels"),
    [
        (PARQUET, {}),
        (PARQUET, {"label": ["a"] * 1000}),
        (f"{PARQUET};label_size=1", {"label": [None] * 1000}),
        (f"{PARQUET};label_size=2", {"label": [1] * 1000, "other": [[1, 2]] * 1000}),
    ],
)
def test_labels_of_parquet_are_the_first_columns(tmp_path, content_type, labels):
    path = put(tmp_path, as_parquet(labels | table(ROWS)))
    assert np.array_equal(read([path], content_type), ROWS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1.0], "y": [2.0]}, "2 columns; expected are 3 features, or one label"),
        ({"x": [1.0], "y": ["2"], "z": [3.0]}, "column 'y' is of type string, not of numbers"),
        ({"x": [1.0], "y": [[2.0]], "z": [3.0]}, "column 'y' is of type list<.*>, not of numbers"),
        ({"x": [1.0, 2], "y": [2.0, None], "z": [3.0, 4]}, "row 2, column 'y': a value that is nu"),
        ({"x": [1.0, 2], "y": [2.0, 3], "z": [3.0, np.nan]}, "row 2, column 'z': a value that is"),
        ({"x": [1e39, 2], "y": [2.0, 3], "z": [3.0, 4]}, "row 1, column 'x': a value that is NaN"),
    ],
)
def test_what_is_wrong_in_parquet_is_named(tmp_path, columns, message):
    path = put(tmp_path, as_parquet(columns))
    with pytest.raises(DecodeError, match=f"^{path}(, |: ){message}"):
        read([path], PARQUET)


def test_two_columns_of_one_name_are_refused(tmp_path):
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays([pa.array([1.0])] * 3, ["x", "y", "x"]), file)
    assert "two columns are named 'x'" in refusal(put(tmp_path, file.getvalue()), PARQUET)


def test_rows_of_parquet_are_counted_from_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("onepass.data.parquet_file._VALUES_AT_ONCE", 30)
    rows = ROWS.copy()
    rows[777, 1] = np.inf
    assert "row 778, column 'y'" in refusal(put(tmp_path, as_parquet(table(rows))), PARQUET)


def test_parquet_that_has_other_rows_than_it_says_is_refused(tmp_path):
    whole = as_parquet(table(ROWS[:77]), store_schema=False)
    n_77, n_80 = b"\x16\x9a\x01", b"\x16\xa0\x01"  # of the file, its one group, and its columns
    assert whole.count(n_77) == 5
    text = refusal(put(tmp_path, whole.replace(n_77, n_80, 1)), PARQUET)
    assert text.endswith("data: it says that it has 80 rows, its groups 77; write the file anew")
    text = refusal(put(tmp_path, whole.replace(n_77, n_80)), PARQUET)
    assert text.endswith("data: it has 77 rows of 80 that it says; write the file anew")


def test_a_name_of_a_column_that_is_no_text_is_refused(tmp_path):
    broken = as_parquet(table(ROWS), store_schema=False).replace(b"\x18\1x", b"\x18\1\xff")
    assert "no Parquet file: 'utf-8' codec can't" in refusal(put(tmp_path, broken), PARQUET)


def test_what_is_no_parquet_is_refused(tmp_path):
    whole = as_parquet(table(ROWS))
    for content in (b"x", b"PAR1PAR1", whole[:-1], whole[: len(whole) // 2]):
        assert "no Parquet file" in refusal(put(tmp_path, content), PARQUET)
    assert "use TrainingInputMode File, and compress nothing as a whole" in refusal(
        put(tmp_path, gzip.compress(whole)), PARQUET
    )


def test_broken_pages_of_parquet_are_refused_or_read(tmp_path):
    whole = as_parquet(table(ROWS[:50]), compression="zstd")
    rng = np.random.default_rng(0)
    for i in rng.integers(0, len(whole), 150).tolist():
        broken = whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :]
        with contextlib.suppress(DecodeError):
            assert read([put(tmp_path, broken)], PARQUET).shape[1] == 3


@pytest.mark.parametrize("content_type", [PARQUET, NPY])
def test_no_rows(tmp_path, content_type):
    none = ROWS[:0]
    content = as_parquet(table(none)) if content_type == PARQUET else as_npy(none)
    assert len(read([put(tmp_path, content)], content_type)) == 0
    assert len(read([put(tmp_path, b"")], content_type)) == 0
    reader = BatchReader(
        whole_files([put(tmp_path, content)]), 3, 1, format_of(content_type, "train")
    )
    reader.peek()


@pytest.mark.parametrize("content_type", [PARQUET, NPY])
def test_files_are_read_one_behind_the_other_and_not_cut(tmp_path, content_type):
    parts = ROWS[:400], ROWS[400:]
    contents = [as_parquet(table(p)) if content_type == PARQUET else as_npy(p) for p in parts]
    paths = [put(tmp_path, content, f"{i}") for i, content in enumerate(contents)]
    assert np.array_equal(read(paths, content_type), ROWS)
    shards = cut(paths, 5, format_of(content_type, "train").boundary)
    assert sorted(len(shard) for shard in shards)[:3] == [0, 0, 0]
    assert sum(map(len, shards)) == 2


def test_a_small_parquet_file_may_hold_many_rows(tmp_path):
    path = put(tmp_path, as_parquet({"x": np.zeros(100_000)}))
    assert path.stat().st_size < 10_000
    assert most_rows(whole_files([path]), format_of(PARQUET, "train")) >= 100_000


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">i2"])
def test_matrices_are_read_row_by_row(tmp_path, monkeypatch, version, kind):
    monkeypatch.setattr("onepass.data.npy_file._BYTES_AT_ONCE", 100)
    rows = (ROWS * 100).astype(kind)
    path = put(tmp_path, as_npy(rows, version))
    assert np.array_equal(read([path], NPY), rows.astype(np.float32))
    path = put(tmp_path, gzip.compress(path.read_bytes()))
    assert np.array_equal(read([path], NPY), rows.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n", "no matrix as numpy.save writes it: it begins with 312c322c330a"),
        (b"\x93NUMPY\x09\x00" + bytes(50), "no matrix as numpy.save writes it"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "a header of 2147483647 bytes; at most 65536"),
        (b"\x93NUMPY\x01\x00\x05\x00{}   ", "a header that NumPy cannot read"),
        (as_npy(ROWS)[:50], "a header that NumPy cannot read"),
        (header(b"{'descr': '<f4', \0"), "a header that NumPy cannot read"),
        (header(b"{[]: 1}"), "a header that NumPy cannot read"),
        (header(b"{1: 2, 'shape': 3}"), "a header that NumPy cannot read"),
        (header(b"-" * 60_000 + b"1"), "a header that NumPy cannot read"),
        (header(SHAPED % b"(-5, 3)"), r"an array of shape \(-5, 3\); save a matrix"),
        (as_npy(np.ones((3, 4))), "4 columns; expected are 3 features"),
        (as_npy(np.ones(3)), r"an array of shape \(3,\); save a matrix, row behind row"),
        (as_npy(np.asfortranarray(ROWS)), r"an array of shape \(1000, 3\) by columns"),
        (as_npy(np.ones((3, 3), "c16")), "values of type complex128"),
        (as_npy(np.array([["a"] * 3])), "values of type <U1"),
        (as_npy(ROWS)[:-1], "the data end inside row 1000 of 1000"),
        (as_npy(ROWS) + b"x", "data follow the last row"),
        (
            as_npy(np.where(np.arange(3000).reshape(-1, 3) == 1502, np.nan, 0)),
            "row 501 at byte 12128, column 3: ",
        ),
        (as_npy(np.full((2, 3), 1e39)), "row 1 at byte 128, column 1: a value that is NaN or"),
    ],
)
def test_what_is_wrong_in_a_matrix_is_named(tmp_path, content, message):
    path = put(tmp_path, content)
    with pytest.raises(DecodeError, match=f"^{path}(, |: ).*{message}"):
        read([path], NPY, batch_rows=5000)


def test_objects_are_not_unpickled(tmp_path):
    file = io.BytesIO()
    np.save(file, np.array([[{}, {}, {}]], object), allow_pickle=True)
    assert "values of type object" in refusal(put(tmp_path, file.getvalue()), NPY)


def test_a_wrong_width_is_told_before_training(tmp_path):
    for content, content_type in ((as_parquet(table(ROWS)), PARQUET), (as_npy(ROWS), NPY)):
        sources = whole_files([put(tmp_path, content)])
        BatchReader(sources, 3, 1, format_of(content_type, "train")).peek()
        with pytest.raises(WidthError, match="3 columns; expected are 5 features"):
            BatchReader(sources, 5, 1, format_of(content_type, "train")).peek()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([PARQUET, NPY]), st.booleans())
def test_any_bytes_are_finite_rows_or_the_one_error(tmp_path_factory, content, content_type, more):
    begins = b"\x93NUMPY\x01\x00" if content_type == NPY else b"PAR1"
    content = begins + content + (b"PAR1" if content_type == PARQUET else b"")
    path = put(tmp_path_factory.mktemp("files"), content if more else content[8:])
    with contextlib.suppress(DecodeError):
        rows = read([path], content_type)
        assert rows.shape[1] == 3
        assert np.isfinite(rows).all()
