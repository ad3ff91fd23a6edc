"""What `onepass convert` writes, against the SageMaker Python SDK (version 2) itself."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

pytestmark = pytest.mark.oracle

COMMAND = [sys.executable, "-m", "onepass.cli.main", "convert"]
RNG = np.random.default_rng(0)
ROWS = np.where(RNG.random((500, 300)) < 0.2, RNG.normal(size=(500, 300)), 0).astype(np.float32)
ROWS[7] = 0
LABELS = RNG.integers(-2, 5, len(ROWS)).astype(np.float32)

SCRIPT = """
import json, sys
import numpy as np
import scipy.sparse
from sagemaker.amazon import common
folder = sys.argv[1]
table = np.load(folder + "/in.npy")
labels, rows = table[:, 0].copy(), table[:, 1:].copy()
with open(folder + "/theirs-dense", "wb") as file:
    common.write_numpy_to_dense_tensor(file, rows, labels)
with open(folder + "/theirs-sparse", "wb") as file:
    common.write_spmatrix_to_sparse_tensor(file, scipy.sparse.csr_matrix(rows), labels)
with open(folder + "/theirs-bare", "wb") as file:
    common.write_numpy_to_dense_tensor(file, rows)
for name in ("dense", "sparse", "bare"):
    with open(folder + f"/{name}.pbr", "rb") as file:
        found = common.read_records(file)
    for i, record in enumerate(found):
        tensor = record.features["values"].float32_tensor
        row = np.zeros(rows.shape[1], np.float32)
        row[list(tensor.keys) if name == "sparse" else slice(None)] = tensor.values
        assert np.array_equal(row, rows[i])
        label = list(record.label["values"].float32_tensor.values)
        assert label == ([] if name == "bare" else [labels[i]])
    assert len(found) == len(rows)
print(json.dumps("understood"))
"""


@pytest.fixture(scope="module")
def folder(oracle_python, tmp_path_factory):
    """Convert to records, which the SDK then reads, and writes itself."""
    python = oracle_python("sagemaker")
    folder = tmp_path_factory.mktemp("converted")
    np.save(folder / "in.npy", np.column_stack((LABELS, ROWS)))
    dump_svmlight_file(ROWS.astype(np.float64), LABELS, str(folder / "in.libsvm"), zero_based=False)
    for words in (
        ["in.npy", "dense.pbr", "--label-size", "1"],
        ["in.libsvm", "sparse.pbr", "--feature-dim", "300"],
        ["in.npy", "bare.pbr", "--label-size", "1", "--labels", "drop"],
    ):
        paths = [str(folder / name) for name in words[:2]]
        subprocess.run([*COMMAND, *paths, *words[2:]], check=True, stdout=subprocess.PIPE)
    command = [python, "-W", "ignore", "-c", SCRIPT, folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == "understood"
    return folder


@pytest.mark.parametrize("form", ["dense", "sparse", "bare"])
def test_records_are_byte_for_byte_those_of_the_sdk(folder, form):
    assert (folder / f"{form}.pbr").read_bytes() == (folder / f"theirs-{form}").read_bytes()
