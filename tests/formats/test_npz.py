"""Named arrays in a file that NumPy reads."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from onepass.errors import DecodeError
from onepass.formats.npz import read_arrays, write_arrays

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(3, dtype=np.float64),
    "c": np.empty((0, 5), np.float32),
    "d": np.arange(4, dtype=np.int32),
    "e": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
}


def written(about=b"{}", arrays=ARRAYS):
    file = io.BytesIO()
    write_arrays(file, about, arrays)
    return file.getvalue()


def archive(*members, how=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as out:
        for name, data in members:
            out.writestr(name, data)
    return file.getvalue()


def npy(array, **how):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **how)
    return file.getvalue()


def test_what_is_written_is_read():
    about, arrays = read_arrays(io.BytesIO(written(b'{"n": 1}')))
    assert json.loads(about) == {"n": 1}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_numpy_reads_it(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(written())
    with np.load(path, allow_pickle=False) as loaded:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(loaded[name], array)


def test_the_same_arrays_give_the_same_bytes():
    assert written() == written()


def test_it_is_written_into_something_that_only_takes_bytes_forward(tmp_path):
    path = tmp_path / "state"
    with path.open("wb") as file:
        write_arrays(file, b"{}", ARRAYS)
    assert path.read_bytes() == written()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_is_refused(share):
    data = written()
    with pytest.raises(DecodeError):
        read_arrays(io.BytesIO(data[: int(share * len(data))]))


def test_every_byte_that_is_turned_is_noticed_or_harmless():
    data = written(b'{"n": 1}')
    for i in range(len(data)):
        turned = bytearray(data)
        turned[i] ^= 0x10
        try:
            about, arrays = read_arrays(io.BytesIO(bytes(turned)))
        except DecodeError:
            continue
        assert about == b'{"n": 1}'
        for name, array in ARRAYS.items():
            if name in arrays:  # names are not in the checksum
                np.testing.assert_array_equal(arrays[name], array)


ABOUT = ("about.json", b"{}")
REFUSED = {
    "no zip archive": b"PK nothing",
    "no facts": archive(("a.npy", npy(np.zeros(3)))),
    "packed": archive(ABOUT, ("a.npy", npy(np.zeros(9999))), how=zipfile.ZIP_DEFLATED),
    "pickled": archive(ABOUT, ("a.npy", npy(np.array([{}], object), allow_pickle=True))),
    "texts": archive(ABOUT, ("a.npy", npy(np.array(["a"])))),
    "of the other byte order": archive(ABOUT, ("a.npy", npy(np.zeros(3, ">f4")))),
    "three dimensions": archive(ABOUT, ("a.npy", npy(np.zeros((2, 2, 2))))),
    "another version": archive(ABOUT, ("a.npy", npy(np.zeros(2), version=(2, 0)))),
    "no array": archive(ABOUT, ("a.npy", b"nothing")),
    "nothing": archive(ABOUT, ("a.npy", b"")),
    "shorter than it says": archive(ABOUT, ("a.npy", npy(np.zeros(9))[:-8])),
    "longer than it says": archive(ABOUT, ("a.npy", npy(np.zeros(9)) + b"12345678")),
    "many members": archive(ABOUT, *[(f"{i}.npy", npy(np.zeros(1))) for i in range(99)]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_such_file_is_refused(what):
    with pytest.raises(DecodeError):
        read_arrays(io.BytesIO(REFUSED[what]))


def test_a_shape_that_would_take_all_memory_is_refused_at_once():
    data = npy(np.zeros(3))
    header = data[10:].replace(b"'shape': (3,), }", b"'shape': (999999999,),}")[: len(data) - 10]
    with pytest.raises(DecodeError):
        read_arrays(io.BytesIO(archive(ABOUT, ("a.npy", data[:10] + header))))
