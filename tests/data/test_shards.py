"""Files cut into shards: every record in one of them, in order."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.data.batches import BatchReader
from onepass.data.shards import cut
from onepass.data.sources import Span, n_bytes_of, whole_files
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAGIC_BYTES, frame

MAGIC_FLOAT = np.frombuffer(MAGIC_BYTES, np.float32)[0]


def put(directory, *contents):
    paths = [directory / f"part-{i}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def rows_in(spans, n_features=3):
    batches = [batch.copy() for batch in BatchReader(spans, n_features, 7)]
    return np.concatenate(batches) if batches else np.empty((0, n_features), np.float32)


def numbered(n, n_features=3):
    return np.arange(n * n_features, dtype=np.float32).reshape(n, n_features)


@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=5), n_shards=st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_shards_are_a_partition_of_the_records_in_their_order(tmp_path_factory, sizes, n_shards):
    rows = numbered(sum(sizes))
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    files = put(
        tmp_path_factory.mktemp("shards"), *(write_rows(p) if len(p) else b"" for p in parts)
    )
    shards = cut(files, n_shards)
    assert len(shards) == n_shards
    assert np.array_equal(np.concatenate([rows_in(shard) for shard in shards]), rows)
    assert sum(n_bytes_of(shard) for shard in shards) == n_bytes_of(whole_files(files))


def test_shards_are_of_one_size_but_for_a_record(tmp_path):
    files = put(tmp_path, write_rows(numbered(1000)), write_rows(numbered(500)))
    counts = [len(rows_in(shard)) for shard in cut(files, 4)]
    assert max(counts) - min(counts) <= 1


def test_a_file_is_cut_into_as_many_spans_as_it_reaches_into_shards(tmp_path):
    files = put(tmp_path, write_rows(numbered(10)), write_rows(numbered(90)))
    first, second = cut(files, 2)
    assert [span.path for span in first] == files
    assert [span.path for span in second] == files[1:]
    assert first[1].stop == second[0].start


def test_the_magic_number_among_the_values_is_no_record(tmp_path):
    """Rows of nothing but the magic number, written as the SageMaker SDK does: not split."""
    rows = np.full((200, 12), MAGIC_FLOAT)
    [path] = put(tmp_path, write_rows(rows))
    shards = cut([path], 5)
    assert [len(rows_in(shard, 12)) for shard in shards] == [40] * 5


def test_split_records_are_not_torn(tmp_path):
    whole = write_rows(np.full((60, 3), MAGIC_FLOAT))
    size = len(whole) // 60
    length = struct.unpack_from("<I", whole, 4)[0]
    records = [whole[i * size + 8 : i * size + 8 + length] for i in range(60)]
    [path] = put(tmp_path, b"".join(frame(record, split=True) for record in records))
    counts = [len(rows_in(shard)) for shard in cut([path], 4)]
    assert sum(counts) == 60
    assert min(counts) > 10


@pytest.mark.parametrize("content", [b"x" * 999, write_rows(numbered(50))[4:]])
def test_what_holds_no_records_is_left_to_the_first_that_reads_it(tmp_path, content):
    [path] = put(tmp_path, content)
    spans = [span for shard in cut([path], 3) for span in shard]
    assert spans[0].start == 0
    assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]
    assert spans[-1].stop == len(content)


def test_one_shard_is_the_whole_files(tmp_path):
    [path] = put(tmp_path, write_rows(numbered(9)))
    assert cut([path], 1) == [[Span(path, 0, path.stat().st_size)]]
