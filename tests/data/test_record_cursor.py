"""Records read in blocks, and decoded wherever those fail, are those of the files."""

from __future__ import annotations

import gzip
import threading
import time
from collections import deque
from contextlib import ExitStack, closing

import numpy as np
import pytest

from onepass.data.bad_records import BadRecords
from onepass.data.record_blocks import Memories, Place
from onepass.data.record_cursor import RecordCursor
from onepass.data.sources import Span, whole_files
from onepass.errors import DecodeError, PlatformError
from onepass.formats.record_writer import write_rows

D = 3


def rows_of(n, first=0):
    return (np.arange(n * D, dtype=np.float32) + 1000 * first).reshape(n, D)


STRIDE = len(write_rows(rows_of(1)))


def put(directory, *contents):
    paths = [directory / f"part-{i}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return whole_files(paths)


def memories(n=4, n_records=5, n_threads=3):
    made = []

    def new(n_bytes):
        made.append(n_bytes)
        return np.empty(n_bytes, np.uint8)

    return Memories(new, n, n_records * STRIDE, n_threads), made


@pytest.fixture
def cursor_of():
    """Make cursors that are closed in the end."""
    with ExitStack() as made:
        yield lambda sources, n_allowed=0: made.enter_context(
            closing(RecordCursor(sources, D, BadRecords(n_allowed)))
        )


def values_of(block):
    """Take the values out of the records, which end with them."""
    records = block.words.copy().reshape(-1, block.stride // 4)
    block.release()
    return records[:, -D:].view(np.float32)


def test_blocks_have_all_records_in_order_over_all_files(cursor_of, tmp_path):
    rows = rows_of(31)
    sources = put(
        tmp_path, write_rows(rows[:12]), b"", write_rows(rows[12:13]), write_rows(rows[13:])
    )
    cursor = cursor_of(sources)
    head = cursor.decode(2)
    assert (cursor.layout.stride, cursor.place) == (STRIDE, Place(0, 2 * STRIDE, 2, 2))
    given, made = memories()
    with closing(cursor.blocks(STRIDE, given)) as found:
        blocks = [(block.place, values_of(block)) for block in found]
    assert [len(values) for _, values in blocks] == [5, 5, 1, 5, 5, 5, 3]
    assert np.array_equal(np.concatenate([head, *(values for _, values in blocks)]), rows)
    assert blocks[3][0] == Place(3, 0, 0, 13)
    assert cursor.place == Place(4, 0, 0, 31)
    assert (cursor.n_left, cursor.bytes_before()) == (0, 31 * STRIDE)
    assert len(cursor.decode(5)) == 0
    assert 1 <= len(made) <= 4
    assert max(made) <= 5 * STRIDE


def test_memory_is_used_again_as_it_is_released(cursor_of, tmp_path):
    cursor = cursor_of(put(tmp_path, write_rows(rows_of(200))))
    given, made = memories(n=3)
    for _ in range(2):
        cursor.go_to(Place(0, 0, 0, 0))
        with closing(cursor.blocks(STRIDE, given)) as found:
            assert sum(len(values_of(block)) for block in found) == 200
    assert len(made) == 3


def test_it_goes_back_to_where_a_record_begins(cursor_of, tmp_path):
    rows = rows_of(40)
    sources = put(tmp_path, write_rows(rows[:20]), write_rows(rows[20:]))
    cursor = cursor_of(sources)
    given, _ = memories()
    with closing(cursor.blocks(STRIDE, given)) as found:
        block = [next(found) for _ in range(3)][-1]
        place = block.place_of(2)
    assert place == Place(0, 12 * STRIDE, 12, 12)
    cursor.go_to(place)
    assert np.array_equal(cursor.decode(10), rows[12:22])
    assert cursor.place == Place(1, 2 * STRIDE, 2, 22)


def test_what_is_less_than_a_record_is_left_to_be_decoded(cursor_of, tmp_path):
    rows, wide = rows_of(9), np.array([[7.5, 8.5, 9.5]], np.float32)
    odd = write_rows(wide, sparse=True)
    assert len(odd) % STRIDE
    sources = put(tmp_path, write_rows(rows[:7]) + odd, write_rows(rows[7:]))
    cursor = cursor_of(sources)
    given, _ = memories(n_records=50)
    with closing(cursor.blocks(STRIDE, given)) as found:
        counts = [len(block.words) * 4 // STRIDE for block in found]
    n_odd = len(odd) // STRIDE
    assert counts == [7 + n_odd]  # whoever tells records apart finds that the last is none
    cursor.go_to(Place(0, 7 * STRIDE, 7, 7))
    assert np.array_equal(cursor.decode(9), np.concatenate([wide, rows[7:]]))


def test_what_is_compressed_is_decoded(cursor_of, tmp_path):
    rows = rows_of(30)
    packed = gzip.compress(write_rows(rows[10:20]))
    sources = put(tmp_path, write_rows(rows[:10]), packed, write_rows(rows[20:]))
    cursor = cursor_of(sources)
    given, _ = memories()
    with closing(cursor.blocks(STRIDE, given)) as found:
        assert sum(len(values_of(block)) for block in found) == 10
    assert cursor.place == Place(1, 0, 0, 10)
    assert np.array_equal(cursor.decode(4), rows[10:14])
    assert cursor.is_amid_compressed
    assert cursor.bytes_before() == 10 * STRIDE
    assert np.array_equal(cursor.decode(8), rows[14:22])
    assert not cursor.is_amid_compressed
    assert cursor.place == Place(2, 2 * STRIDE, 2, 22)


def test_a_shard_begins_and_ends_amid_a_file(cursor_of, tmp_path):
    rows = rows_of(20)
    [whole] = put(tmp_path, write_rows(rows))
    cursor = cursor_of([Span(whole.path, 4 * STRIDE, 13 * STRIDE)])
    given, _ = memories(n_records=4)
    assert np.array_equal(cursor.decode(1), rows[4:5])
    with closing(cursor.blocks(STRIDE, given)) as found:
        assert np.array_equal(np.concatenate([values_of(block) for block in found]), rows[5:13])
    assert (cursor.n_left, cursor.bytes_before()) == (0, 9 * STRIDE)


def test_bad_records_are_named_as_if_all_before_had_been_decoded(cursor_of, tmp_path):
    good = write_rows(rows_of(20))
    [source] = put(tmp_path, good + write_rows(np.float32([[1, np.nan, 2]])) + good)
    cursor = cursor_of([source])
    cursor.go_to(Place(0, 17 * STRIDE, 17, 17))
    assert len(cursor.decode(3)) == 3
    with pytest.raises(DecodeError, match=rf"part-0, record 20 at byte {20 * STRIDE}.*NaN"):
        cursor.decode(1)
    cursor = cursor_of([source], n_allowed=1)
    cursor.go_to(Place(0, 19 * STRIDE, 19, 19))
    assert np.array_equal(cursor.decode(3), np.concatenate([rows_of(20)[19:], rows_of(2)]))
    assert cursor.place == Place(0, 23 * STRIDE, 23, 22)


def test_a_file_that_becomes_shorter_is_refused(cursor_of, tmp_path):
    [source] = put(tmp_path, write_rows(rows_of(20)))
    cursor = cursor_of([source])
    source.path.write_bytes(write_rows(rows_of(12)))
    given, _ = memories()
    with (
        closing(cursor.blocks(STRIDE, given)) as found,
        pytest.raises(PlatformError, match="shorter than it was"),
    ):
        deque(map(values_of, found), maxlen=0)


def test_bytes_are_counted_over_files_and_records_over_what_was_decoded(cursor_of, tmp_path):
    rows = rows_of(12)
    packed = gzip.compress(write_rows(rows[5:9]))
    cursor = cursor_of(put(tmp_path, write_rows(rows[:5]), packed, write_rows(rows[9:])))
    sizes = [5 * STRIDE, len(packed), 3 * STRIDE]
    for n, n_bytes in ((3, 3 * STRIDE), (4, sizes[0]), (3, sum(sizes[:2]) + STRIDE)):
        cursor.decode(n)
        assert (cursor.bytes_before(), cursor.n_left) == (n_bytes, sum(sizes) - n_bytes)
    assert cursor.decoded == (10 * STRIDE, 10)
    cursor.go_to(Place(0, 2 * STRIDE, 2, 2))
    cursor.decode(2)
    assert cursor.decoded == (12 * STRIDE, 12)


def test_threads_end_with_the_generator(cursor_of, tmp_path):
    cursor = cursor_of(put(tmp_path, write_rows(rows_of(500))))
    given, _ = memories()
    found = cursor.blocks(STRIDE, given)
    next(found)
    found.close()
    end = time.monotonic() + 5
    while any("read-blocks" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < end
    assert cursor.place == Place(0, 0, 0, 0)
