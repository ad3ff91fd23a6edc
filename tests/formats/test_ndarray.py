"""MXNet list files, against a dump of ``mx.nd.save`` and bytes put together by hand."""

import struct

import numpy as np
import pytest

from onepass.errors import DecodeError
from onepass.formats.ndarray import read_arrays, read_centers, write_centers

SAVED = bytes.fromhex(
    "1201 0000 0000 0000 0000 0000 0000 0000"
    "0100 0000 0000 0000 c9fa 93f9 0000 0000"
    "0200 0000 0200 0000 0000 0000 0300 0000"
    "0000 0000 0100 0000 0000 0000 0000 0000"
    "0000 0000 0000 803f 0000 0040 0000 4040"
    "0000 8040 0000 a040 0000 0000 0000 0000"
)  # mx.nd.save(file, [mx.nd.array([[0, 1, 2], [3, 4, 5]])]), MXNet 1.9.1
CENTERS = np.float32([[0, 1, 2], [3, 4, 5]])

V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
CPU, GPU_3 = (1, 0), (2, 3)


def shaped(*shape):
    return struct.pack(f"<i{len(shape)}q", len(shape), *shape)


def typed(number, values, device=CPU):
    return struct.pack("<iii", *device, number) + np.asarray(values).tobytes()


def array(number=0, values=CENTERS, magic=V2, shape=(2, 3), device=CPU):
    storage = b"" if magic == V1 else struct.pack("<i", 0)
    return struct.pack("<I", magic) + storage + shaped(*shape) + typed(number, values, device)


def legacy(values=CENTERS):
    return struct.pack("<III", 2, *values.shape) + typed(0, values)


def listed(*arrays, names=()):
    tail = struct.pack("<Q", len(names))
    for name in names:
        tail += struct.pack("<Q", len(name)) + name
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(arrays) + tail


def test_centers_are_written_byte_for_byte_as_mxnet_writes_them():
    assert write_centers(CENTERS) == SAVED
    assert write_centers(CENTERS.astype(np.float64)) == SAVED
    assert write_centers(np.asfortranarray(CENTERS)) == SAVED


def test_a_file_takes_72_bytes_and_four_a_value():
    assert len(write_centers(np.zeros((8, 7), np.float32))) == 72 + 4 * 8 * 7


@pytest.mark.parametrize(
    "data",
    [
        SAVED,
        listed(array()),
        listed(array(magic=V1)),
        listed(array(magic=V3)),
        listed(legacy()),
        listed(array(device=GPU_3)),
        listed(array(), names=[b"centroids"]),
        listed(array(), names=["Zentren größer".encode()]),
        listed(array(), names=[b""]),
        listed(array(1, CENTERS.astype("<f8"))),
        listed(array(2, CENTERS.astype("<f2"))),
        listed(array(3, CENTERS.astype("u1"))),
        listed(array(4, CENTERS.astype("<i4"))),
        listed(array(5, CENTERS.astype("i1"))),
        listed(array(6, CENTERS.astype("<i8"))),
    ],
    ids=[
        "dump", "v2", "v1", "v3", "oldest", "gpu", "name", "utf-8-name", "empty-name", "float64",
        "float16", "uint8", "int32", "int8", "int64",
    ],
)  # fmt: skip
def test_every_version_and_type_is_read(data):
    np.testing.assert_array_equal(read_centers(data), CENTERS, strict=True)


def test_several_arrays_keep_their_names_types_and_shapes():
    eight = np.arange(8, dtype="<i8")
    found = read_arrays(
        listed(
            array(6, eight, shape=(2, 2, 2)),
            array(magic=V3, shape=(), values=np.float32(7)),
            names=[b"b", b"a"],
        )
    )
    assert found.names == ["b", "a"]
    np.testing.assert_array_equal(found.arrays[0], eight.reshape(2, 2, 2), strict=True)
    np.testing.assert_array_equal(found.arrays[1], np.float32(7), strict=False)
    assert found.arrays[1].shape == ()


def test_an_empty_list_is_a_list_but_no_model():
    assert read_arrays(listed()) == ([], [])
    with pytest.raises(DecodeError, match=r"^the file holds 0 arrays"):
        read_centers(listed())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "^byte 0: 24 bytes are needed here, 0 are left"),
        (b"PK\x03\x04" + SAVED, "^this is no MXNet NDArray list file"),
        (b"\x93NUMPY" + bytes(100), "no MXNet NDArray list file"),
        (SAVED + b"\0", "^byte 96: 1 bytes follow the end"),
        (listed(array(), array()), "holds 2 arrays; a model is one matrix"),
        (listed(array(shape=(6,))), r"shape \[6\]; centers are \[n_clusters, n_features\]"),
        (listed(array(shape=(1, 2, 3))), r"shape \[1, 2, 3\]; centers are"),
        (listed(array(), names=[b"a", b"b"]), "holds 1 arrays but 2 names"),
        (listed(array(), names=[b"\xff"]), "no UTF-8"),
        (struct.pack("<QQQ", 0x112, 0, 2**62), "says it holds 4611686018427387904 arrays"),
        (struct.pack("<QQQQ", 0x112, 0, 0, 2**62), "holds 0 arrays but 4611686018427387904 names"),
        (listed(array(), names=[b"a"])[:-2] + b"\xff\xff", "are needed here, 1 are left"),
        (listed(struct.pack("<Ii", V2, 1) + shaped(1)), "storage type 1 is sparse"),
        (listed(struct.pack("<Ii", V2, 2) + shaped(1)), "storage type 2 is sparse"),
        (listed(struct.pack("<Iii", V2, 0, 0)), "is empty"),
        (listed(struct.pack("<Ii", V1, 0)), "is empty"),
        (listed(struct.pack("<Iii", V3, 0, -1)), "is empty"),
        (listed(struct.pack("<I", 0)), "is empty"),
        (listed(struct.pack("<Iii", V2, 0, -1)), "an array of -1 dimensions"),
        (listed(struct.pack("<Iii", V3, 0, -2)), "an array of -2 dimensions"),
        (listed(struct.pack("<Iii", V2, 0, 10**6)), "1000000 dimensions; at most 32"),
        (listed(struct.pack("<I", 33)), "33 dimensions; at most 32"),
        (listed(array(shape=(-2, -3))), r"shape \[-2, -3\] has an extent below 1"),
        (listed(array(shape=(0, 2**62))), "has an extent below 1"),
        (listed(array(shape=(2**62, 2**62))), "bytes are needed here, 32 are left"),
        (listed(array(shape=(2, 9))), "^byte 64: 72 bytes are needed here, 32 are left"),
        (listed(array(7)), "type number 7 is not read; 0 to 6 are"),
        (listed(array(12)), "type number 12"),
        (listed(array(-1)), "type number -1"),
    ],
)
def test_anything_else_is_refused_with_its_reason(data, message):
    with pytest.raises(DecodeError, match=message):
        read_centers(data)


@pytest.mark.parametrize("length", range(len(SAVED)))
def test_a_file_cut_short_anywhere_is_refused(length):
    with pytest.raises(DecodeError, match=r"are needed here|more than it has bytes for"):
        read_centers(SAVED[:length])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_centers_that_are_no_numbers_are_refused_with_their_place(bad):
    values = np.float64([[0, 1, 2], [3, bad, 5]])
    with pytest.raises(DecodeError, match=r"center 1, feature 1 is NaN or infinite as float32"):
        read_centers(listed(array(1, values)))


def test_a_signalling_nan_is_refused_like_any_other():
    bits = struct.pack("<Q", 0x7FF0000000000001)
    with pytest.raises(DecodeError, match=r"center 0, feature 0 is NaN"):
        read_centers(listed(array(1, np.frombuffer(bits, "<f8"), shape=(1, 1))))
