"""Endpoints by boto3 alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from botocore.exceptions import ClientError

BUCKET = "at-home"
ROLE = "arn:aws:iam::123456789012:role/onepass"


@pytest.fixture(scope="module")
def served(run, sagemaker):
    """Make an endpoint of a model of four clusters, and one of many models."""
    run("to-serve")
    run("to-serve-3", wanted={"k": "3"})
    for name, container in {
        "one": {"ModelDataUrl": f"s3://{BUCKET}/out/to-serve/output/model.tar.gz"},
        "three": {"ModelDataUrl": f"s3://{BUCKET}/out/to-serve-3/output/model.tar.gz"},
        "many": {"ModelDataUrl": f"s3://{BUCKET}/out/", "Mode": "MultiModel"},
    }.items():
        image = {"Image": "onepass:cpu"}
        sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=image | container
        )
        variant = {"VariantName": "all", "ModelName": name}
        variant |= {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    for name in ("one", "many"):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    for name in ("one", "many"):
        wait(sagemaker, name)
    return sagemaker


def wait(sagemaker, name):
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@pytest.fixture
def invoke(client, served):
    del served
    runtime = client("sagemaker-runtime")

    def invoke(name, body=b"1,2,3\n4,5,6", content_type="text/csv", **given):
        return runtime.invoke_endpoint(
            EndpointName=name, Body=body, ContentType=content_type, **given
        )

    return invoke


def test_it_answers(invoke):
    told = invoke("one", Accept="application/json")
    assert told["InvokedProductionVariant"] == "all"
    assert told["ContentType"] == "application/json"
    predictions = json.loads(told["Body"].read())["predictions"]
    assert [set(one) for one in predictions] == 2 * [{"closest_cluster", "distance_to_cluster"}]


def test_what_the_container_refuses_is_an_error_of_the_model(invoke):
    with pytest.raises(ClientError, match=r"ModelError.*error \(400\) from primary") as raised:
        invoke("one", b"1,2")
    assert raised.value.response["OriginalStatusCode"] == 400
    assert "rows have 2 features" in raised.value.response["OriginalMessage"]


def test_many_models(invoke):
    clusters = []
    for target in ("to-serve/output/model.tar.gz", "to-serve-3/output/model.tar.gz"):
        rows = np.random.default_rng(0).normal(0, 20, (500, 3))
        body = "\n".join(",".join(map(str, row)) for row in rows)
        for _ in range(2):  # it is loaded once
            told = invoke("many", body, Accept="application/json", TargetModel=target)
        predictions = json.loads(told["Body"].read())["predictions"]
        clusters.append(len({one["closest_cluster"] for one in predictions}))
    assert clusters == [4, 3]
    with pytest.raises(ClientError, match="Could not find model data"):
        invoke("many", TargetModel="nothing.tar.gz")
    with pytest.raises(ClientError, match="TargetModel is required"):
        invoke("many")


def test_another_configuration_takes_its_place(served, invoke):
    served.update_endpoint(EndpointName="one", EndpointConfigName="three")
    assert served.describe_endpoint(EndpointName="one")["EndpointStatus"] == "Updating"
    assert invoke("one")["Body"].read(), "the former one answers meanwhile"
    wait(served, "one")
    assert served.describe_endpoint(EndpointName="one")["EndpointConfigName"] == "three"


def test_a_model_that_cannot_be_served_fails_with_a_reason(served, s3):
    s3.put_object(Bucket=BUCKET, Key="broken/model.tar.gz", Body=b"no archive")
    container = {"Image": "onepass:cpu", "ModelDataUrl": f"s3://{BUCKET}/broken/model.tar.gz"}
    served.create_model(ModelName="broken", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "all", "ModelName": "broken"}
    variant |= {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    served.create_endpoint_config(EndpointConfigName="broken", ProductionVariants=[variant])
    served.create_endpoint(EndpointName="broken", EndpointConfigName="broken")
    with pytest.raises(Exception, match="Failed"):
        wait(served, "broken")
    assert served.describe_endpoint(EndpointName="broken")["FailureReason"]


def test_what_is_deleted_is_gone(served, invoke):
    served.delete_endpoint(EndpointName="many")
    with pytest.raises(ClientError, match="Could not find"):
        served.describe_endpoint(EndpointName="many")
    with pytest.raises(ClientError, match="was not found"):
        invoke("many")
    served.delete_endpoint_config(EndpointConfigName="many")
    served.delete_model(ModelName="many")
    with pytest.raises(ClientError, match="Could not find model"):
        served.describe_model(ModelName="many")
