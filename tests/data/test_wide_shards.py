"""Files of records so long that a look into the file may meet none, and files that change."""

import os

import numpy as np
import pytest

from onepass.data.batches import BatchReader
from onepass.data.shards import cut
from onepass.data.sources import whole_files
from onepass.errors import DecodeError, PlatformError
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAGIC_BYTES

MAGIC_FLOAT = np.frombuffer(MAGIC_BYTES, np.float32)[0]


def first_values(shards, n_features):
    found = []
    for spans in shards:
        for batch in BatchReader(spans, n_features, 1):
            found += batch[:, 0].tolist()
    return found


@pytest.mark.parametrize("n_features", [140_000, 200_000, 300_000, 550_000])
@pytest.mark.parametrize("n_shards", [2, 3, 5, 7, 16])
def test_every_long_record_is_read_once(tmp_path, n_features, n_shards):
    rows = np.zeros((12, n_features), np.float32)
    rows[:, 0] = np.arange(12)
    path = tmp_path / "wide"
    path.write_bytes(write_rows(rows))
    assert first_values(cut([path], n_shards), n_features) == list(range(12))


def test_spans_follow_one_another_where_a_boundary_is_not_found(tmp_path):
    """Two MiB without records behind the first cut; records again behind the second."""
    path = tmp_path / "odd"
    path.write_bytes(write_rows(np.ones((10, 3), np.float32)) + bytes(2**22))
    with path.open("ab") as file:
        file.write(write_rows(np.ones((100_000, 3), np.float32)))
    for n_shards in range(2, 9):
        spans = [span for shard in cut([path], n_shards) for span in shard]
        assert spans[0].start == 0
        assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]
        assert spans[-1].stop == path.stat().st_size


@pytest.mark.parametrize("n_shards", [1, 2])
def test_a_file_that_has_become_shorter_is_not_taken_for_whole(tmp_path, n_shards):
    data = write_rows(np.ones((1000, 3), np.float32))
    path = tmp_path / "a"
    path.write_bytes(data)
    shards = cut([path], n_shards)
    os.truncate(path, len(data) // 4)  # between two records
    with pytest.raises(PlatformError, match="shorter"):
        first_values(shards, 3)


@pytest.mark.parametrize("n_shards", [1, 3])
def test_the_last_record_needs_no_padding(tmp_path, n_shards):
    """32 bytes of padding are more than a record of one feature has; strip what is zero."""
    data = write_rows(np.float32([[1], [2], [3]])).rstrip(b"\0")
    path = tmp_path / "a"
    path.write_bytes(data)
    try:
        whole = first_values([whole_files([path])], 1)
    except DecodeError:
        pytest.skip("the last byte of the record itself was zero")
    assert first_values(cut([path], n_shards), 1) == whole


def test_values_that_look_like_a_chain_of_records_are_values(tmp_path):
    """The magic number and 0 in turn are headers of empty records, as far as sixteen."""
    rows = np.zeros((50, 40), np.float32)
    rows[:, ::2] = MAGIC_FLOAT
    path = tmp_path / "a"
    path.write_bytes(write_rows(rows))
    assert len(first_values(cut([path], 3), 40)) == 50
