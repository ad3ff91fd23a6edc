"""Files to batches: the same rows, however they are cut."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.data.batches import BatchReader, most_rows
from onepass.data.record_file import READ_BYTES
from onepass.data.sources import Span, whole_files
from onepass.errors import DecodeError, PlatformError, WidthError
from onepass.formats.record_writer import write_rows


def rows_of(n, n_features=3):
    return np.arange(n * n_features, dtype=np.float32).reshape(n, n_features)


def put(directory, *contents):
    paths = [directory / f"part-{i}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def batches(paths, n_features=3, batch_rows=4):
    return [batch.copy() for batch in BatchReader(whole_files(paths), n_features, batch_rows)]


def refusal(paths, **how):
    with pytest.raises(DecodeError) as caught:
        batches(paths, **how)
    return str(caught.value)


def test_batches_have_the_size_asked_for_and_the_last_one_the_rest(tmp_path):
    rows = rows_of(10)
    found = batches(put(tmp_path, write_rows(rows)))
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate(found), rows)
    assert found[0].dtype == np.float32


def test_batches_run_on_from_file_to_file(tmp_path):
    rows = rows_of(10)
    files = put(tmp_path, write_rows(rows[:3]), b"", write_rows(rows[3:5]), write_rows(rows[5:]))
    found = batches(files)
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate(found), rows)


def test_a_full_last_batch_is_not_followed_by_an_empty_one(tmp_path):
    assert [len(batch) for batch in batches(put(tmp_path, write_rows(rows_of(8))))] == [4, 4]


def test_rows_and_bytes_are_counted(tmp_path):
    data = write_rows(rows_of(10))
    reader = BatchReader(whole_files(put(tmp_path, data, data)), 3, 4)
    assert (reader.n_rows, reader.n_bytes) == (0, 0)
    for _ in reader:
        pass
    assert (reader.n_rows, reader.n_bytes) == (20, 2 * len(data))


def test_a_batch_larger_than_any_memory_is_no_larger_than_the_data(tmp_path):
    rows = rows_of(10)
    [batch] = batches(put(tmp_path, write_rows(rows)), batch_rows=2**60)
    assert np.array_equal(batch, rows)


@settings(max_examples=40, deadline=None)
@given(
    n_rows=st.integers(1, 40),
    n_features=st.integers(1, 5),
    batch_rows=st.integers(1, 50),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    kinds=st.lists(st.sampled_from(["f4", "f8", "i4", "sparse"]), min_size=5, max_size=5),
)
def test_any_size_of_batch_and_any_split_of_files_gives_the_same_rows(
    tmp_path_factory, n_rows, n_features, batch_rows, cuts, kinds
):
    rows = rows_of(n_rows, n_features)
    pieces = np.split(rows, sorted(min(cut, n_rows) for cut in cuts))
    contents = []
    for piece, kind in zip(pieces, kinds, strict=False):
        typed = piece if kind == "sparse" else piece.astype(kind)
        contents.append(write_rows(typed, sparse=kind == "sparse") if len(piece) else b"")
    found = batches(put(tmp_path_factory.mktemp("files"), *contents), n_features, batch_rows)
    assert np.array_equal(np.concatenate(found), rows)
    assert {len(batch) for batch in found[:-1]} <= {batch_rows}


def test_blocks_cut_records_anywhere_without_loss(tmp_path):
    rows = rows_of(70_000, 5)
    data = write_rows(rows, labels=np.zeros(len(rows), np.float32))
    assert len(data) > 3 * READ_BYTES
    assert np.array_equal(np.concatenate(batches(put(tmp_path, data), 5, 9999)), rows)


def test_a_record_longer_than_a_block_is_read(tmp_path):
    rows = rows_of(3, 300_000)
    assert rows[0].nbytes > READ_BYTES
    found = batches(put(tmp_path, write_rows(rows)), 300_000, 2)
    assert [len(batch) for batch in found] == [2, 1]
    assert np.array_equal(np.concatenate(found), rows)


@pytest.mark.parametrize("n_lost", [1, 4, 12, 27, 31])
def test_a_truncated_file_is_refused_by_file_record_and_byte(tmp_path, n_lost):
    data = write_rows(rows_of(5))  # records of 36 bytes
    assert len(data) == 180
    [path] = put(tmp_path, data[:-n_lost])
    left = 36 - n_lost
    assert refusal([path]) == (
        f"{path}, record 4 at byte 144: the data ends inside this record; {left} bytes of it are "
        "there: write it whole"
    )


def test_a_file_truncated_in_a_later_block_is_refused_by_record_and_byte(tmp_path):
    data = write_rows(rows_of(40_000))
    [path] = put(tmp_path, data[:-1])
    text = refusal([path], batch_rows=10_000)
    assert text.startswith(f"{path}, record 39999 at byte {39999 * 36}: ")


def test_a_truncated_file_is_not_completed_by_the_next_one(tmp_path):
    data = write_rows(rows_of(5))
    first, second = put(tmp_path, data[:100], data[100:])
    assert refusal([first, second]).startswith(f"{first}, record 2 at byte 72: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("record", [0, 1, 63, 2999])
def test_a_number_that_is_not_finite_is_refused_by_file_record_and_byte(tmp_path, value, record):
    rows = rows_of(3000)
    rows[record, 2] = value
    good, bad = put(tmp_path, write_rows(rows_of(2)), write_rows(rows))
    text = refusal([good, bad], batch_rows=500)
    assert text.startswith(f"{bad}, record {record} at byte {36 * record}: feature 2 is NaN or inf")


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("record", [0, 1, 100])
def test_a_record_of_another_width_is_refused_by_file_record_and_byte(tmp_path, width, record):
    data = (write_rows(rows_of(record)) if record else b"") + write_rows(rows_of(1, width))
    [path] = put(tmp_path, data)
    assert refusal([path]) == (
        f"{path}, record {record} at byte {36 * record}: the record has {width} features, "
        "expected 3"
    )


def test_bytes_that_are_no_records_are_refused(tmp_path):
    [path] = put(tmp_path, b"1,2,3\n4,5,6\n")
    assert re.match(rf"{path}, record 0 at byte 0: no RecordIO record starts here", refusal([path]))


def test_rows_before_a_broken_record_are_still_read(tmp_path):
    rows = rows_of(5)
    reader = iter(BatchReader(whole_files(put(tmp_path, write_rows(rows)[:-1])), 3, 2))
    assert np.array_equal(next(reader), rows[:2])
    assert np.array_equal(next(reader), rows[2:4])
    with pytest.raises(DecodeError):
        next(reader)


def test_a_file_that_has_vanished_is_an_error_of_the_platform(tmp_path):
    present, gone = put(tmp_path, write_rows(rows_of(16)), write_rows(rows_of(4)))
    reader = iter(BatchReader(whole_files([present, gone]), 3, 4))
    next(reader)  # what is read ahead ends before the second file
    gone.unlink()
    assert [len(next(reader)) for _ in range(3)] == [4, 4, 4]
    with pytest.raises(PlatformError, match=f"cannot open {gone}: No such file or directory"):
        next(reader)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_peek_checks_the_first_record_alone_whatever_its_width(tmp_path, sparse):
    data = write_rows(rows_of(1), sparse=sparse) + write_rows(rows_of(1, 2))
    files = put(tmp_path, b"", data)
    BatchReader(whole_files(files), 3, 1).peek()
    for n_features in (2, 2**31 - 1):
        with pytest.raises(WidthError, match=rf"part-1, record 0 at byte 0: .* {n_features}$"):
            BatchReader(whole_files(files), n_features, 1).peek()


def test_a_peek_reads_as_far_as_the_first_record_goes(tmp_path):
    rows = rows_of(2, READ_BYTES)
    BatchReader(whole_files(put(tmp_path, write_rows(rows))), READ_BYTES, 1).peek()
    with pytest.raises(DecodeError, match="the data ends inside this record"):
        BatchReader(whole_files(put(tmp_path, write_rows(rows)[:READ_BYTES])), READ_BYTES, 1).peek()


def test_files_never_hold_more_rows_than_the_most(tmp_path):
    files = put(tmp_path, write_rows(rows_of(10, 1)), b"", write_rows(rows_of(5, 1)))
    assert (
        15 <= most_rows(whole_files(files)) <= sum(path.stat().st_size for path in files) // 8 + 1
    )


def test_no_file_is_opened_to_tell_how_many_rows_there_may_be_where_they_are_enough(tmp_path):
    """A file of 1,600 bytes holds fewer than 201 rows; it is opened only where that matters."""
    spans = [Span(tmp_path / "not there", 0, 1600)]
    assert most_rows(spans, enough=201) > 2**60
    with pytest.raises(PlatformError):
        most_rows(spans, enough=202)


@pytest.mark.parametrize("n_rows", [1, 70])
def test_files_of_other_layouts_follow_one_another(tmp_path, n_rows):
    """What is known of one file does not mislead in the next."""
    rows = np.random.default_rng(5).random((9, n_rows, 3), np.float32)
    ways = [
        write_rows,
        lambda part: write_rows(part, np.arange(n_rows, dtype=np.float32)),
        lambda part: write_rows(part, sparse=True),
        lambda part: write_rows(part.astype(np.float64)),
    ]
    files = put(tmp_path, *(ways[i % 4](part) for i, part in enumerate(rows)))
    assert np.array_equal(np.concatenate(batches(files)), rows.reshape(-1, 3))


def test_places_count_within_a_file_whatever_came_before(tmp_path):
    good = write_rows(rows_of(5))
    files = put(tmp_path, good, good[:-1], good)
    assert f"{files[1]}, record 4 at byte 144: the data ends inside" in refusal(files)


def test_a_file_that_lacks_its_last_padding_takes_none_from_the_next(tmp_path):
    """This record has 31 bytes and one of padding."""
    rows = np.float32([[0, 2, 0, 5]])
    data = write_rows(rows, sparse=True)
    assert (len(data), data[4]) == (40, 31)
    found = batches(put(tmp_path, data[:-1], data, data[:-1]), n_features=4)
    assert np.array_equal(np.concatenate(found), np.repeat(rows, 3, axis=0))
