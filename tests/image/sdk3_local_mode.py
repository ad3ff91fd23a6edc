"""Training by `ModelTrainer` in a local container, and an endpoint, by `sagemaker` 3.

    python sdk3_local_mode.py FOLDER IMAGE INSTANCES [PORT]

FOLDER has ``rows.npy`` and ``train/`` with RecordIO-protobuf; the archives are left below
``containers/compressed_artifacts``. With a port, the model is hosted there; what it answers is left
in ``told.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::123456789012:role/nobody"


def main(folder: Path, image: str, n_instances: int, port: int | None) -> None:
    """Fit, and where there is a port, ask."""
    import boto3
    import numpy as np
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.training.configs import Compute, InputData
    from sagemaker.train.model_trainer import Mode, ModelTrainer

    boto = boto3.Session("nobody", "nothing", region_name="us-east-1")
    rows = np.load(folder / "rows.npy")
    trainer = ModelTrainer(
        training_mode=Mode.LOCAL_CONTAINER,
        sagemaker_session=Session(boto_session=boto, default_bucket="none"),
        training_image=image,
        role=ROLE,
        compute=Compute(instance_type="local_cpu", instance_count=n_instances),
        hyperparameters={"k": 8, "feature_dim": rows.shape[1]},
        local_container_root=str(folder / "containers"),
        base_job_name="kmeans",
    )
    given = InputData(
        channel_name="train",
        data_source=str(folder / "train"),
        content_type="application/x-recordio-protobuf",
    )
    trainer.train(input_data_config=[given], wait=True)
    if port:
        ask(folder, image, port, boto, rows[:20])


def ask(folder: Path, image: str, port: int, boto: Any, rows: Any) -> None:
    """Host the model and keep its answer; `ModelBuilder` knows the servers of frameworks alone."""
    from sagemaker.core.local.local_session import LocalSession

    session = LocalSession(boto_session=boto, default_bucket="none")
    local = {"local_code": True, "container_root": str(folder / "containers"), "serving_port": port}
    session.config = {"local": local}
    client, runtime = session.sagemaker_client, session.sagemaker_runtime_client
    archive = folder / "containers/compressed_artifacts/model.tar.gz"
    container = {"Image": image, "ModelDataUrl": f"file://{archive}", "Environment": {}}
    client.create_model("model", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "ModelName": "model",
        "VariantName": "all",
        "InitialInstanceCount": 1,
        "InstanceType": "local",
    }
    client.create_endpoint_config("config", [variant])
    client.create_endpoint("endpoint", "config")
    try:
        body = "\n".join(",".join(map(repr, row)) for row in rows.astype(float).tolist())
        told = runtime.invoke_endpoint(
            Body=body, EndpointName="endpoint", ContentType="text/csv", Accept="application/json"
        )
        (folder / "told.json").write_bytes(told["Body"].read())
    finally:
        client.delete_endpoint("endpoint")


if __name__ == "__main__":
    folder, image, n_instances, *ports = sys.argv[1:]
    main(Path(folder), image, int(n_instances), int(ports[0]) if ports else None)
