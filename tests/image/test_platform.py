"""SageMaker at home, with containers of the image."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows

PLATFORM = Path(__file__).parents[2] / "local_test/platform"
NOTEBOOK = PLATFORM.parent / "tutorial/gdelt.ipynb"
ROLE = "arn:aws:iam::123456789012:role/onepass"
START_S = 60


@pytest.fixture(scope="module")
def endpoint(image, tmp_path_factory):
    """Start it, where containers may see what is written; returns its address."""
    del image
    pytest.importorskip("boto3")
    pytest.importorskip("moto", reason="moto is not installed")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    log = tmp_path_factory.mktemp("platform") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "control_plane", "--port", str(port), "--hosts", "4"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(PLATFORM)},
        )
    deadline = time.monotonic() + START_S
    while "export AWS_ENDPOINT_URL" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    places = rng.normal(0, 9, (4, 3))
    return (places[rng.integers(0, 4, 6000)] + rng.normal(size=(6000, 3))).astype(np.float32)


def test_two_containers_train_and_one_serves(client, image, rows, tmp_path):
    s3, sagemaker = client("s3"), client("sagemaker")
    s3.create_bucket(Bucket="at-home")
    for i, part in enumerate(np.array_split(rows, 2)):
        s3.put_object(Bucket="at-home", Key=f"in/{i}.pbr", Body=write_rows(part))
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://at-home/in"}
    source |= {"S3DataDistributionType": "ShardedByS3Key"}
    for name, n, mode in (("two", 2, "File"), ("pipe", 1, "Pipe")):
        sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={"TrainingImage": image.name, "TrainingInputMode": mode},
            HyperParameters={"k": "4", "feature_dim": "3"},
            InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            OutputDataConfig={"S3OutputPath": "s3://at-home/out"},
            ResourceConfig={
                "InstanceCount": n,
                "InstanceType": "ml.c5.xlarge",
                "VolumeSizeInGB": 5,
            },
            StoppingCondition={"MaxRuntimeInSeconds": 300},
        )
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    for name in ("two", "pipe"):
        waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        body = s3.get_object(Bucket="at-home", Key=f"out/{name}/output/model.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            tar.extractall(tmp_path / name, filter="data")
        model = load_model(tmp_path / name)
        assert model.inertia(rows) / len(rows) == pytest.approx(3, rel=0.1)
    container = {"Image": image.name, "ModelDataUrl": "s3://at-home/out/two/output/model.tar.gz"}
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "all", "ModelName": "m"}
    variant |= {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="m", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="m", EndpointConfigName="m")
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="m", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    answer = client("sagemaker-runtime").invoke_endpoint(
        EndpointName="m", ContentType="text/csv", Body="1,2,3", Accept="text/csv"
    )
    assert len(answer["Body"].read().decode().strip().split(",")) == 2
    sagemaker.delete_endpoint(EndpointName="m")


def test_an_image_that_is_not_there_is_a_failure_with_a_reason(client, image):
    del image
    sagemaker, s3 = client("sagemaker"), client("s3")
    s3.create_bucket(Bucket="nothing-in-it")
    sagemaker.create_training_job(
        TrainingJobName="no-image",
        RoleArn=ROLE,
        AlgorithmSpecification={
            "TrainingImage": "onepass-no-such-image:1",
            "TrainingInputMode": "File",
        },
        OutputDataConfig={"S3OutputPath": "s3://nothing-in-it/out"},
        ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.c5.xlarge", "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        told = sagemaker.describe_training_job(TrainingJobName="no-image")
        if told["TrainingJobStatus"] == "Failed":
            break
        time.sleep(0.5)
    assert "exit code: 125" in told["FailureReason"]
    assert "onepass-no-such-image" in told["FailureReason"]


@pytest.mark.data
def test_jupyter_runs_the_tutorial_in_containers(endpoint, image, test_data, tmp_path):
    """For k of 2 and 3: four training jobs of two hosts each, one that fails, the elbow's."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GDELT_DIR": str(test_data),
        "KMEANS_IMAGE": image.name,
        "KMEANS_MOST": "3",
        "KMEANS_WORK": str(tmp_path),
    }
    executed = tmp_path / "gdelt.ipynb"
    executed.write_bytes(NOTEBOOK.read_bytes())
    jupyter = Path(sys.executable).with_name("jupyter-execute")
    done = subprocess.run(
        [jupyter, "--inplace", "--timeout=300", executed],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(executed.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    said = "".join("".join(output.get("text", "")) for output in outputs)
    assert "4 training jobs in" in said
    assert "k=3: msd" in said
    assert (tmp_path / "elbow.png").is_file()
