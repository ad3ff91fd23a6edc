"""Records to rows that stay sparse: what they unfold to is what the dense decoder gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onepass.errors import DecodeError
from onepass.formats import compiled
from onepass.formats.record_decoder import RecordDecoder
from onepass.formats.record_pb2 import Record
from onepass.formats.record_row import read_sparse_row
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import frame
from onepass.formats.sparse_room import SparseRoom

WIDTH = 5


@pytest.fixture(params=["c", "python"], autouse=True)
def way(request, monkeypatch):
    """Decode in C, and without."""
    if request.param == "python":
        monkeypatch.setattr("onepass.formats.sparse_room.is_compiled", lambda: False)
        monkeypatch.setattr("onepass.formats.wire.is_compiled", lambda: False)
    elif not compiled.is_compiled():
        pytest.skip("records.c was not compiled when this package was installed")
    return request.param


def decode(data, *, sparse, piece=None, n_values=10_000):
    """Decode a whole stream, given in pieces; returns the rows, or the error's text."""
    decoder, rows = RecordDecoder(WIDTH), []
    room = SparseRoom(64, n_values, WIDTH)
    out = np.empty((64, WIDTH), np.float32)
    there, left = np.frombuffer(data, np.uint8), 0
    stop = piece or len(there)
    try:
        while True:
            head = there[left:stop]
            done = decoder.decode_sparse(head, room) if sparse else decoder.decode(head, out)
            left += done.n_bytes
            rows.append(room.take().dense() if sparse else out[: done.n_rows].copy())
            if done.n_rows or len(rows[-1]):
                continue
            if stop >= len(there):
                decoder.finish(there[left:])
                break
            stop += piece
    except DecodeError as error:
        return str(error)
    return np.concatenate(rows)


rows_of_zeros = hnp.arrays(
    np.float32, (1, WIDTH), elements=st.sampled_from([0, 0, 0, 1.5, -2, 1e30, -0.0])
)
one_record = st.builds(
    lambda rows, sparse, kind: write_rows(rows.astype(kind), sparse=sparse),
    rows_of_zeros,
    st.booleans(),
    st.sampled_from(["f4", "f4", "f4", "f8"]),
)


@given(st.lists(one_record, min_size=1, max_size=12), st.integers(1, 200))
def test_rows_are_those_of_the_dense_decoder(parts, piece):
    data = b"".join(parts)
    dense = decode(data, sparse=False)
    assert dense.shape == (len(parts), WIDTH)
    np.testing.assert_array_equal(decode(data, sparse=True), dense)
    np.testing.assert_array_equal(decode(data, sparse=True, piece=piece), dense)
    np.testing.assert_array_equal(decode(data, sparse=True, n_values=3), dense)


@given(
    st.lists(one_record, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=4),
    st.integers(0, 200),
)
@settings(max_examples=600)
@example([write_rows(np.eye(1, WIDTH), sparse=True)] * 2, [(3, 0)], 0)
def test_any_bytes_give_what_the_dense_decoder_gives(parts, changes, n_cut):
    data = bytearray(b"".join(parts))
    for place, byte in changes:
        data[place % len(data)] = byte
    data = bytes(data[: len(data) - n_cut % len(data)])
    dense, sparse = decode(data, sparse=False), decode(data, sparse=True)
    if isinstance(dense, str):
        assert sparse == dense
    else:
        np.testing.assert_array_equal(sparse, dense)


def record_of(values, keys, shape=(WIDTH,)):
    record = Record()
    tensor = record.features["values"].float32_tensor
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)
    return frame(record.SerializeToString())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (record_of([1], [5]), "key 5 lies outside shape [5]"),
        (record_of([1, 2], [3, 3]), "a key occurs twice in the record"),
        (record_of([1, 2], [3]), "the record has 1 keys for 2 values"),
        (record_of([1, np.nan], [0, 4]), "feature 4 is NaN or infinite as float32"),
        (record_of([np.inf], [2]), "feature 2 is NaN or infinite as float32"),
        (record_of([1, np.inf, 0, 0, 0], []), "feature 1 is NaN or infinite as float32"),
        (record_of([1], [0], [6]), "the record has 6 features, expected 5"),
        (record_of([1], [0], []), "the record is sparse (it has keys) but gives no shape"),
        (record_of([], [], []), "the record has no values and no shape: it is empty"),
    ],
)
def test_what_is_wrong_with_a_record_is_said_with_its_place(record, message):
    first = write_rows(np.eye(1, WIDTH), sparse=True)
    text = decode(first + record + first, sparse=True)
    assert text.startswith(f"record 1 at byte {len(first)}: {message}")
    assert text == decode(first + record + first, sparse=False)


def test_keys_in_any_order_and_a_row_of_nothing():
    data = record_of([1, 2], [4, 0]) + record_of([], [])
    np.testing.assert_array_equal(
        decode(data, sparse=True), np.array([[2, 0, 0, 0, 1], [0] * 5], np.float32)
    )


def test_a_row_longer_than_the_room_is_taken_by_an_empty_one():
    room = SparseRoom(4, 2, WIDTH)
    data = np.frombuffer(record_of([1], [0]) + record_of([1, 2, 3, 4], range(4)), np.uint8)
    decoder = RecordDecoder(WIDTH)
    done = decoder.decode_sparse(data, room)
    assert (done.n_rows, room.full) == (1, True)
    assert len(room.take()) == 1
    first = len(record_of([1], [0]))
    assert decoder.decode_sparse(data[first:], room).n_rows == 1
    np.testing.assert_array_equal(room.take().dense(), [[1, 2, 3, 4, 0]])


def test_a_wide_row_takes_no_more_memory_than_its_values():
    record = Record()
    tensor = record.features["values"].float32_tensor
    tensor.values.append(3)
    tensor.keys.append(2**30)
    tensor.shape.append(2**30 + 1)
    row = read_sparse_row(record.SerializeToString(), 2**30 + 1)
    assert (row.columns.tolist(), row.values.tolist()) == ([2**30], [3])


def test_plain_records_need_no_protobuf_where_c_was_compiled(way, monkeypatch):
    parsed = []
    one = RecordDecoder._decode_one_sparse
    monkeypatch.setattr(
        RecordDecoder, "_decode_one_sparse", lambda *given: parsed.append(1) or one(*given)
    )
    rows = np.eye(200, WIDTH, dtype=np.float32)
    labels = np.arange(200, dtype=np.float32)
    for data in (write_rows(rows, sparse=True), write_rows(rows, labels, sparse=True)):
        parsed.clear()
        np.testing.assert_array_equal(decode(data, sparse=True), rows)
        assert (len(parsed) < 10) == (way == "c")
