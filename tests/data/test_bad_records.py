"""Bad records and rows that are passed over are counted; those around them are all read."""

from __future__ import annotations

import gzip
import io
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from onepass.data import csv_file, record_file
from onepass.data.batches import BatchReader
from onepass.data.boundaries import find_line, find_record
from onepass.data.shards import cut
from onepass.data.sources import Span, whole_files
from onepass.data.table_format import format_of
from onepass.errors import DecodeError, WidthError
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAGIC_BYTES, frame

RECORDS, CSV = "application/x-recordio-protobuf", "text/csv"
NPY, PARQUET = "application/x-npy", "application/x-parquet"


def label_only():
    record = Record()
    record.label["values"].float32_tensor.values.append(1)
    return frame(record.SerializeToString())


def sparse(keys, values=(1.0,), shape=(3,)):
    record = Record()
    tensor = record.features["values"].float32_tensor
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)
    return frame(record.SerializeToString())


BAD_RECORDS = {
    "no protobuf": frame(b"\xff\xff\xff"),
    "another width": write_rows(np.ones((1, 4), np.float32)),
    "not a number": write_rows(np.float32([[1, np.nan, 3]])),
    "infinite": write_rows(np.float32([[1, 2, -np.inf]])),
    "too large for float32": write_rows(np.float64([[1, 2, 1e39]])),
    "a label alone": label_only(),
    "a key out of range": sparse([3]),
    "a key twice": sparse([1, 1], (1.0, 2.0)),
    "split, and no protobuf": frame(b"abcd" + MAGIC_BYTES + b"efgh", split=True),
}
BAD_LINES = ("4,x,6", "4,,6", "nan,5,6", "4,5,1e39", "4,5", "4,5,6,7,8", "4;5;6", '"4",5,"x"', " ")


def put(folder, content, name="data"):
    path = folder / name
    path.write_bytes(content)
    return path


def read(sources, content_type=RECORDS, allowed=1000, batch_rows=7):
    """All rows, and what was passed over."""
    table_format = format_of(content_type, "train")
    reader = BatchReader(sources, 3, batch_rows, table_format, max_bad_records=allowed)
    batches = [batch.copy() for batch in reader]
    rows = np.concatenate(batches) if batches else np.empty((0, 3), np.float32)
    assert reader.n_rows == len(rows)
    return rows, reader.bad


def places(sources, content_type=RECORDS, batch_rows=7, **how):
    """Where bad rows are among all, as what is told with each batch says."""
    table_format = format_of(content_type, "train")
    reader = BatchReader(sources, 3, batch_rows, table_format, max_bad_records=1000, **how)
    order: list[bool] = []
    for batch in reader:
        order += in_order(len(batch), reader.gaps)
    return np.flatnonzero([*order, *in_order(0, reader.gaps)]).tolist()


def in_order(n, gaps):
    return [bad for i in range(n + 1) for bad in [True] * gaps.get(i, 0) + [False] * (i < n)]


def refusal(sources, kind=DecodeError, **how):
    with pytest.raises(kind) as caught:
        read(sources, **how)
    return str(caught.value)


def numbered(n):
    return np.arange(3 * n, dtype=np.float32).reshape(n, 3)


def woven(pieces, order):
    """Good pieces in their order, and a bad one wherever `order` names one."""
    left = iter(pieces)
    return b"".join([next(left, b"") if bad is None else bad for bad in order]) + b"".join(left)


def places_in(order):
    """Where bad pieces are among 40 good ones, woven as above."""
    n_good, found = 0, []
    for bad in order:
        n_good += bad is None
        if bad is not None:
            found.append(min(n_good, 40) + len(found))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.sampled_from([*BAD_RECORDS.values()]), max_size=60),
    st.integers(64, 400),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_records_around_bad_ones_are_read_whatever_the_blocks(
    tmp_path_factory, order, block, batch_rows, n_shards
):
    rows = numbered(40)
    data = woven([write_rows(row[None]) for row in rows], order)
    path = put(tmp_path_factory.mktemp("files"), data)
    n_bad = sum(bad is not None for bad in order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_file, "READ_BYTES", block)
        found, bad = read(whole_files([path]), batch_rows=batch_rows)
        assert np.array_equal(found, rows)
        assert bad.n == n_bad
        for how in (False, True, "auto"):
            there = places(whole_files([path]), RECORDS, batch_rows, keep_sparse=how)
            assert there == places_in(order)
        shards = [read(shard) for shard in cut([path], n_shards, find_record)]
    assert np.array_equal(np.concatenate([shard for shard, _ in shards]), rows)
    assert sum(bad.n for _, bad in shards) == n_bad


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.sampled_from(BAD_LINES), max_size=60),
    st.integers(10, 400),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.integers(1, 4),
    st.sampled_from(["", "7,"]),
)
def test_lines_around_bad_ones_are_read_whatever_the_blocks(
    tmp_path_factory, order, block, end, n_shards, label
):
    rows = numbered(40)
    lines = [f"{label}{','.join(map(str, row))}{end}".encode() for row in rows.tolist()]
    bad_lines = [bad and (label + bad + end).encode() for bad in order]
    path = put(tmp_path_factory.mktemp("files"), woven(lines, bad_lines))
    n_bad = sum(bad is not None for bad in order)
    kind = f"{CSV};label_size={len(label) // 2}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "READ_BYTES", block)
        found, bad = read(whole_files([path]), kind)
        assert np.array_equal(found, rows)
        assert bad.n == n_bad
        assert places(whole_files([path]), kind) == places_in(order)
        shards = [read(shard, kind) for shard in cut([path], n_shards, find_line)]
    assert np.array_equal(np.concatenate([shard for shard, _ in shards]), rows)
    assert sum(bad.n for _, bad in shards) == n_bad


def test_the_first_line_of_a_width_that_fits_says_whether_there_is_a_label(tmp_path):
    text = b"1,2\n1,2,3\n" + b"7,1,2,3\n" * 5 + b"4,5,6\n"
    path = put(tmp_path, text)
    rows, bad = read(whole_files([path]), CSV)
    assert rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert bad.n == 6
    for at in range(1, len(text)):
        shards = [Span(path, 0, cut_at := find_line(path, at, len(text)))]
        shards += [Span(path, cut_at, len(text))] if cut_at < len(text) else []
        found = [read([shard], CSV) for shard in shards]
        assert list(chain(*(rows.tolist() for rows, _ in found))) == rows.tolist()
        assert sum(bad.n for _, bad in found) == 6


def test_what_is_no_number_behind_a_bad_first_line_is_no_header(tmp_path):
    rows, bad = read(whole_files([put(tmp_path, b"1,2\na,b,c\n4,5,6\n")]), CSV)
    assert rows.tolist() == [[4, 5, 6]]
    assert bad.n == 2


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_each_bad_record_is_named_by_its_place(tmp_path, name):
    good = write_rows(numbered(100))
    path = put(tmp_path, gzip.compress(good + BAD_RECORDS[name] + good))
    rows, bad = read(whole_files([path]))
    assert len(rows) == 200
    [line] = bad.first
    assert line.startswith(f"{path}, record 100 at byte 3600: ")


def test_only_the_first_few_are_kept_and_all_are_counted(tmp_path):
    path = put(tmp_path, write_rows(np.full((5000, 3), np.nan, np.float32)))
    rows, bad = read(whole_files([path]), allowed=5000)
    assert len(rows) == 0
    assert bad.n == 5000
    assert [line.partition(":")[0] for line in bad.first] == [
        f"{path}, record {i} at byte {36 * i}" for i in range(5)
    ]


def test_one_more_than_allowed_is_refused_with_both_places(tmp_path):
    rows = numbered(20)
    rows[[3, 9, 17], 1] = np.nan
    path = put(tmp_path, write_rows(rows))
    found, bad = read(whole_files([path]), allowed=3)
    assert np.array_equal(found, np.delete(rows, [3, 9, 17], axis=0))
    assert bad.n == 3
    reason = "feature 1 is NaN or infinite as float32; every value must be a finite number"
    assert refusal(whole_files([path]), allowed=2) == (
        f"{path}, record 17 at byte 612: {reason}; this is bad record 3, and max_bad_records=2; "
        f"the first one was {path}, record 3 at byte 108: {reason}; mend them, or allow more"
    )
    assert refusal(whole_files([path]), allowed=0) == f"{path}, record 3 at byte 108: {reason}"


def test_they_are_counted_anew_in_every_pass(tmp_path):
    path = put(tmp_path, BAD_RECORDS["infinite"] + write_rows(numbered(3)))
    reader = BatchReader(whole_files([path]), 3, 2, max_bad_records=1)
    for _ in range(3):
        assert [len(batch) for batch in reader] == [2, 1]
        assert reader.bad.n == 1


def as_npy(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def test_rows_of_a_matrix_are_passed_over(tmp_path):
    rows = numbered(100_000).astype(np.float64)
    wrong = [0, 1, 50_000, 99_999]
    rows[wrong, [0, 1, 2, 0]] = [np.nan, np.inf, 1e39, -np.inf]
    path = put(tmp_path, as_npy(rows))
    found, bad = read(whole_files([path]), NPY, batch_rows=999)
    assert np.array_equal(found, np.delete(rows, wrong, axis=0))
    assert places(whole_files([path]), NPY, 999) == wrong
    assert [line.partition(":")[0] for line in bad.first] == [
        f"{path}, row {i + 1} at byte {128 + 24 * i}, column {j}"
        for i, j in zip(wrong, [1, 2, 3, 1], strict=True)
    ]


@pytest.mark.parametrize("kind", [pa.float64(), pa.int64(), pa.int8(), pa.bool_()])
def test_rows_of_parquet_are_passed_over(tmp_path, kind):
    values = pa.array([1, None, 0, 1, None], pa.int8()).cast(kind)
    numbers = [1.0, 2.0, float("nan"), 4.0, 5.0]
    table = pa.table({"x": values, "y": numbers, "z": [1, 2, 3, 4, 5]})
    file = io.BytesIO()
    parquet.write_table(table, file)
    path = put(tmp_path, file.getvalue())
    rows, bad = read(whole_files([path]), PARQUET, batch_rows=2)
    assert rows.tolist() == [[1, 1, 1], [1, 4, 4]]
    assert places(whole_files([path]), PARQUET, 2) == [1, 2, 4]
    assert bad.first == [
        f"{path}, row 2, column 'x': a value that is null",
        f"{path}, row 3, column 'y': a value that is NaN or infinite as float32",
        f"{path}, row 5, column 'x': a value that is null",
    ]


@pytest.mark.parametrize(
    ("content_type", "content", "message"),
    [
        (RECORDS, write_rows(numbered(9))[:-1], "record 8 at byte 288: the data ends inside"),
        (RECORDS, write_rows(numbered(9)) + b"oops", "record 9 at byte 324: no RecordIO record"),
        (RECORDS, MAGIC_BYTES + b"\xff\xff\xff\x1f", "record 0 at byte 0: the record says it is"),
        (RECORDS, gzip.compress(write_rows(numbered(9)), mtime=0)[:-1], "compressed byte "),
        (CSV, b'1,2,3\n"4,5,6\n7,8,9\n', "row 2 at byte 6: a quote that does not end on its"),
        (CSV, b"1,2,3\n" + b"1" * 3_000_000, "row 2 at byte 6: a line is longer than 65728 byt"),
        (CSV, write_rows(numbered(9)), "row 1 at byte 0: RecordIO records; ContentType must be"),
        (NPY, as_npy(numbered(9))[:-1], "the data end inside row 9 of 9"),
        (NPY, as_npy(np.ones((3, 4))), "4 columns; expected are 3 features"),
        (PARQUET, b"PAR1", "no Parquet file"),
    ],
)
def test_what_nothing_can_be_trusted_behind_is_never_passed_over(
    tmp_path, content_type, content, message
):
    path = put(tmp_path, content)
    text = refusal(whole_files([path]), content_type=content_type)
    assert text.startswith(str(path))
    assert message in text


def test_a_bad_first_record_is_no_matter_to_a_peek_where_it_may_be_passed_over(tmp_path):
    path = put(tmp_path, BAD_RECORDS["another width"] + write_rows(numbered(3)))
    with pytest.raises(WidthError):
        BatchReader(whole_files([path]), 3, 2).peek()
    BatchReader(whole_files([path]), 3, 2, max_bad_records=1).peek()
