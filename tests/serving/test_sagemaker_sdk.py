"""The SageMaker Python SDK's own serializers and deserializers against a running server."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from onepass.artifact.model_file import save_model
from onepass.cluster.model import KMeansModel

pytestmark = pytest.mark.oracle

CLIENTS = """
import http.client, io, json, sys
import numpy as np
from sagemaker import deserializers, serializers
from sagemaker.amazon.common import RecordDeserializer, RecordSerializer

port, folder = int(sys.argv[1]), sys.argv[2]
rows = np.load(folder + "/rows.npy")

def ask(serializer, deserializer, given):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = serializer.serialize(given)
    body = body.read() if hasattr(body, "read") else body
    accept = deserializer.ACCEPT
    headers = {"Content-Type": serializer.CONTENT_TYPE, "Accept": ", ".join(accept)}
    connection.request("POST", "/invocations", body, headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    content = io.BytesIO(answer.read())
    return deserializer.deserialize(content, answer.headers["Content-Type"])

def of_records(records):
    names = "closest_cluster", "distance_to_cluster"
    return [[r.label[name].float32_tensor.values[0] for name in names] for r in records]

def of_dicts(answers):
    return [[a["closest_cluster"], a["distance_to_cluster"]] for a in answers]

forms = {
    "record": (RecordSerializer(), rows),
    "csv": (serializers.CSVSerializer(), rows),
    "json": (serializers.JSONSerializer(), {"instances": [{"features": r} for r in rows.tolist()]}),
    "json lines": (serializers.JSONLinesSerializer(), [{"features": r} for r in rows.tolist()]),
    "numpy": (serializers.NumpySerializer(), rows),
}
answers = {
    "record": (RecordDeserializer(), of_records),
    "csv": (deserializers.CSVDeserializer(), lambda a: [[float(x) for x in row] for row in a]),
    "json": (deserializers.JSONDeserializer(), lambda a: of_dicts(a["predictions"])),
    "json lines": (deserializers.JSONLinesDeserializer(), of_dicts),
    "numpy": (deserializers.NumpyDeserializer(), lambda a: a.tolist()),
}
print(json.dumps({
    f"{sent} -> {received}": read(ask(serializer, deserializer, given))
    for sent, (serializer, given) in forms.items()
    for received, (deserializer, read) in answers.items()
}))
"""


def test_every_client_agrees_with_numpy(oracle_python, serve, tmp_path):
    random = np.random.default_rng(0)
    centers = random.normal(0, 3, (10, 26)).astype(np.float32)
    rows = random.normal(0, 3, (200, 26)).astype(np.float32)
    gaps = np.linalg.norm(rows[:, None].astype(float) - centers, axis=2)
    wanted = np.stack([gaps.argmin(axis=1), gaps.min(axis=1)], axis=1)
    save_model(KMeansModel(centers), tmp_path / "model")
    np.save(tmp_path / "rows.npy", rows)
    with serve(tmp_path) as server:
        done = subprocess.run(
            [oracle_python("sagemaker"), "-W", "ignore", "-c", CLIENTS, str(server.port), tmp_path],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == 25
    for answer in answers.values():
        np.testing.assert_allclose(np.array(answer), wanted, rtol=1e-5)
