"""RecordIO-protobuf exchanged with the SageMaker Python SDK (version 2) itself."""

import json
import subprocess

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from onepass.formats.answers import Answers
from onepass.formats.record_pb2 import DESCRIPTOR
from onepass.formats.record_writer import write_answers, write_rows
from onepass.formats.records import read_rows

pytestmark = pytest.mark.oracle

START = """
import io, json, os, sys
import numpy as np
import scipy.sparse
from sagemaker.amazon import common, record_pb2
folder = sys.argv[1]
"""

# Every array of rows is written dense and sparse, with and without its second column as label.
WRITE = """
for name, rows in np.load(folder + "/rows.npz").items():
    matrix = scipy.sparse.csr_matrix(rows)
    for labels, suffix in [(None, ""), (rows[:, 1].copy(), "-labelled")]:
        with open(folder + "/dense-" + name + suffix, "wb") as file:
            common.write_numpy_to_dense_tensor(file, rows, labels)
        with open(folder + "/sparse-" + name + suffix, "wb") as file:
            common.write_spmatrix_to_sparse_tensor(file, matrix, labels)
    with open(folder + "/request-" + name, "wb") as file:
        file.write(common.RecordSerializer().serialize(rows).read())
    for start, end in zip(matrix.indptr, matrix.indptr[1:]):
        matrix.indices[start:end] = matrix.indices[start:end][::-1].copy()
        matrix.data[start:end] = matrix.data[start:end][::-1].copy()
    with open(folder + "/unsorted-" + name, "wb") as file:
        common.write_spmatrix_to_sparse_tensor(file, matrix)
"""

# Print what each file of the folder holds: for each record its features and its labels.
READ = """
def numbers(entries):
    found = {}
    for name, value in entries.items():
        kind = value.WhichOneof("value")
        tensor = getattr(value, kind)
        found[name] = [kind, list(tensor.values), list(tensor.keys), list(tensor.shape)]
    return found

answers = {}
for file in os.listdir(folder):
    with open(os.path.join(folder, file), "rb") as stream:
        records = common.read_records(stream)
        stream.seek(0)
        again = common.RecordDeserializer().deserialize(stream, "application/x-recordio-protobuf")
    assert [r.SerializeToString() for r in records] == [r.SerializeToString() for r in again]
    answers[file] = [[numbers(record.features), numbers(record.label)] for record in records]
print(json.dumps(answers))
"""

ROWS = {
    "float32": np.float32([[1.5, 16, 0, 2], [0, 1e-30, 0, 3e38], [0, 0, 0, 0]]),
    "float64": np.float64([[1.5, 16, 0, 2], [0, 1 / 3, 0, 1e-300], [0, 0, 0, 0]]),
    "int64": np.int64([[1, -16, 0, 2], [0, 2**31 - 1, 0, -(2**31)], [0, 0, 0, 0]]),
}
KINDS = {"float32": "float32_tensor", "float64": "float64_tensor", "int64": "int32_tensor"}
every_type = pytest.mark.parametrize("dtype", ROWS)


@pytest.fixture(scope="module")
def sdk(oracle_python):
    python = oracle_python("sagemaker")

    def run(script, folder=""):
        command = [python, "-W", "ignore", "-c", START + script, folder]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    return run


@pytest.fixture(scope="module")
def written(sdk, tmp_path_factory):
    """Name the folder of what the SDK wrote."""
    folder = tmp_path_factory.mktemp("written")
    np.savez(folder / "rows.npz", **ROWS)
    sdk(WRITE, folder)
    return folder


@pytest.fixture(scope="module")
def understood(sdk, tmp_path_factory):
    """Say how the SDK understands what we wrote."""
    folder = tmp_path_factory.mktemp("ours")
    for dtype, rows in ROWS.items():
        (folder / f"dense-{dtype}").write_bytes(write_rows(rows))
        (folder / f"labelled-{dtype}").write_bytes(write_rows(rows, rows[:, 1]))
        (folder / f"sparse-{dtype}").write_bytes(write_rows(rows, sparse=True))
    answers = write_answers(Answers(np.array([1, 7]), np.float32([3, 0.5])))
    (folder / "answers").write_bytes(answers)
    return json.loads(sdk(READ, folder).splitlines()[-1])


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("form", ["dense", "sparse"])
@every_type
def test_rows_are_written_alike(written, form, dtype, labelled):
    rows = ROWS[dtype]
    data = (written / f"{form}-{dtype}{'-labelled' * labelled}").read_bytes()
    np.testing.assert_array_equal(read_rows(data), rows.astype(np.float32), strict=True)
    assert data == write_rows(rows, rows[:, 1] if labelled else None, sparse=form == "sparse")


@every_type
def test_sparse_rows_with_unsorted_keys_are_read(written, dtype):
    data = (written / f"unsorted-{dtype}").read_bytes()
    assert data != write_rows(ROWS[dtype], sparse=True)
    np.testing.assert_array_equal(read_rows(data), ROWS[dtype].astype(np.float32), strict=True)


@every_type
def test_the_requests_of_a_predictor_are_read(written, dtype):
    data = (written / f"request-{dtype}").read_bytes()
    np.testing.assert_array_equal(read_rows(data), ROWS[dtype].astype(np.float32), strict=True)


@every_type
def test_the_dense_rows_we_write_are_understood(understood, dtype):
    kind, rows = KINDS[dtype], ROWS[dtype].tolist()
    features = [{"values": [kind, row, [], []]} for row in rows]
    labels = [{"values": [kind, [row[1]], [], []]} for row in rows]
    assert understood[f"dense-{dtype}"] == [[features[i], {}] for i in range(3)]
    assert understood[f"labelled-{dtype}"] == [[features[i], labels[i]] for i in range(3)]


@every_type
def test_the_sparse_rows_we_write_are_understood(understood, dtype):
    kind, rows = KINDS[dtype], ROWS[dtype].tolist()
    assert understood[f"sparse-{dtype}"] == [
        [{"values": [kind, [rows[0][0], rows[0][1], rows[0][3]], [0, 1, 3], [4]]}, {}],
        [{"values": [kind, [rows[1][1], rows[1][3]], [1, 3], [4]]}, {}],
        [{"values": [kind, [], [], [4]]}, {}],
    ]


def test_the_answers_we_write_are_understood(understood):
    assert understood["answers"] == [
        [
            {},
            {
                "closest_cluster": ["float32_tensor", [cluster], [], []],
                "distance_to_cluster": ["float32_tensor", [distance], [], []],
            },
        ]
        for cluster, distance in [(1.0, 3.0), (7.0, 0.5)]
    ]


def test_the_schema_is_the_same_but_for_the_name_of_its_package(sdk):
    printed = sdk("print(record_pb2.DESCRIPTOR.serialized_pb.hex())").splitlines()[-1]
    theirs = FileDescriptorProto.FromString(bytes.fromhex(printed))
    ours = FileDescriptorProto.FromString(DESCRIPTOR.serialized_pb)
    assert (ours.package, theirs.package) == ("onepass.formats", "aialgs.data")
    assert ours.syntax == theirs.syntax
    assert len(theirs.message_type) == 6
    for our_message, their_message in zip(ours.message_type, theirs.message_type, strict=True):
        assert str(our_message).replace(ours.package, theirs.package) == str(their_message)
