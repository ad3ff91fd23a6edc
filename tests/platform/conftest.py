"""SageMaker at home, with processes instead of containers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from onepass.formats.record_writer import write_rows

PLATFORM = Path(__file__).parents[2] / "local_test/platform"
ROLE = "arn:aws:iam::123456789012:role/onepass"
BUCKET = "at-home"
START_S = 60


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory):
    """Start it; returns its address."""
    pytest.importorskip("boto3")
    pytest.importorskip("moto", reason="moto is not installed")
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "control_plane", "--port", str(port), "--runner", "process"]
    log = tmp_path_factory.mktemp("platform") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--hosts", "2"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(PLATFORM), "PATH": path},
        )
    deadline = time.monotonic() + START_S
    while "export AWS_ENDPOINT_URL" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@pytest.fixture(scope="session")
def client(endpoint):
    """Return a client of a service."""
    import boto3

    def make(service):
        return boto3.client(
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",  # noqa: S106 - moto asks for none
        )

    return make


@pytest.fixture(scope="session")
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture(scope="session")
def rows():
    """6,000 rows around four places."""
    rng = np.random.default_rng(0)
    places = rng.normal(0, 9, (4, 3))
    return (places[rng.integers(0, 4, 6000)] + rng.normal(size=(6000, 3))).astype(np.float32)


@pytest.fixture(scope="session")
def s3(client, rows):
    """A bucket with the rows in three objects."""
    made = client("s3")
    made.create_bucket(Bucket=BUCKET)
    for i, part in enumerate(np.array_split(rows, 3)):
        made.put_object(Bucket=BUCKET, Key=f"in/part-{i}.pbr", Body=write_rows(part))
    return made


@pytest.fixture(scope="session")
def run(sagemaker, s3):
    """Create a training job; returns what is told of it when it has ended."""
    del s3

    def create(name, *, n=1, wait=True, mode="File", source=None, channel=None, **given):
        source = {
            "S3DataType": "S3Prefix",
            "S3Uri": f"s3://{BUCKET}/in",
            "S3DataDistributionType": "ShardedByS3Key" if n > 1 else "FullyReplicated",
        } | (source or {})
        train = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
        request = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": "onepass:cpu", "TrainingInputMode": mode},
            "HyperParameters": {"k": "4", "feature_dim": "3"} | given.pop("wanted", {}),
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {
                "InstanceCount": n,
                "InstanceType": "ml.c5.xlarge",
                "VolumeSizeInGB": 5,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
            "InputDataConfig": [train | (channel or {}), *given.pop("channels", [])],
        }
        sagemaker.create_training_job(**request | given)
        if wait:
            ended(name)
        return sagemaker.describe_training_job(TrainingJobName=name)

    def ended(name):
        from botocore.exceptions import WaiterError

        waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
        try:
            waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        except WaiterError as error:
            if error.last_response["TrainingJobStatus"] != "Failed":
                raise

    create.ended = ended
    return create
