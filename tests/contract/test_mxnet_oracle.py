"""Model files exchanged with MXNet itself."""

import json
import struct
import subprocess

import numpy as np
import pytest

from onepass.formats.ndarray import read_arrays, read_centers, write_centers

pytestmark = pytest.mark.oracle

CENTERS = np.random.default_rng(20240229).standard_normal((8, 7)).astype(np.float32)
CONTAINERS = ["list", "bare", "dict"]
DTYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]
SHAPE = struct.pack("<qq", 8, 7)
CPU_FLOAT32 = struct.pack("<iii", 1, 0, 0)
OLD_HEADS = {
    "v1": struct.pack("<Ii", 0xF993FAC8, 2) + SHAPE,
    "oldest": struct.pack("<III", 2, 8, 7),
}

START = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import mxnet as mx
folder = sys.argv[1]
"""

# Read every file of the folder; print a dictionary of [names, [[values, type], ...]].
LOAD = """
import os
found = {}
for file in os.listdir(folder):
    loaded = mx.nd.load(os.path.join(folder, file))
    names = None if isinstance(loaded, list) else sorted(loaded)
    arrays = loaded if names is None else [loaded[name] for name in names]
    arrays = [array.asnumpy() for array in arrays]
    found[file] = [names, [[array.tolist(), str(array.dtype)] for array in arrays]]
print(json.dumps(found))
"""

SAVE = """
for file, values in np.load(folder + "/values.npz").items():
    array = mx.nd.array(values, dtype=values.dtype)
    mx.nd.save(folder + "/list-" + file, [array])
    mx.nd.save(folder + "/bare-" + file, array)
    mx.nd.save(folder + "/dict-" + file, {"centroids": array})
mx.npx.set_np()
mx.npx.save(folder + "/numpy-shapes", [mx.np.array(values.astype("float32"))])
"""


@pytest.fixture(scope="module")
def mxnet(oracle_python):
    python = oracle_python("mxnet")

    def run(script, folder):
        command = [python, "-c", START + script, folder]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    return run


@pytest.fixture(scope="module")
def saved(mxnet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    np.savez(folder / "values.npz", **{dtype: values_of(dtype) for dtype in DTYPES})
    mxnet(SAVE, folder)
    return folder


def values_of(dtype):
    return (10 * abs(CENTERS)).astype(dtype)


def test_mxnet_loads_the_centers_we_write_and_the_old_files_we_read(mxnet, tmp_path):
    (tmp_path / "ours").write_bytes(write_centers(CENTERS))
    for version, head in OLD_HEADS.items():
        data = struct.pack("<QQQ", 0x112, 0, 1) + head + CPU_FLOAT32 + CENTERS.tobytes() + bytes(8)
        (tmp_path / version).write_bytes(data)
        np.testing.assert_array_equal(read_centers(data), CENTERS, strict=True)
    loaded = json.loads(mxnet(LOAD, tmp_path).splitlines()[-1])
    assert sorted(loaded) == ["oldest", "ours", "v1"]
    for names, arrays in loaded.values():
        assert names is None
        assert [dtype for _, dtype in arrays] == ["float32"]
        np.testing.assert_array_equal(np.float32(arrays[0][0]), CENTERS, strict=True)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_we_read_what_mxnet_saves(saved, container, dtype):
    data = (saved / f"{container}-{dtype}").read_bytes()
    values = values_of(dtype)
    found = read_arrays(data)
    assert found.names == (["centroids"] if container == "dict" else [])
    np.testing.assert_array_equal(found.arrays[0], values, strict=True)
    np.testing.assert_array_equal(read_centers(data), values.astype(np.float32), strict=True)


def test_we_write_the_bytes_that_mxnet_saves(saved):
    assert (saved / "list-float32").read_bytes() == write_centers(values_of("float32"))


def test_we_read_what_mxnet_saves_with_numpy_shapes(saved):
    data = (saved / "numpy-shapes").read_bytes()
    assert data[24:28] == struct.pack("<I", 0xF993FACA)  # version 3
    np.testing.assert_array_equal(read_centers(data), values_of("int64").astype("f4"), strict=True)
