"""Bytes read forward: out of files, pipes, gzip and records that wrap objects."""

from __future__ import annotations

import gzip
import os
import struct
import threading
import time
import zlib
from contextlib import closing
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.data.ahead import Stop
from onepass.data.batches import BatchReader
from onepass.data.gzip_stream import GzipStream
from onepass.data.pipe_stream import PipeStream
from onepass.data.shards import cut, share
from onepass.data.sources import Pipe, Span, is_compressed, whole_files
from onepass.data.streams import OpenSource
from onepass.data.table_format import most_rows
from onepass.data.wrapped import unwrap
from onepass.data.zstd_stream import ZstdStream
from onepass.errors import DecodeError, PlatformError
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAGIC_BYTES, frame

SAID = b"It is a truth universally acknowledged. " * 40


class Memory:
    """A stream of bytes in memory, in pieces of some size."""

    def __init__(self, content, piece=2**20):
        self.content, self.piece, self.place, self.closed = content, piece, 0, False

    def head(self):
        return self.content[self.place : self.place + 4]

    def readinto(self, buffer):
        n = min(len(buffer), self.piece, len(self.content) - self.place)
        buffer[:n] = self.content[self.place : self.place + n]
        self.place += n
        return n

    def close(self):
        self.closed = True


def everything(stream, room=1000):
    found, buffer = b"", memoryview(bytearray(room))
    while n := stream.readinto(buffer):
        found += buffer[:n]
    return found


def objects(source):
    with closing(Stop()) as stop, OpenSource(source, stop) as opened:
        return [everything(one.stream) for one in opened.objects()]


def refusal(function, *arguments):
    with pytest.raises(DecodeError) as caught:
        function(*arguments)
    return str(caught.value)


def put(folder, content, name="data"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture
def pipe(tmp_path):
    """Make a pipe, and write to it in a thread."""
    path = tmp_path / "train_0"
    threads = []

    def fed(content, piece=2**16, late_s=0.0):
        def write():
            time.sleep(late_s)
            os.mkfifo(path)
            with path.open("wb", buffering=0) as file:
                for start in range(0, len(content), piece):
                    file.write(content[start : start + piece])

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        return path

    yield fed
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=3000), max_size=4),
    st.integers(1, 400),
    st.integers(1, 4000),
    st.integers(0, 5),
    st.integers(0, 9),
)
def test_gzip_members_are_unfolded_whatever_the_pieces(contents, piece, room, n_zeros, level):
    data = b"".join(gzip.compress(content, level) + bytes(n_zeros) for content in contents)
    assert everything(GzipStream(Memory(data, piece)), room) == b"".join(contents)


def test_what_unfolds_to_a_thousand_times_its_size_takes_no_more_memory():
    data = gzip.compress(bytes(50_000_000))
    stream, room = GzipStream(Memory(data)), memoryview(bytearray(10_000))
    n_bytes = 0
    while n := stream.readinto(room):
        n_bytes += n
        assert len(stream._pending) <= 2**18
    assert n_bytes == 50_000_000


def test_gzip_that_is_cut_short_is_refused_wherever_it_ends():
    data = gzip.compress(SAID)
    for n in range(1, len(data)):
        text = refusal(everything, GzipStream(Memory(data[:n])))
        assert text == (
            f"compressed byte {n}: the data ends inside a gzip member: it was cut short; compress "
            "the file anew"
        )


def test_a_broken_byte_in_gzip_is_never_passed_over():
    data = gzip.compress(SAID, mtime=0)
    for i in range(len(data)):
        broken = data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :]
        if 4 <= i < 10:  # of the header, the date, the effort and the system mean nothing
            assert everything(GzipStream(Memory(broken))) == SAID
        else:
            assert refusal(everything, GzipStream(Memory(broken))).startswith("compressed byte ")


@pytest.mark.parametrize("flags", range(32))
def test_a_gzip_header_may_be_cut_anywhere(flags):
    header = b"\x1f\x8b\x08" + bytes([flags, 0, 0, 0, 0, 0, 255])
    parts = ((4, b"\5\0extra"), (8, b"a name\0"), (16, b"a comment\0"))
    header += b"".join(part for flag, part in parts if flags & flag)
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    data = (header + gzip.compress(SAID)[10:]) * 2
    for piece in range(1, len(header) + 1):
        assert everything(GzipStream(Memory(data, piece))) == SAID * 2


def test_a_gzip_header_without_an_end_is_refused_before_it_fills_the_memory():
    data = b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 3_000_000
    assert "a gzip header is longer than 1048576 bytes" in refusal(
        everything, GzipStream(Memory(data))
    )


def test_what_follows_a_gzip_member_and_is_none_is_refused():
    text = refusal(everything, GzipStream(Memory(gzip.compress(SAID) + b"and more")))
    assert text.startswith("compressed byte 76: bytes 616e follow a gzip member and begin no other")
    data = gzip.compress(SAID) + b"\x1f\x8b" + b"not at all gzip"
    assert "the gzip data is broken" in refusal(everything, GzipStream(Memory(data)))


@pytest.mark.parametrize("kind", [GzipStream, ZstdStream])
def test_closing_closes_what_is_compressed(kind):
    inner = Memory(b"")
    kind(inner).close()
    assert inner.closed


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=3000)), st.integers(1, 400), st.integers(1, 4000))
def test_zstd_frames_are_unfolded_whatever_the_pieces(contents, piece, room):
    data = b"".join(map(zstd, contents))
    assert everything(ZstdStream(Memory(data, piece)), room) == b"".join(contents)


def test_zstd_that_is_cut_short_is_refused_wherever_it_ends():
    data = zstd(SAID)
    for n in range(1, len(data)):
        text = refusal(everything, ZstdStream(Memory(data[:n])))
        assert text.startswith(f"compressed byte {n}: the zstd data is broken or cut short (")


def test_what_follows_a_zstd_frame_and_is_none_is_refused():
    assert "is broken" in refusal(everything, ZstdStream(Memory(zstd(SAID) + b"and more")))


def test_a_file_that_fails_below_zstd_is_the_platforms_error(tmp_path):
    path = put(tmp_path, zstd(SAID))
    size = path.stat().st_size
    with pytest.raises(PlatformError, match="is 5 bytes shorter than it was"):
        objects(Span(path, 0, size + 5))


def test_zstd_is_told_by_its_first_bytes(tmp_path, pipe):
    assert objects(*whole_files([put(tmp_path, zstd(SAID) + zstd(b"x"), "a.txt")])) == [SAID + b"x"]
    assert objects(Pipe(pipe(zstd(SAID), piece=1))) == [SAID]
    assert is_compressed(tmp_path / "a.txt")


def test_a_part_of_a_file_is_read_and_no_more(tmp_path):
    path = put(tmp_path, bytes(range(100)))
    assert objects(Span(path, 10, 20)) == [bytes(range(10, 20))]
    assert objects(Span(path, 10, 10)) == [b""]
    assert objects(Span(path, 99, 100)) == [bytes([99])]


def test_a_file_that_has_become_shorter_is_told(tmp_path):
    path = put(tmp_path, bytes(100))
    with pytest.raises(PlatformError, match="is 20 bytes shorter than it was"):
        objects(Span(path, 0, 120))


@pytest.mark.parametrize("content", [b"", b"a", b"\x1f", b"\x1f\x8b"[::-1], SAID])
@pytest.mark.parametrize("piece", [1, 2, 3, 65536])
def test_a_pipe_gives_what_is_written_to_it(pipe, content, piece):
    assert objects(Pipe(pipe(content, piece))) == [content]


def test_a_pipe_that_appears_late_is_waited_for(pipe):
    assert objects(Pipe(pipe(SAID, late_s=0.3))) == [SAID]


def test_a_pipe_that_never_appears_is_given_up(tmp_path):
    with (
        closing(Stop()) as stop,
        pytest.raises(PlatformError, match="train_7 has not appeared within 0 s"),
    ):
        PipeStream(tmp_path / "train_7", stop, patience_s=0.1)


def test_what_a_pipe_brings_compressed_is_unfolded(pipe):
    path = pipe(gzip.compress(SAID) + gzip.compress(SAID), piece=1)
    assert objects(Pipe(path)) == [SAID + SAID]


@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_wrapped_objects_are_unwrapped_one_by_one(pipe, piece):
    contents = [b"", b"a", b"abcd", SAID, bytes(3) + MAGIC_BYTES * 3 + b"x", gzip.compress(SAID)]
    wrapped = b"".join(frame(content, split=i % 2 == 0) for i, content in enumerate(contents))
    assert objects(Pipe(pipe(wrapped, piece), wrapped=True)) == [*contents[:-1], SAID]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([MAGIC_BYTES, b"ab", b"\0", b"1234"]), max_size=9), max_size=5
    ),
    st.integers(1, 50),
)
def test_split_records_are_put_together(parts, piece):

    contents = [b"".join(part) for part in parts]
    wrapped = b"".join(frame(content, split=True) for content in contents)
    found = [everything(one, 3) for one in unwrap(Memory(wrapped, piece), "")]
    assert found == contents


def test_the_head_of_a_split_record_goes_on_from_frame_to_frame():
    first, last = (struct.pack("<4sI", MAGIC_BYTES, kind << 29 | 2) for kind in (1, 3))
    data = first + b"ab\0\0" + last + b"cd\0\0"
    for wrapped in unwrap(Memory(data), ""):
        assert wrapped.head() == wrapped.head() == b"ab" + MAGIC_BYTES[:2]
        assert everything(wrapped) == b"ab" + MAGIC_BYTES + b"cd"


def test_objects_that_are_not_read_to_their_end_are_passed_over(pipe):
    path = pipe(frame(SAID) + frame(b"second"))
    with closing(Stop()) as stop, OpenSource(Pipe(path, wrapped=True), stop) as source:
        heads = [one.stream.head() for one in source.objects()]
    assert heads == [b"It i", b"seco"]


@pytest.mark.parametrize(
    ("data", "where", "reason"),
    [
        (b"1,2,3\n4,5,6\n", 8, "found bytes 312c322c, .*; check RecordWrapperType"),
        (frame(b"abcd") + b"\x0a\x23", 14, "ends inside the header of a record"),
        (frame(b"abcdefgh")[:-3], 13, "ends inside a record; 3 bytes are missing"),
        (struct.pack("<4sI", MAGIC_BYTES, 3 << 29), 8, "a frame of kind 3 where a record must"),
        (struct.pack("<4sI", MAGIC_BYTES, 1 << 29), 8, "a frame of kind None inside a split"),
    ],
)
def test_what_is_not_wrapped_is_refused_by_byte(pipe, data, where, reason):
    path = pipe(data)
    with pytest.raises(DecodeError, match=f"^{path}, byte {where}: .*{reason}"):
        objects(Pipe(path, wrapped=True))


def rows_of(n):
    return np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)


def read(sources, batch_rows=100):
    return np.concatenate([batch.copy() for batch in BatchReader(sources, 3, batch_rows)])


def test_compressed_and_plain_files_give_the_same_rows(tmp_path):
    rows = rows_of(1000)
    first = put(tmp_path, gzip.compress(write_rows(rows[:400])), "a")
    second = put(tmp_path, write_rows(rows[400:]), "b")
    reader = BatchReader(whole_files([first, second]), 3, 64)
    assert np.array_equal(np.concatenate([batch.copy() for batch in reader]), rows)
    assert reader.n_bytes == first.stat().st_size + second.stat().st_size


def test_positions_in_messages_are_of_what_was_unfolded(tmp_path):
    rows = rows_of(10)
    rows[7, 1] = np.nan
    path = put(tmp_path, gzip.compress(write_rows(rows)))
    assert refusal(read, whole_files([path])).startswith(f"{path}, record 7 at byte 252: ")


def test_a_broken_file_is_named(tmp_path):
    path = put(tmp_path, gzip.compress(write_rows(rows_of(10)))[:-1])
    assert refusal(read, whole_files([path])).startswith(f"{path}, compressed byte ")


def test_nobody_knows_how_many_rows_are_compressed_or_in_a_pipe(tmp_path):
    plain, packed = put(tmp_path, write_rows(rows_of(9)), "a"), put(tmp_path, b"\x1f\x8b", "b")
    assert most_rows(whole_files([plain])) < 100
    assert most_rows(whole_files([plain, packed])) > 2**60
    assert most_rows([Pipe(tmp_path / "c")]) > 2**60


def test_a_compressed_file_is_not_cut(tmp_path):
    rows = rows_of(5000)
    path = put(tmp_path, gzip.compress(write_rows(rows), 0))  # stored: its records can be seen
    shards = cut([path], 3)
    assert sorted(map(len, shards)) == [0, 0, 1]
    assert np.array_equal(np.concatenate([read(shard) for shard in shards if shard]), rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 6))
def test_files_shared_out_whole_are_each_in_one_shard_in_order(tmp_path_factory, sizes, n_shards):
    folder = tmp_path_factory.mktemp("files")
    files = [put(folder, bytes(size), f"{i:02}") for i, size in enumerate(sizes)]
    shards = share(files, n_shards)
    assert len(shards) == n_shards
    assert [*chain(*shards)] == [span for span in whole_files(files) if span.stop]
    loads = [sum(span.stop for span in shard) for shard in shards]
    assert max(loads) <= sum(sizes) / n_shards + max(sizes, default=0)
