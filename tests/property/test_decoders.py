"""For every decoder: any bytes give finite rows or the one decode error, in bounded memory."""

import contextlib
import csv
import gzip
import io
import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from places import put
from pyarrow import parquet

import onepass.formats.csv as onepass_csv
import onepass.formats.json as onepass_json
from onepass.data.sources import whole_files
from onepass.data.streams import FileStream, Opened, unfolded
from onepass.data.table_format import format_of
from onepass.data.wrapped import unwrap
from onepass.errors import DecodeError, WidthError
from onepass.formats import csv_blocks, json_blocks, ndarray, records
from onepass.formats import npy as formats_npy
from onepass.formats.media import RECORDIO_PROTOBUF, MediaType
from onepass.formats.record_decoder import RecordDecoder
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAX_FRAME_BYTES, frame, next_record

stable = settings(max_examples=150, deadline=None, derandomize=True, database=None)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
matrices = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=finite
)


def csv_body(rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows.tolist())
    return text.getvalue().encode()


def json_body(rows):
    return json.dumps({"instances": [{"features": row} for row in rows.tolist()]}).encode()


def json_sparse_body(rows):
    instances = [
        {"features": {"keys": keys, "shape": [len(row)], "values": row[keys].tolist()}}
        for row in rows
        for keys in [np.flatnonzero(row).tolist()]
    ]
    return json.dumps({"instances": [{"data": instance} for instance in instances]}).encode()


def json_lines_body(rows):
    return b"\n".join(json.dumps(row).encode() for row in rows.tolist())


def labelled(rows):
    return write_rows(rows, np.arange(len(rows), dtype=np.float32))


def float64(rows):
    return write_rows(rows.astype(np.float64))


def sparse(rows):
    return write_rows(rows, sparse=True)


def split_frames(rows):
    message = Record(uid="\x0a\x23")
    framed = b""
    for row in rows:
        message.features["values"].float32_tensor.values[:] = row
        framed += frame(message.SerializeToString(), split=True)
    return framed


def npy(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def as_parquet(rows):
    file = io.BytesIO()
    parquet.write_table(pa.table({str(i): column for i, column in enumerate(rows.T)}), file)
    return file.getvalue()


def zstd(rows):
    return pa.Codec("zstd").compress(write_rows(rows), asbytes=True)


def wrapped(rows):
    return b"".join(frame(write_rows(row[None]), split=True) for row in rows)


def channel(content_type, objects=lambda stream: [stream]):
    """Read an object of a channel that has rows, of whatever width, as one of that width."""
    table = format_of(content_type, "train")

    def read_as(width, data):
        rows, out = [np.empty((0, width), np.float32)], np.empty((5, width), np.float32)
        with contextlib.closing(FileStream(*whole_files([put(data)]))) as stream:
            for one in objects(stream):
                file = table.open(Opened(unfolded(one), "object"), width)
                while n_rows := file.decode(out).n_rows:
                    rows.append(out[:n_rows].copy())
        return np.concatenate(rows)

    def read(data):
        for width in range(1, 7):
            with contextlib.suppress(WidthError):
                if len(rows := read_as(width, data)):
                    return rows
        raise DecodeError("no rows of one to six features")

    return read


def body(read_blocks):
    """Read a body of rows, of whatever width, in pieces of three bytes."""

    def read(data):
        pieces = [data[i : i + 3] for i in range(0, len(data), 3)]
        for width in range(1, 7):
            try:
                return np.concatenate(list(read_blocks(pieces, width)))
            except DecodeError as error:
                if not isinstance(error, WidthError) and "features, expected" not in str(error):
                    raise
        raise DecodeError("no rows of one to six features")

    return read


class Decoder(NamedTuple):
    read: Callable[[bytes], np.ndarray]
    write: Callable[[np.ndarray], bytes]


DECODERS = {
    "csv": Decoder(onepass_csv.read_rows, csv_body),
    "csv-blocks": Decoder(body(csv_blocks.read_blocks), csv_body),
    "json-blocks": Decoder(body(json_blocks.read_blocks), json_body),
    "json-line-blocks": Decoder(body(json_blocks.read_line_blocks), json_lines_body),
    "record-blocks": Decoder(body(records.read_blocks), write_rows),
    "npy-blocks": Decoder(body(formats_npy.read_blocks), npy),
    "json": Decoder(onepass_json.read_rows, json_body),
    "json-sparse": Decoder(onepass_json.read_rows, json_sparse_body),
    "json-lines": Decoder(onepass_json.read_lines, json_lines_body),
    "records": Decoder(records.read_rows, write_rows),
    "records-labelled": Decoder(records.read_rows, labelled),
    "records-float64": Decoder(records.read_rows, float64),
    "records-sparse": Decoder(records.read_rows, sparse),
    "records-split": Decoder(records.read_rows, split_frames),
    "ndarray": Decoder(ndarray.read_centers, ndarray.write_centers),
    "channel-csv": Decoder(channel("text/csv;label_size=0"), csv_body),
    "channel-npy": Decoder(channel("application/x-npy"), npy),
    "channel-parquet": Decoder(channel("application/x-parquet;label_size=0"), as_parquet),
    "channel-records": Decoder(channel(RECORDIO_PROTOBUF), write_rows),
    "channel-gzip": Decoder(channel(RECORDIO_PROTOBUF), lambda x: gzip.compress(write_rows(x))),
    "channel-zstd": Decoder(channel(RECORDIO_PROTOBUF), zstd),
    "channel-wrapped": Decoder(channel(RECORDIO_PROTOBUF, lambda s: unwrap(s, "pipe")), wrapped),
}
every_decoder = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)


def assert_rows_or_refusal(decoder, data):
    try:
        rows = decoder.read(data)
    except DecodeError:
        return
    assert rows.dtype == np.float32
    assert rows.ndim == 2
    assert rows.size
    assert np.isfinite(rows).all()


@st.composite
def mutations(draw, data):
    """Flip, cut, insert, repeat: up to four times, at places of any part of the data."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 12, len(data))))
        piece = data[start:end]
        other = draw(
            st.sampled_from([b"", piece * 2, piece[::-1], bytes(len(piece)), b"\xff" * len(piece)])
            | st.binary(max_size=8)
            | st.integers(0, 7).map(
                lambda bit, piece=piece: bytes(byte ^ 1 << bit for byte in piece[:1]) + piece[1:]
            )
        )
        data = data[:start] + other + data[end:]
    return data


@every_decoder
@stable
@given(data=st.binary(max_size=200))
def test_any_bytes_give_rows_or_the_decode_error(decoder, data):
    assert_rows_or_refusal(decoder, data)


@pytest.mark.parametrize("name", ["csv", "json", "json-lines"])
@stable
@given(text=st.text(alphabet='0123456789.,-+eE\r\n\t []{}":featursvlkyhpindNI\x00é', max_size=60))
def test_any_text_gives_rows_or_the_decode_error(name, text):
    assert_rows_or_refusal(DECODERS[name], text.encode())


@stable
@given(payload=st.binary(max_size=80))
def test_any_framed_payload_gives_rows_or_the_decode_error(payload):
    assert_rows_or_refusal(DECODERS["records"], frame(payload))


@stable
@given(
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=5),
    magic=st.sampled_from([0xF993FAC8, 0xF993FAC9, 0xF993FACA]),
    number=st.integers(-1, 13),
    values=st.binary(max_size=64),
)
def test_any_head_of_an_array_gives_rows_or_the_decode_error(shape, magic, number, values):
    storage = b"" if magic == 0xF993FAC8 else bytes(4)
    head = struct.pack(f"<i{len(shape)}q3i", len(shape), *shape, 1, 0, number)
    listed = struct.pack("<QQQI", 0x112, 0, 1, magic) + storage + head + values + bytes(8)
    assert_rows_or_refusal(DECODERS["ndarray"], listed)


@every_decoder
@stable
@given(rows=matrices, random=st.data())
def test_damaged_data_gives_rows_or_the_decode_error(decoder, rows, random):
    assert_rows_or_refusal(decoder, random.draw(mutations(decoder.write(rows))))


@every_decoder
@stable
@given(rows=matrices)
@example(rows=np.float32([[3.4028235e38, -3.4028235e38, 1e-45, -0.0]]))
def test_what_was_encoded_is_decoded(decoder, rows):
    np.testing.assert_array_equal(decoder.read(decoder.write(rows)), rows, strict=True)


def decode_in_pieces(data, n_features, sizes, n_out_rows):
    """Feed a decoder pieces of the given sizes; return the rows, or the reason of the refusal."""
    decoder, rest, rows = RecordDecoder(n_features), b"", []
    out = np.empty((n_out_rows, n_features), np.float32)
    try:
        for size in [*sizes, len(data)]:
            rest, data = rest + data[:size], data[size:]
            n_rows = 1
            while n_rows:
                n_bytes, n_rows = decoder.decode(np.frombuffer(rest, np.uint8), out)
                rest = rest[n_bytes:]
                rows += out[:n_rows].tolist()
        decoder.finish(np.frombuffer(rest, np.uint8))
    except DecodeError as error:
        return str(error)
    return rows


writers = st.sampled_from([write_rows, labelled, float64, sparse, split_frames])


@stable
@given(
    parts=st.lists(
        st.tuples(writers, hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3)))),
        min_size=1,
        max_size=4,
    ),
    sizes=st.lists(st.integers(0, 100), max_size=30),
    n_out_rows=st.integers(1, 10),
    random=st.data(),
    damaged=st.booleans(),
)
def test_pieces_of_any_size_give_what_the_whole_gives(parts, sizes, n_out_rows, random, damaged):
    with np.errstate(invalid="ignore"):  # a signalling NaN made quiet
        data = b"".join(write(rows) for write, rows in parts)
    if damaged:
        data = random.draw(mutations(data))
    whole = decode_in_pieces(data, 3, [], 100)
    assert decode_in_pieces(data, 3, sizes, n_out_rows) == whole
    if isinstance(whole, list) and whole:
        np.testing.assert_array_equal(records.read_rows(data, 3), np.float32(whole), strict=True)


@stable
@given(payloads=st.lists(st.binary(max_size=30), max_size=5), split=st.booleans())
@example(payloads=[b"\x0a\x23\xd7\xce" * 3], split=True)
def test_frames_keep_any_payload(payloads, split):
    data = b"".join(frame(payload, split=split) for payload in payloads)
    found, start = [], 0
    while start < len(data):
        raw = next_record(memoryview(data), start, limit_bytes=MAX_FRAME_BYTES)
        found.append(bytes(raw.payload))
        start = raw.end
    assert found == payloads


@stable
@given(text=st.text(max_size=40) | st.text(alphabet='text/csv;=*0129"\\ \n', max_size=40))
def test_any_text_is_parsed_as_a_media_type_or_refused(text):
    media = MediaType.parse(text)
    assert ";" not in media.name
    try:
        label_size = media.label_size()
    except DecodeError:
        return
    assert label_size >= 0


def _sparse_record(shape):
    message = Record()
    tensor = message.features["values"].float32_tensor
    tensor.values.append(1)
    tensor.keys.append(0)
    tensor.shape.extend(shape)
    return frame(message.SerializeToString())


def _array_list(rank, extents=b""):
    return struct.pack("<QQQIii", 0x112, 0, 1, 0xF993FAC9, 0, rank) + extents


_FRAME_OF_2_29 = b"\x0a\x23\xd7\xce" + struct.pack("<I", 2**29 - 1) + bytes(1000)
_SPARSE_JSON = b'{"features": {"keys": [0], "shape": [%d], "values": [1]}}'
HOSTILE = {
    "a first record of 2**29 bytes": (records.read_rows, _FRAME_OF_2_29),
    "a later record of 2**29 bytes": (records.read_rows, write_rows([[1.0]]) + _FRAME_OF_2_29),
    "a sparse row of 2**40 features": (records.read_rows, _sparse_record([2**40])),
    "a sparse row of 2**64 features": (records.read_rows, _sparse_record([2**32, 2**32])),
    "a sparse row of a million extents": (records.read_rows, _sparse_record([1] * 10**6)),
    "many wide sparse rows": (
        lambda data: records.read_rows(data, 2**20),
        write_rows(np.eye(1, 2**10), sparse=True) * 10_000,
    ),
    "a sparse instance of 2**40 features": (
        onepass_json.read_rows,
        b'{"instances": [%s]}' % (_SPARSE_JSON % 2**40),
    ),
    "a promised width": (lambda data: onepass_json.read_lines(data, 3), _SPARSE_JSON % 2**28),
    "wide instances": (onepass_json.read_lines, b"\n".join([_SPARSE_JSON % 2**16] * 10_000)),
    "deep JSON": (onepass_json.read_rows, b"[" * 10**6),
    "an array of 2**62 x 2**62": (
        ndarray.read_centers,
        _array_list(2, struct.pack("<2q3i", 2**62, 2**62, 1, 0, 0)),
    ),
    "an array of no rows": (
        ndarray.read_centers,
        _array_list(2, struct.pack("<2q3i", 0, 2**62, 1, 0, 0)),
    ),
    "a million extents": (ndarray.read_centers, _array_list(10**6, b"\1" * 8 * 10**6)),
    "2**60 arrays": (ndarray.read_centers, struct.pack("<QQQ", 0x112, 0, 2**60) + bytes(1000)),
    "a header of a megabyte": (onepass_csv.read_rows, b"x" * 2**20 + b"\n1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_is_refused_in_bounded_memory(name):
    read, data = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24 + 4 * len(data)
