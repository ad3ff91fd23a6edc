"""Objects of channels: every reader of `onepass.data`, in pieces and at once."""

from __future__ import annotations

import gzip

import numpy as np
from checks import BrokenPromiseError, check_rows, everything, outcome, rows_of, same, smaller
from pieces import Pieces
from places import put

from onepass.data import csv_file, gzip_stream, npy_file, parquet_file, record_file
from onepass.data.sources import Span
from onepass.data.streams import FileStream, Opened, unfolded
from onepass.data.wrapped import unwrap
from onepass.data.zstd_stream import ZstdStream
from onepass.formats import records
from onepass.formats.sparse_room import SparseRoom

_UNFOLDED_BYTES = 2**20


def record_stream(how: int, content: bytes) -> None:
    """RecordIO-protobuf in blocks of a few bytes: what the whole gives, to the word."""
    width = how % 4 + 1

    def read(seed: int) -> np.ndarray:
        return rows_of(record_file.RecordFile(_opened(content, seed), width), width, seed)

    whole = outcome(read, 0)
    with smaller(record_file, READ_BYTES=50, _PAGE_BYTES=16):
        pieces = outcome(read, how + 1)
        peeked = outcome(record_file.RecordFile(_opened(content, how), width).peek)
    same(whole, pieces, "at once, and in pieces")
    if whole.refusal != pieces.refusal:
        raise BrokenPromiseError(f"refused with {whole.refusal!r} and with {pieces.refusal!r}")
    if not whole.refusal and peeked.value != bool(len(whole.value)):
        raise BrokenPromiseError(f"{len(whole.value)} rows where {peeked} was seen before")
    kept = outcome(_sparse_rows, content, width, how)
    same(whole, kept, "unfolded, and kept sparse")
    if whole.refusal != kept.refusal:
        raise BrokenPromiseError(f"refused with {whole.refusal!r} and with {kept.refusal!r}")
    if content:
        with smaller(records, MAX_MATRIX_VALUES=2**16):
            body = outcome(records.read_rows, content, width)
        if "unfold to more than" not in body.refusal:
            same(whole, body, "as a channel, and as a body")


def _sparse_rows(content: bytes, width: int, how: int) -> np.ndarray:
    file = record_file.RecordFile(_opened(content, how), width)
    room, rows = SparseRoom(how % 7 + 1, how % 11 + 1, width), [np.empty((0, width), np.float32)]
    while file.decode_sparse(room).n_rows or room.full:
        rows.append(room.take().dense())
    return np.concatenate(rows)


def csv_channel(how: int, content: bytes) -> None:
    """Comma-separated values in blocks of a few bytes: the rows of the whole."""
    width, label_size = how % 3 + 1, (None, 0, 1, 2)[how // 3 % 4]

    def read(seed: int) -> np.ndarray:
        return rows_of(csv_file.CsvFile(_opened(content, seed), width, label_size), width, seed)

    with smaller(csv_file, READ_BYTES=2**13):
        whole = outcome(read, 0)
    with smaller(csv_file, READ_BYTES=16 + how % 100):
        same(whole, outcome(read, how + 1), "at once, and in pieces")
        peeked = outcome(csv_file.CsvFile(_opened(content, how), width, label_size).peek)
    if not whole.refusal and len(whole.value):
        if peeked.value is not True:
            raise BrokenPromiseError(f"{len(whole.value)} rows where {peeked} was seen before")
        again = "".join(",".join(map(repr, row)) + "\n" for row in whole.value.tolist()).encode()
        read_again = rows_of(csv_file.CsvFile(_opened(again), width, 0), width)
        if not np.array_equal(read_again, whole.value):
            raise BrokenPromiseError(
                f"written and read again: {read_again!r} instead of {whole.value!r}"
            )


def npy_channel(how: int, content: bytes) -> None:
    """A matrix of NumPy in blocks of a few bytes: the rows of the whole."""
    width = how % 4 + 1

    def read(seed: int) -> np.ndarray:
        return rows_of(npy_file.NpyFile(_opened(content, seed), width), width, seed)

    whole = outcome(read, 0)
    with smaller(npy_file, _BYTES_AT_ONCE=20):
        same(whole, outcome(read, how + 1), "at once, and in pieces")
    peeked = outcome(npy_file.NpyFile(_opened(content, how), width).peek)
    if not whole.refusal and peeked.value != bool(len(whole.value)):
        raise BrokenPromiseError(f"{len(whole.value)} rows where {peeked} was seen before")


def parquet_channel(how: int, content: bytes) -> None:
    """A Parquet file in blocks of a few rows: the rows of the whole."""
    width, label_size = how % 3 + 1, (None, 0, 1)[how // 3 % 3]
    path = put(content)

    def read(seed: int) -> np.ndarray:
        stream = FileStream(Span(path, 0, len(content)))
        try:
            opened = Opened(stream, "file")
            return rows_of(parquet_file.ParquetFile(opened, width, label_size), width, seed)
        finally:
            stream.close()

    whole = outcome(read, 0)
    with smaller(parquet_file, _VALUES_AT_ONCE=7):
        same(whole, outcome(read, how + 1), "at once, and in pieces")


def gzip_members(how: int, content: bytes) -> None:
    """A stream of gzip: in pieces as at once, and as Python's own reader has it."""

    def read(seed: int) -> bytes:
        stream = gzip_stream.GzipStream(Pieces(content, seed))
        return everything(stream, _UNFOLDED_BYTES, 1000 if seed else 65536)

    whole = outcome(read, 0)
    with smaller(gzip_stream, _COMPRESSED_BYTES=20):
        same(whole, outcome(read, how + 1), "at once, and in pieces")
    as_a_whole = content and not whole.refusal and len(whole.value) < _UNFOLDED_BYTES
    if as_a_whole and gzip.decompress(content) != whole.value:
        raise BrokenPromiseError("Python's gzip unfolds something else")


def zstd_frames(how: int, content: bytes) -> None:
    """A stream of zstd frames: what is taken in pieces and at once is the same.

    A frame that ends with an empty block may say a wrong length: libzstd notices it only in a frame
    that comes in one piece.
    """

    def read(seed: int) -> bytes:
        stream = ZstdStream(Pieces(content, seed))
        return everything(stream, _UNFOLDED_BYTES, 1000 if seed else 65536)

    whole, pieces = outcome(read, 0), outcome(read, how + 1)
    if not whole.refusal and not pieces.refusal:
        same(whole, pieces, "at once, and in pieces")


def wrapped_pipe(how: int, content: bytes) -> None:
    """Records that wrap objects, compressed or not, of RecordIO-protobuf."""
    width = how % 4 + 1

    def read(seed: int) -> np.ndarray:
        found = [np.empty((0, width), np.float32)]
        for wrapped in unwrap(Pieces(content, seed), "pipe"):
            opened = Opened(unfolded(wrapped), "object")
            found.append(rows_of(record_file.RecordFile(opened, width), width, seed))
        return np.concatenate(found)

    whole = outcome(read, 0)
    with smaller(record_file, READ_BYTES=50, _PAGE_BYTES=16):
        same(whole, outcome(read, how + 1), "at once, and in pieces")
    if not whole.refusal and len(whole.value):
        check_rows(whole.value)


def _opened(content: bytes, seed: int = 0) -> Opened:
    return Opened(Pieces(content, seed), "object")
