"""What is told of data by how they begin."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from onepass.data import first_row as module
from onepass.data.first_row import FirstRow, content_type_of, first_row
from onepass.data.sources import whole_files
from onepass.data.table_format import NPY, PARQUET
from onepass.errors import DecodeError, TooLargeError
from onepass.formats.media import CSV, RECORDIO_PROTOBUF
from onepass.formats.record_writer import write_rows

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def npy(rows=ROWS):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def table():
    file = io.BytesIO()
    parquet.write_table(pa.table({name: [1.0, 2.0] for name in "abc"}), file)
    return file.getvalue()


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


CONTENTS = {
    RECORDIO_PROTOBUF: write_rows(ROWS),
    CSV: b"1,2,3\n4,5,6\n",
    NPY: npy(),
    PARQUET: table(),
}


@pytest.fixture
def put(tmp_path):
    def put(*contents, name="data-{}"):
        paths = [tmp_path / name.format(i) for i in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return whole_files(paths)

    return put


@pytest.mark.parametrize("content_type", CONTENTS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_the_first_bytes_tell_the_content_type(put, content_type, pack):
    assert content_type_of(put(pack(CONTENTS[content_type]))) == content_type


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.npy", NPY),
        ("a.parquet", PARQUET),
        ("a.pbr", RECORDIO_PROTOBUF),
        ("a.pbr.gz", RECORDIO_PROTOBUF),
        ("a.csv", CSV),
        ("a", CSV),
        ("npy", CSV),
    ],
)
def test_where_bytes_tell_nothing_the_name_does(put, name, content_type):
    assert content_type_of(put(b"oh\n", name=name)) == content_type


def test_empty_files_tell_nothing(put):
    assert content_type_of(put(b"", gzip.compress(b""), npy())) == NPY
    assert content_type_of(put(b"", b"")) == CSV


@pytest.mark.parametrize("content_type", CONTENTS)
def test_the_first_row_has_three_columns(put, content_type):
    assert first_row(put(b"", CONTENTS[content_type]), content_type) == FirstRow(3)


def test_sparse_records_are_told_from_dense_ones(put):
    assert first_row(put(write_rows(ROWS, sparse=True)), RECORDIO_PROTOBUF) == FirstRow(3, True)
    zeros = np.zeros((1, 5), np.float32)
    assert first_row(put(write_rows(zeros, sparse=True)), RECORDIO_PROTOBUF) == FirstRow(5, True)


def test_a_wide_record_is_read_to_its_end(put):
    rows = np.ones((2, 300_000), np.float32)
    assert first_row(put(write_rows(rows)), RECORDIO_PROTOBUF) == FirstRow(300_000)


def test_a_long_line_is_read_to_its_end(put):
    assert first_row(put(b"1," * 500_000 + b"1\n2\n"), CSV) == FirstRow(500_001)


@pytest.mark.parametrize("begin", [b"\xef\xbb\xbf", b"\r\n\r\n", b"\n" * 200_000])
def test_what_stands_before_the_first_line_does_not_count(put, begin):
    assert first_row(put(begin + b"7,8\r\n9,9\n"), CSV) == FirstRow(2)


def test_a_line_needs_no_end(put):
    assert first_row(put(b"1,2,3,4"), CSV) == FirstRow(4)


@pytest.mark.parametrize("content_type", [RECORDIO_PROTOBUF, CSV, PARQUET, NPY])
def test_without_a_row_there_is_none(put, content_type):
    assert first_row(put(b"", b""), content_type) is None
    assert first_row([], content_type) is None


@pytest.mark.parametrize(
    ("content", "content_type", "reason"),
    [
        (write_rows(ROWS)[:30], RECORDIO_PROTOBUF, "record 0 at byte 0: the data ends inside this"),
        (b"1,2\n", RECORDIO_PROTOBUF, "record 0 at byte 0: no RecordIO record starts here"),
        (b"1,2\n", NPY, "no matrix as numpy.save writes it"),
        (b"1,2\n", PARQUET, "no Parquet file"),
        (gzip.compress(table(), mtime=0), PARQUET, "Parquet is read from plain files only"),
        (gzip.compress(b"1,2\n", mtime=0)[:-9], CSV, "cut short"),
    ],
)
def test_a_broken_first_row_is_refused_with_its_file(put, content, content_type, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        first_row(put(content), content_type)
    assert "data-0" in str(caught.value)


def test_a_line_without_end_is_not_read_to_the_end(put, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_BYTES", 2**17)
    with pytest.raises(TooLargeError, match="row 1: a line is longer than 131072 bytes"):
        first_row(put(b"1," * 2**18), CSV)
