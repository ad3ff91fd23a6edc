"""Models as others want them: NumPy, scikit-learn, ONNX; and from wherever they are.

Nobody shall need Onepass, or a library that is not maintained any more, to use what was trained.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import onepass
from onepass.artifact.files import write_atomically
from onepass.artifact.model_file import MAX_MODEL_BYTES, load_model
from onepass.cluster.model import KMeansModel
from onepass.data.s3_path import list_objects
from onepass.errors import TooLargeError, UserError
from onepass.formats.npz import write_arrays

_OPSET = 18
_READ_BYTES = 2**24


def load(path: Path | str) -> KMeansModel:
    """Read a model; see `KMeansModel.load`."""
    if isinstance(path, str) and path.startswith("s3://"):
        return _load_from_s3(path)
    return load_model(path)


def _load_from_s3(uri: str) -> KMeansModel:
    found = [one for one in list_objects(uri) if str(one) == uri]
    if not found:
        raise UserError(f"{uri}: there is no such object; name a model_algo-1 or a model.tar.gz")
    source, n_bytes = found[0], found[0].n_bytes
    if n_bytes > MAX_MODEL_BYTES:
        raise TooLargeError(f"a model has at most {MAX_MODEL_BYTES} bytes", source=uri)
    with tempfile.TemporaryDirectory(prefix="onepass-") as folder:
        path = Path(folder, uri.rpartition("/")[2])
        with path.open("wb") as file:
            for start in range(0, n_bytes, _READ_BYTES):
                file.write(source.read(min(_READ_BYTES, n_bytes - start), start))
        try:
            return load_model(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), uri)) from error


def save_npz(model: KMeansModel, path: Path | str) -> Path:
    """Write a model for NumPy alone; see `KMeansModel.save_npz`."""
    about = {"written_by": f"onepass {onepass.__version__}", "n_clusters": model.n_clusters}
    text = json.dumps(about).encode()
    write_atomically(Path(path), lambda file: write_arrays(file, text, {"centers": model.centers}))
    return Path(path)


def to_sklearn(model: KMeansModel) -> Any:
    """Return a fitted `sklearn.cluster.KMeans`; see `KMeansModel.to_sklearn`."""
    try:
        from sklearn import cluster  # noqa: PLC0415 - needed by those who ask for it
    except ImportError as error:
        raise UserError(
            f"scikit-learn is not installed ({error}): pip install scikit-learn"
        ) from error
    centers = np.array(model.centers)
    theirs = cluster.KMeans(len(centers), init=centers, n_init=1, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where two centers are one
        theirs.fit(centers)  # each is the mean of itself: all that is private gets its value
    theirs.cluster_centers_ = centers
    return theirs


def to_onnx(model: KMeansModel) -> Any:
    """Return a `onnx.ModelProto`; see `KMeansModel.to_onnx`."""
    try:
        from onnx import TensorProto, checker, helper, numpy_helper  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UserError(
            f"onnx is not installed ({error}): pip install 'onepass-kmeans[onnx]'"
        ) from error
    centers = np.array(model.centers)
    # Distances from the mean of all centers: squares of numbers far from 0 would lose their digits.
    origin = centers.mean(axis=0, dtype=np.float64).astype(np.float32)
    near = centers - origin
    constants = {
        "origin": origin,
        "minus_twice": np.ascontiguousarray(-2 * near.T),
        "squares": np.einsum("ij,ij->i", near, near, dtype=np.float64).astype(np.float32),
        "centers": centers,
        "features": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["X", "origin"], ["near"]),
        helper.make_node("MatMul", ["near", "minus_twice"], ["products"]),
        helper.make_node("Add", ["products", "squares"], ["scores"]),
        helper.make_node("ArgMin", ["scores"], ["labels"], axis=1, keepdims=0),
        helper.make_node("Gather", ["centers", "labels"], ["closest"], axis=0),
        helper.make_node("Sub", ["X", "closest"], ["gaps"]),
        helper.make_node("ReduceL2", ["gaps", "features"], ["distances"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "kmeans",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", model.n_features])],
        [
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("distances", TensorProto.FLOAT, ["n"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    made = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=8,
        producer_name="onepass",
        doc_string=to_onnx.__doc__,
    )
    checker.check_model(made)
    return made
