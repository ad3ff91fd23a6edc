"""Tuning jobs by boto3 alone."""

from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError

BUCKET = "at-home"
ROLE = "arn:aws:iam::123456789012:role/onepass"


@pytest.fixture
def tune(sagemaker, s3):
    """Run a tuning job; returns what is told of it when it has ended."""
    del s3

    def tune(name, strategy, ranges, **static):
        channels = [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in"}
                },
            }
            for channel in ("train", "test")
        ]
        limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}
        sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name,
            HyperParameterTuningJobConfig={
                "Strategy": strategy,
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "test:msd"},
                "ResourceLimits": limits,
                "ParameterRanges": ranges,
            },
            TrainingJobDefinition={
                "StaticHyperParameters": {"feature_dim": "3", "report": "false"} | static,
                "AlgorithmSpecification": {
                    "TrainingImage": "onepass:cpu",
                    "TrainingInputMode": "File",
                },
                "RoleArn": ROLE,
                "InputDataConfig": channels,
                "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/tuned"},
                "ResourceConfig": {
                    "InstanceCount": 1,
                    "InstanceType": "ml.c5.xlarge",
                    "VolumeSizeInGB": 5,
                },
                "StoppingCondition": {"MaxRuntimeInSeconds": 300},
            },
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            told = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
            if told["HyperParameterTuningJobStatus"] != "InProgress":
                return told
            time.sleep(0.5)
        raise AssertionError(told)

    return tune


def test_a_grid(tune, sagemaker):
    told = tune(
        "grid", "Grid", {"CategoricalParameterRanges": [{"Name": "k", "Values": ["2", "4"]}]}
    )
    assert told["HyperParameterTuningJobStatus"] == "Completed"
    assert told["TrainingJobStatusCounters"]["Completed"] == 2
    best = told["BestTrainingJob"]
    assert best["TunedHyperParameters"] == {"k": "4"}
    made = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="grid"
    )["TrainingJobSummaries"]
    values = {
        one["TunedHyperParameters"]["k"]: one["FinalHyperParameterTuningJobObjectiveMetric"][
            "Value"
        ]
        for one in made
    }
    assert values["4"] < values["2"]
    job = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert job["HyperParameters"]["_tuning_objective_metric"] == "test:msd"


def test_numbers_drawn(tune):
    ranges = {
        "IntegerParameterRanges": [
            {"Name": "mini_batch_size", "MinValue": "100", "MaxValue": "5000"},
            {"Name": "k", "MinValue": "3", "MaxValue": "5"},
        ],
        "CategoricalParameterRanges": [{"Name": "init_method", "Values": ["random", "kmeans++"]}],
    }
    told = tune("drawn", "Random", ranges)
    assert told["TrainingJobStatusCounters"]["Completed"] == 3
    assert 3 <= int(told["BestTrainingJob"]["TunedHyperParameters"]["k"]) <= 5


def test_what_makes_no_sense_is_refused(tune):
    ranges = {"IntegerParameterRanges": [{"Name": "k", "MinValue": "2", "MaxValue": "4"}]}
    with pytest.raises(ClientError, match="Grid takes CategoricalParameterRanges only"):
        tune("refused", "Grid", ranges)


def test_all_that_fail_fail_together(tune):
    ranges = {"CategoricalParameterRanges": [{"Name": "k", "Values": ["0"]}]}
    told = tune("failing", "Grid", ranges)
    assert told["HyperParameterTuningJobStatus"] == "Failed"
    assert told["TrainingJobStatusCounters"]["NonRetryableError"] == 1
    assert "BestTrainingJob" not in told
