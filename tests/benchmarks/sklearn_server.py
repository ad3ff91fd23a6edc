"""scikit-learn's k-means behind Flask, as people write it, in an environment of its own.

    python tests/benchmarks/sklearn_server.py centers.npy model.joblib
    gunicorn --chdir tests/benchmarks "sklearn_server:application('model.joblib')"

The first makes a model that has the given centers, for MLServer as well.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from typing import Any

import numpy as np

SDK_PACKAGES = "SDK_PACKAGES"
"""Names the folder in which the SageMaker SDK is installed."""


def make_model(centers: np.ndarray) -> Any:
    from sklearn.cluster import KMeans

    model = KMeans(len(centers), init=centers, n_init=1, max_iter=1).fit(centers)
    model.cluster_centers_ = centers
    return model


def application(path: str) -> Any:
    """Return the application; gunicorn calls this in each worker."""
    import joblib
    import pandas as pd
    from flask import Flask, jsonify, request

    app, model = Flask(__name__), joblib.load(path)

    def predictions(rows: np.ndarray) -> Any:
        return jsonify(predictions=model.predict(rows).tolist())

    @app.get("/ping")
    def ping() -> str:
        return ""

    @app.post("/loadtxt")
    def loadtxt() -> Any:
        body = io.BytesIO(request.get_data())
        return predictions(np.loadtxt(body, np.float32, delimiter=",", ndmin=2))

    @app.post("/pandas")
    def pandas() -> Any:
        body = io.BytesIO(request.get_data())
        return predictions(pd.read_csv(body, header=None, dtype=np.float32).to_numpy())

    @app.post("/json")
    def json() -> Any:
        instances = request.get_json()["instances"]
        return predictions(np.array([one["features"] for one in instances], np.float32))

    @app.post("/records")
    def records() -> Any:
        read = sdk_reader()(io.BytesIO(request.get_data()))
        values = [record.features["values"].float32_tensor.values for record in read]
        return predictions(np.array(values, np.float32))

    return app


@functools.cache
def sdk_reader() -> Any:
    """Return the SDK's reader, loaded by the first request that needs it.

    Its packages stand last: it uses the NumPy of this environment.
    """
    sys.path.append(os.environ[SDK_PACKAGES])
    from sagemaker.amazon.common import read_records

    return read_records


if __name__ == "__main__":
    import joblib

    joblib.dump(make_model(np.load(sys.argv[1], allow_pickle=False)), sys.argv[2])
