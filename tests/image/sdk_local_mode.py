"""A day with the SageMaker Python SDK's local mode (`sagemaker<3`), run by its own interpreter.

    python sdk_local_mode.py FOLDER IMAGE INSTANCES [PORT]

FOLDER has ``rows.npy``, ``train/`` with RecordIO-protobuf to train on, ``lines/`` with CSV and
``records/`` to transform. With a port, the model is deployed there, asked in each format, and used
in transforms. What came back is left in ``told.json`` and below ``transformed/``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::123456789012:role/nobody"
RECORDIO = "application/x-recordio-protobuf"
LINES = "application/jsonlines"
TRANSFORMS: dict[str, dict[str, Any]] = {
    "lines": {
        "transformer": {"assemble_with": "Line", "accept": LINES},
        "input": {"content_type": "text/csv", "split_type": "Line"},
    },
    "records": {  # each of which is sent without its frame
        "transformer": {"assemble_with": "Line", "accept": LINES, "strategy": "SingleRecord"},
        "input": {"content_type": RECORDIO, "split_type": "RecordIO"},
    },
}


def main(folder: Path, image: str, n_instances: int, port: int | None) -> None:
    """Fit, and where there is a port, do all else."""
    import boto3
    import numpy as np
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput
    from sagemaker.local import LocalSession

    boto = boto3.Session("nobody", "nothing", region_name="us-east-1")
    session = LocalSession(boto_session=boto)
    local: dict[str, Any] = {"local_code": True, "container_root": str(folder / "containers")}
    session.config = {"local": local | ({"serving_port": port} if port else {})}
    rows = np.load(folder / "rows.npy")
    estimator = Estimator(
        image_uri=image,
        role=ROLE,
        instance_count=n_instances,
        instance_type="local",
        sagemaker_session=session,
        output_path=f"file://{folder}/out",
        hyperparameters={"k": 8, "feature_dim": rows.shape[1]},
    )
    data = TrainingInput(
        f"file://{folder}/train", distribution="FullyReplicated", content_type=RECORDIO
    )
    estimator.fit({"train": data})
    print("model at", estimator.model_data)
    if port:
        told = ask(estimator, rows[:20])
        (folder / "told.json").write_text(json.dumps(told))
        for name, how in TRANSFORMS.items():
            where = f"file://{folder}/transformed/{name}"
            transformer = estimator.transformer(1, "local", output_path=where, **how["transformer"])
            transformer.transform(f"file://{folder}/{name}", **how["input"], logs=False)


def ask(estimator: Any, rows: Any) -> dict[str, Any]:
    """Deploy the model and ask it in each format; returns the answers."""
    from sagemaker.amazon.common import RecordDeserializer, RecordSerializer
    from sagemaker.deserializers import CSVDeserializer, JSONDeserializer
    from sagemaker.serializers import CSVSerializer, JSONSerializer

    instances = {"instances": [{"features": row.tolist()} for row in rows]}
    predictor = estimator.deploy(1, "local", wait=False)  # it looks again after 30 seconds, else

    def answer(serializer: Any, deserializer: Any, given: Any) -> Any:
        predictor.serializer, predictor.deserializer = serializer, deserializer
        return predictor.predict(given)

    def value(record: Any, name: str) -> float:
        return record.label[name].float32_tensor.values[0]

    try:
        records = answer(RecordSerializer(), RecordDeserializer(), rows)
        names = "closest_cluster", "distance_to_cluster"
        return {
            "record": [[value(record, name) for name in names] for record in records],
            "csv": answer(CSVSerializer(), CSVDeserializer(), rows),
            "csv to json": answer(CSVSerializer(), JSONDeserializer(), rows),
            "json": answer(JSONSerializer(), JSONDeserializer(), instances),
        }
    finally:
        predictor.delete_endpoint()


if __name__ == "__main__":
    folder, image, n_instances, *ports = sys.argv[1:]
    main(Path(folder), image, int(n_instances), int(ports[0]) if ports else None)
