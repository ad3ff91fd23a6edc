"""Which records have a layout that can be viewed, and where their numbers lie."""

import numpy as np
import pytest

from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import frame
from onepass.formats.wire import learn_layout

DENSE_WITH_LABEL = bytes.fromhex(
    "0a23d7ce 2c000000 0a16 0a06 76616c756573 120c 120a 0a08 0000c03f 00008041"
    "1212 0a06 76616c756573 1208 1206 0a04 00004040"
)  # the values at byte 24, the label at 48


def layout_of(framed):
    return learn_layout(framed, 8, 8 + int.from_bytes(framed[4:8], "little"))


def constant_bytes(layout):
    """List the places that records of this layout have in common."""
    return {
        place
        for start, piece, _ in layout.constants
        for place in range(start, start + piece.itemsize)
    }


def record(n_values=2, kind="float32_tensor", **members):
    message = Record(**members)
    getattr(message.features["values"], kind).values.extend(range(n_values))
    return message


def framed(message):
    return frame(message.SerializeToString())


def test_the_layout_of_a_record_with_label_is_found():
    layout = layout_of(DENSE_WITH_LABEL)
    assert (layout.stride, layout.values_start, layout.n_features) == (52, 24, 2)
    assert layout.dtype == np.dtype("<f4")
    assert constant_bytes(layout) == {*range(24), *range(32, 48)}


def test_padding_belongs_to_the_layout():
    message = record(uid="a")  # 24 bytes and the uid, which are three
    layout = layout_of(framed(message))
    assert (layout.stride, layout.values_start) == (36, 24)
    assert constant_bytes(layout) == {*range(24), *range(32, 36)}


@pytest.mark.parametrize("at", [0, 4, 8, 12, 23, 32, 47])
def test_a_record_that_differs_outside_its_numbers_does_not_match(at):
    layout = layout_of(DENSE_WITH_LABEL)
    other = bytearray(DENSE_WITH_LABEL * 5)
    other[3 * 52 + at] ^= 1
    assert layout.count_matching(np.frombuffer(other, np.uint8), 5) == 3


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 64, 65, 200])
def test_constants_of_any_length_are_compared_in_whole(n_bytes):
    text = "m" * n_bytes
    one = framed(record(metadata=text))
    layout = layout_of(one)
    assert constant_bytes(layout) == {*range(len(one))} - {*range(24, 32)}
    for at in range(32, len(one)):
        other = bytearray(one * 2)
        other[len(one) + at] ^= 1
        assert layout.count_matching(np.frombuffer(other, np.uint8), 2) == 1


@pytest.mark.parametrize("at", [24, 31, 48, 51])
def test_a_record_that_differs_in_its_numbers_matches(at):
    layout = layout_of(DENSE_WITH_LABEL)
    other = bytearray(DENSE_WITH_LABEL * 5)
    other[3 * 52 + at] ^= 1
    assert layout.count_matching(np.frombuffer(other, np.uint8), 5) == 5


def test_values_are_copied_from_where_they_lie():
    layout = layout_of(DENSE_WITH_LABEL)
    out = np.empty((3, 2), np.float32)
    layout.copy_values(np.frombuffer(DENSE_WITH_LABEL * 3, np.uint8), out)
    np.testing.assert_array_equal(out, [[1.5, 16]] * 3)


@pytest.mark.parametrize(
    ("framed_record", "dtype"),
    [
        (framed(record()), "<f4"),
        (framed(record(kind="float64_tensor")), "<f8"),
        (framed(record(uid="a", metadata="b", configuration="{}")), "<f4"),
        (write_rows(np.float64([[1, 2]]), np.float64([3])), "<f8"),
    ],
    ids=["float32", "float64", "strings", "float64-label"],
)
def test_dense_float_records_have_a_layout(framed_record, dtype):
    layout = layout_of(framed_record)
    assert (layout.n_features, layout.dtype) == (2, np.dtype(dtype))


@pytest.mark.parametrize(
    "framed_record",
    [
        framed(record(kind="int32_tensor")),
        write_rows([[0, 1]], sparse=True),
        write_rows(np.float32([[0, 1]]), np.array([3])),
        framed(Record()),
        frame(record(uid="a").SerializeToString())[:-1],
        frame(record().SerializeToString() * 2),
        frame(b"\x00" * 4),
        frame(b"\xff" * 30),
        frame(b"\x0a\xff\xff\x01"),
    ],
    ids=[
        "int32", "sparse", "int32-label", "empty", "padding-missing", "two-features", "zeros",
        "endless-varint", "length-beyond-the-end",
    ],
)  # fmt: skip
def test_other_records_have_none(framed_record):
    assert layout_of(framed_record) is None


def test_the_label_is_copied_too():
    layout = layout_of(DENSE_WITH_LABEL)
    labels = np.empty((2, layout.n_labels), np.float32)
    layout.copy_labels(np.frombuffer(DENSE_WITH_LABEL * 2, np.uint8), labels)
    assert labels.tolist() == [[3.0], [3.0]]


def test_a_label_of_another_name_is_none():
    message = record()
    message.label["other"].float32_tensor.values.append(1)
    assert layout_of(framed(message)).n_labels == 0
