"""One protobuf `Record` to one row; payloads are written out in the protobuf wire format."""

import struct

import numpy as np
import pytest

from onepass.errors import DecodeError
from onepass.formats.record_row import read_row, row_width

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
F32, F64, I32, BLOB = 2, 3, 7, 9  # field numbers of Value


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, wire_type, body):
    length = varint(len(body)) if wire_type == BYTES else b""
    return varint(number << 3 | wire_type) + length + body


def packed(number, values):
    return field(number, BYTES, b"".join(map(varint, values)))


def floats(*values, code="f"):
    return field(1, BYTES, struct.pack(f"<{len(values)}{code}", *values))


def feature(kind, tensor, name=b"values", number=1):
    return field(number, BYTES, field(1, BYTES, name) + field(2, BYTES, field(kind, BYTES, tensor)))


def sparse(values, keys, shape):
    return feature(F32, floats(*values) + packed(2, keys) + packed(3, shape))


@pytest.mark.parametrize(
    "payload",
    [
        feature(F32, floats(1.5, -2)),
        feature(F64, floats(1.5, -2, code="d")),
        feature(F32, floats(1.5, -2) + packed(3, [2])),
        feature(F32, floats(1.5, -2) + packed(3, [1, 2])),
        feature(F32, floats(1.5) + floats(-2)),
        feature(F32, b"".join(field(1, FIXED32, struct.pack("<f", v)) for v in (1.5, -2))),
        feature(F64, b"".join(field(1, FIXED64, struct.pack("<d", v)) for v in (1.5, -2))),
        feature(F32, floats(9, 9)) + feature(F32, floats(1.5, -2)),
        feature(F32, floats(1.5, -2)) + feature(F32, floats(7), number=2),
        feature(F32, floats(7), name=b"others") + feature(F32, floats(1.5, -2)),
        feature(F32, floats(1.5, -2)) + field(3, BYTES, b"a uid") + field(4, BYTES, b"{}"),
        feature(F32, floats(1.5, -2)) + field(5, BYTES, b"{}") + field(99, VARINT, b"\x01"),
        sparse([1.5, -2], [0, 1], [2]),
        sparse([-2, 1.5], [1, 0], [2]),
        sparse([-2, 1.5], [1, 0], [1, 2]),
        feature(
            F32,
            floats(-2, 1.5)
            + b"".join(field(2, VARINT, varint(key)) for key in (1, 0))
            + field(3, VARINT, varint(2)),
        ),
    ],
    ids=[
        "float32", "float64", "shape", "shape-of-two", "values-in-two-pieces", "unpacked-float32",
        "unpacked-float64", "last-of-two-wins", "label", "other-feature", "uid-metadata",
        "configuration-unknown", "sparse", "sparse-unsorted", "sparse-matrix", "unpacked-keys",
    ],
)  # fmt: skip
def test_every_way_to_write_one_row_reads_the_same(payload):
    np.testing.assert_array_equal(read_row(payload, 2), np.float32([1.5, -2]), strict=True)
    assert row_width(payload) == 2


@pytest.mark.parametrize("as_packed", [True, False])
def test_integers_are_read_with_their_sign(as_packed):
    numbers = [varint(3), varint(2**64 - 4), varint(2**31 - 1)]  # -4 is sent as ten bytes
    tensor = (
        field(1, BYTES, b"".join(numbers))
        if as_packed
        else b"".join(field(1, VARINT, number) for number in numbers)
    )
    np.testing.assert_array_equal(read_row(feature(I32, tensor), 3), [3, -4, 2147483648])


def test_float64_is_rounded_to_the_nearest_float32():
    row = read_row(feature(F64, floats(0.1, 1e-50, code="d")), 2)
    np.testing.assert_array_equal(row, np.float32([0.1, 0]), strict=True)


def test_a_sparse_row_is_zero_where_it_names_no_value():
    row = read_row(sparse([2, 5], [1, 3], [4]), 4)
    np.testing.assert_array_equal(row, np.float32([0, 2, 0, 5]), strict=True)


def test_a_sparse_row_without_values_is_all_zero():
    row = read_row(feature(F32, packed(3, [3])), 3)
    np.testing.assert_array_equal(row, np.float32([0, 0, 0]), strict=True)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\x0a", "no protobuf message"),
        (b"\xff" * 20, "no protobuf message"),
        (feature(F32, b"\x0a\x03abc"), "no protobuf message"),
        (b"", "no feature named 'values'; found: none"),
        (feature(F32, floats(1), name=b"value"), "no feature named 'values'; found: 'value'"),
        (feature(F32, floats(1), number=2), "no feature named 'values'; found: none"),
        (
            feature(F32, floats(1), name=b"\xff") + feature(F32, floats(1), name=b"a"),
            r"no feature named 'values'; found: 'a', b'\\xff'",
        ),
        (field(1, BYTES, field(1, BYTES, b"values")), "'values' holds nothing"),
        (feature(BLOB, field(1, BYTES, b"png")), "'values' holds bytes; accepted are float32"),
        (feature(F32, b""), "no values and no shape"),
        (feature(F32, packed(3, [0])), "no values and no shape"),
        (feature(F32, floats(1, 2, 3)), "has 3 features, expected 2"),
        (sparse([1], [0], [2**40]), "has 1099511627776 features, expected 2"),
        (feature(F32, floats(1, 2) + packed(3, [3])), r"shape \[3\] does not fit 2 values"),
        (feature(F32, floats(1, 2) + packed(3, [2] + [1] * 32)), "the shape has 33 extents"),
        (feature(F32, floats(1, 2) + packed(2, [0, 1])), "sparse .* gives no shape"),
        (sparse([1, 2], [0], [2]), "1 keys for 2 values"),
        (feature(F32, packed(2, [0]) + packed(3, [2])), "1 keys for 0 values"),
        (sparse([1, 2], [0, 2], [2]), r"key 2 lies outside shape \[2\]"),
        (sparse([1, 2], [0, 2**64 - 1], [2]), "key 18446744073709551615 lies outside"),
        (sparse([1, 2], [1, 1], [2]), "a key occurs twice"),
        (feature(F32, floats(0, float("nan"))), "feature 1 is NaN or infinite"),
        (feature(F32, floats(float("-inf"), 0)), "feature 0 is NaN or infinite"),
        (feature(F64, floats(0, 1e39, code="d")), "feature 1 is NaN or infinite as float32"),
        (sparse([float("inf")], [1], [2]), "feature 1 is NaN or infinite"),
    ],
)
def test_anything_else_is_refused_with_its_reason(payload, message):
    with pytest.raises(DecodeError, match=message):
        read_row(payload, 2)


def test_a_signalling_nan_is_refused_like_any_other():
    bits = struct.pack("<Q", 0x7FF0000000000001)
    with pytest.raises(DecodeError, match=r"feature 0 is NaN"):
        read_row(feature(F64, field(1, BYTES, bits)), 1)
