"""Files shared by hosts: every record is read by one worker of one host, in order."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.data.batches import BatchReader
from onepass.data.boundaries import find_line, find_record, uncut
from onepass.data.shards import ALONE, Host, cut, share
from onepass.data.sources import n_bytes_of, whole_files
from onepass.data.table_format import format_of
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAGIC_BYTES

RECORDIO, CSV, NPY = "application/x-recordio-protobuf", "text/csv;label_size=0", "application/x-npy"


def csv_of(rows):
    return b"".join(b"%d,%d,%d\n" % tuple(row) for row in rows)


def npy_of(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


WRITE = {RECORDIO: lambda rows: write_rows(rows) if len(rows) else b"", CSV: csv_of, NPY: npy_of}

files_of_rows = st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=6)
workers_of_hosts = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def put(directory, content_type, described):
    """Write files of numbered rows, some compressed; return them and all the rows."""
    sizes = [size for size, _ in described]
    rows = np.arange(3 * sum(sizes), dtype=np.float32).reshape(-1, 3)
    files = []
    for part, (_, packed) in zip(np.split(rows, np.cumsum(sizes)[:-1]), described, strict=True):
        content = WRITE[content_type](part)
        files.append(directory / f"part-{len(files):02}")
        files[-1].write_bytes(gzip.compress(content) if packed else content)
    return files, rows


def rows_in(spans, content_type):
    reader = BatchReader(spans, 3, 7, format_of(content_type, "train"))
    return [batch.copy() for batch in reader]


def joined(batches: Sequence[np.ndarray]):
    return np.concatenate([np.empty((0, 3), np.float32), *batches])


@pytest.mark.parametrize("content_type", [RECORDIO, CSV, NPY])
@given(described=files_of_rows, n_workers=workers_of_hosts)
@settings(deadline=None, max_examples=60)
def test_hosts_that_have_the_same_files_read_each_record_once(
    tmp_path_factory, content_type, described, n_workers
):
    """FullyReplicated; hosts may even have different numbers of workers."""
    files, rows = put(tmp_path_factory.mktemp("files"), content_type, described)
    boundary = format_of(content_type, "train").boundary
    found = []
    for i, n in enumerate(n_workers):
        shards = cut(files, n, boundary, host=Host(i, len(n_workers)))
        assert len(shards) == n
        found += [batch for spans in shards for batch in rows_in(spans, content_type)]
    assert np.array_equal(joined(found), rows)


@pytest.mark.parametrize("content_type", [RECORDIO, CSV])
@given(described=files_of_rows, n_workers=workers_of_hosts, data=st.data())
@settings(deadline=None, max_examples=40)
def test_hosts_that_have_files_of_their_own_read_all_of_them(
    tmp_path_factory, content_type, described, n_workers, data
):
    """ShardedByS3Key: some hosts may have no file."""
    files, rows = put(tmp_path_factory.mktemp("files"), content_type, described)
    owners = data.draw(
        st.lists(
            st.integers(0, len(n_workers) - 1), min_size=len(described), max_size=len(described)
        )
    )
    boundary, found = format_of(content_type, "train").boundary, []
    for i, n in enumerate(n_workers):
        mine = [file for file, owner in zip(files, owners, strict=True) if owner == i]
        shards = cut(mine, n, boundary, host=ALONE)
        found += [batch for spans in shards for batch in rows_in(spans, content_type)]
    read = joined(found)
    assert np.array_equal(read[read[:, 0].argsort()], rows)


@given(sizes=st.lists(st.integers(0, 50), max_size=12), n_workers=workers_of_hosts)
@settings(deadline=None, max_examples=40)
def test_whole_files_are_shared_out_over_hosts_in_order(tmp_path_factory, sizes, n_workers):
    """FastFile."""
    folder = tmp_path_factory.mktemp("files")
    files = [folder / f"{i:02}" for i in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        file.write_bytes(bytes(size))
    shards = [
        spans
        for i, n in enumerate(n_workers)
        for spans in share(files, n, host=Host(i, len(n_workers)))
    ]
    spans = [span for shard in shards for span in shard]
    assert spans == [span for span in whole_files(files) if span.stop]


@pytest.mark.parametrize("host", range(5))
def test_a_host_looks_only_for_the_cuts_of_its_own_shards(tmp_path, host):
    files, _ = put(tmp_path, RECORDIO, [(1000, False)] * 20)
    asked = []

    def counted(path, at, size):
        asked.append(path)
        return find_record(path, at, size)

    shards = cut(files, 3, counted, host=Host(host, 5))
    assert len(asked) <= 4
    assert {span.path for spans in shards for span in spans} == {*files[4 * host : 4 * host + 4]}


def test_shares_of_hosts_are_of_one_size(tmp_path):
    files, _ = put(tmp_path, RECORDIO, [(1200, False), (300, False)])
    counts = [
        len(joined(rows_in(spans, RECORDIO)))
        for host in range(3)
        for spans in cut(files, 2, host=Host(host, 3))
    ]
    assert sum(counts) == 1500
    assert max(counts) - min(counts) <= 1


def test_a_file_that_is_not_cut_goes_where_most_of_it_would():
    """Of 100 bytes, byte 50 is the last one nearer to the beginning, or as near."""
    assert [uncut(None, at, 100) for at in (1, 50, 51, 99)] == [0, 0, 100, 100]


def test_two_compressed_files_are_for_two_hosts_whichever_is_larger(tmp_path):
    for sizes in ((400, 600), (600, 400)):
        files, _ = put(tmp_path, CSV, [(size, True) for size in sizes])
        shards = [cut(files, 1, find_line, host=Host(i, 2))[0] for i in range(2)]
        assert shards == [[span] for span in whole_files(files)]


@given(
    content=st.lists(
        st.one_of(
            st.just(MAGIC_BYTES),
            st.sampled_from([0, 4, 8, 2**29]).map(lambda n: MAGIC_BYTES + n.to_bytes(4, "little")),
            st.binary(max_size=9),
            st.just(write_rows(np.float32([[1, 2, 3]]))),
        ),
        max_size=40,
    ).map(b"".join)
)
@settings(deadline=None, max_examples=100)
def test_what_is_found_does_not_depend_on_where_the_search_begins(tmp_path_factory, content):
    """So cuts never cross, whoever makes them: the first found behind a byte is so for all."""
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(content)
    found = [find_record(path, at, len(content)) for at in range(1, len(content))]
    for at, place in enumerate(found, start=1):
        assert place >= at
        assert {*found[at - 1 : place - 1]} <= {place}


@pytest.mark.parametrize("before", [2**20 - 4, 2**20 - 3, 2**20, 3 * 2**20 + 12])
def test_records_are_found_behind_any_number_of_bytes_that_are_none(tmp_path, before):
    path = tmp_path / "file"
    path.write_bytes(bytes(before) + bytes(-before % 4) + write_rows(np.ones((3, 3), np.float32)))
    assert find_record(path, 4, path.stat().st_size) == before + -before % 4


def test_the_bytes_of_all_shards_are_those_of_the_files(tmp_path):
    files, _ = put(tmp_path, CSV, [(0, False), (100, True), (1, False), (77, False)])
    shards = [spans for i in range(3) for spans in cut(files, 4, find_line, host=Host(i, 3))]
    assert sum(map(n_bytes_of, shards)) == n_bytes_of(whole_files(files))
