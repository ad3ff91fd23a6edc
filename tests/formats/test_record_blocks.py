"""Many records written and read at once are those that are written and read one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onepass.errors import DecodeError
from onepass.formats.compiled import is_compiled
from onepass.formats.record_blocks import dense_records, sparse_records
from onepass.formats.record_pb2 import Record
from onepass.formats.record_row import read_labelled
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import frame
from onepass.formats.sparse_room import SparseRoom
from onepass.sparse import SparseRows

RNG = np.random.default_rng(0)


def no_labels(n):
    return np.empty((n, 0), np.float32)


def random_rows(n, d, density):
    rows = np.where(RNG.random((n, d)) < density, RNG.normal(size=(n, d)), 0)
    return rows.astype(np.float32)


SHAPES = [(1, 1, 1.0), (3, 4, 0.5), (50, 300, 0.1), (5, 40_000, 0.02), (7, 20_000, 0.0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_records_are_those_written_one_by_one(shape):
    rows = random_rows(*shape)
    labels = RNG.normal(size=(len(rows), 1)).astype(np.float32)
    assert dense_records(rows, no_labels(len(rows))).tobytes() == write_rows(rows)
    assert dense_records(rows, labels).tobytes() == write_rows(rows, labels[:, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_records_are_those_written_one_by_one(shape):
    rows = random_rows(*shape)
    labels = RNG.normal(size=(len(rows), 1)).astype(np.float32)
    found = SparseRows.of_dense(rows)
    plain = sparse_records(found, no_labels(len(rows))).tobytes()
    assert plain == write_rows(rows, sparse=True)
    labelled = sparse_records(found, labels).tobytes()
    assert labelled == write_rows(rows, labels[:, 0], sparse=True)


def test_several_labels_stand_in_one_tensor():
    rows, labels = np.float32([[1, 0]]), np.float32([[7, 8, 9]])
    for data in (dense_records(rows, labels), sparse_records(SparseRows.of_dense(rows), labels)):
        record = Record.FromString(data.reshape(-1)[8 : 8 + data.reshape(-1)[4]].tobytes())
        assert list(record.label["values"].float32_tensor.values) == [7, 8, 9]


@pytest.mark.parametrize("n_labels", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_records_are_read_back(shape, n_labels):
    rows = random_rows(*shape)
    n, n_features = rows.shape
    labels = RNG.normal(size=(n, n_labels)).astype(np.float32)
    data = sparse_records(SparseRows.of_dense(rows), labels)
    found, of_rows, n_bytes = read_run(data, n_features, n_labels, n)
    np.testing.assert_array_equal(found.dense(), rows, strict=True)
    np.testing.assert_array_equal(of_rows, labels, strict=True)
    assert n_bytes == len(data)


def read_run(data, n_features, n_labels, most_records):
    if not is_compiled():
        pytest.skip("no compiler was there: records are read one by one")
    """Read records from the head of some bytes in C: rows, labels and bytes."""
    room = SparseRoom(most_records, 100_000, n_features, n_labels)
    n_bytes, n = room.take_plain(np.frombuffer(data, np.uint8))
    return room.take(), room.labels[:n], n_bytes


def run_of(payloads, n_features=4, n_labels=0):
    """Read good records, one of each payload, and a good one again."""
    good = write_rows([[0, 2, 0, 5]], sparse=True)
    return read_run(good + b"".join(map(frame, payloads)) + good, n_features, n_labels, 99)


def sparse(values=(2.0, 5.0), keys=(1, 3), shape=(4,), kind="float32_tensor"):
    record = Record()
    tensor = getattr(record.features["values"], kind)
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)
    return record


def with_uid():
    record = sparse()
    record.uid = "row"
    return record


def with_label():
    record = sparse()
    record.label["values"].float32_tensor.values.append(1)
    return record


@pytest.mark.parametrize(
    "record",
    [
        sparse(keys=(3, 1)),
        sparse(keys=(1, 1)),
        sparse(keys=(1, 4)),
        sparse(keys=(1, 2**63)),
        sparse(keys=(2**63, 1)),
        sparse(keys=(1,)),
        sparse(values=(1.0,)),
        sparse(values=(1.0, float("nan"))),
        sparse(values=(float("inf"), 1.0)),
        sparse(shape=(5,)),
        sparse(shape=(2, 2)),
        sparse(shape=()),
        sparse(kind="float64_tensor"),
        sparse(values=(2, 5), kind="int32_tensor"),
        with_uid(),
        with_label(),
        Record(),
    ],
)
def test_a_run_ends_before_a_record_of_another_form(record):
    rows, _, n_bytes = run_of([record.SerializeToString()])
    assert rows.dense().tolist() == [[0, 2, 0, 5]]
    assert n_bytes == len(write_rows([[0, 2, 0, 5]], sparse=True))


def test_a_key_of_six_bytes_is_not_taken_for_a_smaller_one():
    record = sparse(keys=(1, 2**35), shape=(2**30,))
    rows, _, _ = read_run(frame(record.SerializeToString()), 2**30, 0, 1)
    assert not len(rows)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_record_with_changed_bytes_is_never_read_wrongly(data):
    """What the run takes is what protobuf makes of the same bytes."""
    payload = bytearray(with_label().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))
    rows, labels, _ = read_run(frame(bytes(payload)), 4, 1, 1)
    if not len(rows):
        return
    row = read_labelled(bytes(payload))
    assert row.n_features == 4
    assert rows.columns.tolist() == row.columns.tolist()
    assert rows.values.tobytes() == row.values.tobytes()
    assert labels[0].tobytes() == row.labels.tobytes()


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 400)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
        fill=st.just(0.0),
    ),
    st.integers(0, 2),
)
@settings(deadline=None)
def test_any_rows_come_back(rows, n_labels):
    n = len(rows)
    labels = np.arange(n * n_labels, dtype=np.float32).reshape(n, n_labels)
    data = sparse_records(SparseRows.of_dense(rows), labels)
    found, of_rows, _ = read_run(data, rows.shape[1], n_labels, n)
    np.testing.assert_array_equal(found.dense(), rows)
    np.testing.assert_array_equal(of_rows, labels)


def test_a_record_that_is_cut_is_left():
    data = np.frombuffer(write_rows(np.eye(3, dtype=np.float32), sparse=True), np.uint8)
    for n_bytes in range(len(data)):
        rows, _, _ = read_run(data[:n_bytes], 3, 0, 9)
        assert len(rows) == sum(n_bytes >= end for end in _ends(data))


def _ends(data):
    """Where records end, their padding counted."""
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place + 4 : place + 8].tobytes(), "little")
        place += 8 + length + -length % 4
        yield place


def test_labelled_rows_are_read_with_sorted_keys():
    record = sparse(values=(5.0, 2.0), keys=(3, 1))
    record.label["values"].int32_tensor.values.extend([4, -4])
    row = read_labelled(record.SerializeToString())
    assert (row.columns.tolist(), row.values.tolist()) == ([1, 3], [2, 5])
    assert (row.n_features, row.labels.tolist(), row.is_sparse) == (4, [4, -4], True)


def test_a_row_of_zeros_is_sparse_and_one_with_values_is_dense():
    assert read_labelled(sparse((), ()).SerializeToString()).is_sparse
    assert not read_labelled(sparse((0, 1), (), (2,)).SerializeToString()).is_sparse


def test_a_label_that_is_no_number_is_refused():
    record = with_label()
    record.label["values"].float32_tensor.values[0] = float("nan")
    with pytest.raises(DecodeError, match=r"^label 0 is NaN or infinite as float32"):
        read_labelled(record.SerializeToString())
    record.label["values"].bytes.value.append(b"a")
    with pytest.raises(DecodeError, match=r"^label 'values' holds bytes"):
        read_labelled(record.SerializeToString())
