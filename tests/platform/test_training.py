"""Training jobs by boto3 alone, as SageMaker does them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows

BUCKET = "at-home"
ROLE = "arn:aws:iam::123456789012:role/onepass"


def archive_of(s3, told, name="model.tar.gz"):
    uri = told["ModelArtifacts"]["S3ModelArtifacts"]
    key = uri.removeprefix(f"s3://{BUCKET}/").replace("model.tar.gz", name)
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return tarfile.open(fileobj=io.BytesIO(body))


def centers_of(s3, told, folder):
    archive_of(s3, told).extractall(folder, filter="data")
    return load_model(folder).centers


@pytest.fixture
def said_of(client):
    """Return the lines of a job's log, which come a moment after its end."""
    logs = client("logs")

    def said(name):
        group = "/aws/sagemaker/TrainingJobs"
        found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
        streams = sorted(one["logStreamName"] for one in found["logStreams"])
        where = {"logGroupName": group, "logStreamName": streams[0]}
        deadline = time.monotonic() + 10
        while True:
            lines = [one["message"] for one in logs.get_log_events(**where)["events"]]
            if any("#metrics" in line for line in lines) or time.monotonic() > deadline:
                return lines
            time.sleep(0.2)

    return said


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("files", {}),
        ("two-hosts", {"n": 2}),
        ("pipe", {"mode": "Pipe"}),
        ("pipe-of-a-channel", {"channel": {"InputMode": "Pipe"}}),
        ("pipes-of-three-epochs", {"mode": "Pipe", "wanted": {"epochs": "3"}}),
    ],
)
def test_a_job_from_the_request_to_the_archive(run, s3, rows, tmp_path, name, given):
    told = run(name, **given)
    assert told["TrainingJobStatus"] == "Completed", told.get("FailureReason")
    assert (
        told["ModelArtifacts"]["S3ModelArtifacts"]
        == f"s3://{BUCKET}/out/{name}/output/model.tar.gz"
    )
    parts = [one["Status"] for one in told["SecondaryStatusTransitions"]]
    assert parts == ["Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert told["SecondaryStatus"] == "Completed"
    assert all(one["EndTime"] >= one["StartTime"] for one in told["SecondaryStatusTransitions"])
    assert told["TrainingEndTime"] > told["TrainingStartTime"] >= told["CreationTime"]
    centers = centers_of(s3, told, tmp_path)
    msd = ((rows[:, None] - centers) ** 2).sum(axis=2).min(axis=1).mean()
    found = {one["MetricName"]: one["Value"] for one in told["FinalMetricDataList"]}
    assert found["train:msd"] == pytest.approx(msd, rel=0.01)
    assert found["train:progress"] > 0
    assert "report.html" in archive_of(s3, told, "output.tar.gz").getnames()


def test_each_host_has_a_shard_of_its_own(run, said_of):
    """Were every file on every host, each record would count twice: it is said to be sharded."""
    told = run("shards-of-hosts", n=2)
    assert told["TrainingJobStatus"] == "Completed", told.get("FailureReason")
    assert any("all hosts have read 6000 records" in line for line in said_of("shards-of-hosts"))


def test_manifests_and_gzip(run, s3, rows, tmp_path):
    for i, part in enumerate(np.array_split(rows, 2)):
        s3.put_object(Bucket=BUCKET, Key=f"packed/{i}.gz", Body=gzip.compress(write_rows(part)))
    manifest = [{"prefix": f"s3://{BUCKET}/packed/"}, "0.gz", "1.gz"]
    s3.put_object(Bucket=BUCKET, Key="lists/one.manifest", Body=json.dumps(manifest))
    source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{BUCKET}/lists/one.manifest"}
    for mode in ("File", "Pipe"):
        given = {"source": source, "channel": {"CompressionType": "Gzip"}, "mode": mode}
        told = run(f"manifest-{mode}", **given)
        assert told["TrainingJobStatus"] == "Completed", told.get("FailureReason")
        assert len(centers_of(s3, told, tmp_path / mode)) == 4


def test_a_model_is_gone_on_with(run, s3):
    first = run("day-1")
    channel = {
        "ChannelName": "model",
        "ContentType": "application/x-sagemaker-model",
        "InputMode": "File",
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": first["ModelArtifacts"]["S3ModelArtifacts"],
            }
        },
    }
    told = run("day-2", channels=[channel])
    assert told["TrainingJobStatus"] == "Completed", told.get("FailureReason")
    names = archive_of(s3, told).getnames()
    assert sorted(names) == ["model_algo-1", "state_algo-1"]


def test_why_one_failed_is_told(run):
    told = run("fails", wanted={"feature_dim": "7"})
    assert told["TrainingJobStatus"] == told["SecondaryStatus"] == "Failed"
    assert told["FailureReason"].startswith("ClientError: feature_dim=7 does not fit the data")
    assert told["FailureReason"].endswith("exit code: 2")
    assert "ModelArtifacts" not in told


def test_many_wait_in_a_queue(run, sagemaker):
    names = [f"queued-{k}" for k in range(2, 8)]
    for k, name in enumerate(names, start=2):
        run(name, wait=False, n=2 if k % 2 else 1, wanted={"k": str(k)})
    statuses = set()
    for name in names:
        run.ended(name)
        statuses.add(sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])
    assert statuses == {"Completed"}
    listed = sagemaker.list_training_jobs(
        NameContains="queued-", SortBy="Name", SortOrder="Ascending", MaxResults=4
    )
    assert [one["TrainingJobName"] for one in listed["TrainingJobSummaries"]] == names[:4]
    rest = sagemaker.list_training_jobs(
        NameContains="queued-",
        SortBy="Name",
        SortOrder="Ascending",
        MaxResults=4,
        NextToken=listed["NextToken"],
    )
    assert [one["TrainingJobName"] for one in rest["TrainingJobSummaries"]] == names[4:]


def test_one_that_goes_on_and_on_is_stopped(run, s3, sagemaker):
    """A pipe for each epoch, of rows whose centers hardly come to rest."""
    even = np.random.default_rng(1).random((50_000, 3)).astype(np.float32)
    s3.put_object(Bucket=BUCKET, Key="even/rows.pbr", Body=write_rows(even))
    wanted = {"epochs": "100000", "k": "500", "report": "false"}
    source = {"S3Uri": f"s3://{BUCKET}/even"}
    run("endless", wait=False, mode="Pipe", source=source, wanted=wanted)
    while True:
        told = sagemaker.describe_training_job(TrainingJobName="endless")
        if told["SecondaryStatus"] == "Training":
            break
    time.sleep(2)
    sagemaker.stop_training_job(TrainingJobName="endless")
    run.ended("endless")
    told = sagemaker.describe_training_job(TrainingJobName="endless")
    assert told["TrainingJobStatus"] == "Stopped", told.get("FailureReason")
    assert "model_algo-1" in archive_of(s3, told).getnames()


def test_one_that_waits_in_the_queue_is_stopped(run, sagemaker):
    run("before", wait=False, n=2)
    run("behind", wait=False, n=2)
    sagemaker.stop_training_job(TrainingJobName="behind")
    run.ended("behind")
    told = sagemaker.describe_training_job(TrainingJobName="behind")
    assert told["TrainingJobStatus"] == "Stopped"
    assert "Training" not in [one["Status"] for one in told["SecondaryStatusTransitions"]]
    run.ended("before")


def test_time_that_is_up(run, s3):
    even = np.random.default_rng(1).random((50_000, 3)).astype(np.float32)
    s3.put_object(Bucket=BUCKET, Key="even-2/rows.pbr", Body=write_rows(even))
    told = run(
        "limited",
        source={"S3Uri": f"s3://{BUCKET}/even-2"},
        wanted={"epochs": "100000", "k": "500", "report": "false"},
        StoppingCondition={"MaxRuntimeInSeconds": 1},
    )
    assert told["TrainingJobStatus"] == "Stopped", told.get("FailureReason")
    parts = [one["Status"] for one in told["SecondaryStatusTransitions"]]
    assert "MaxRuntimeExceeded" in parts
    assert "model_algo-1" in archive_of(s3, told).getnames()


def test_checkpoints_are_kept_in_s3_and_gone_on_from(run, s3, said_of):
    where = {"CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints/x"}}
    run("keeps", **where)
    kept = s3.list_objects_v2(Bucket=BUCKET, Prefix="checkpoints/x/")["Contents"]
    assert any("job-" in one["Key"] for one in kept)
    again = run("goes-on", **where)
    assert again["TrainingJobStatus"] == "Completed"
    assert any("going on from checkpoint" in line for line in said_of("goes-on"))


def test_the_log_is_in_cloudwatch(run, said_of):
    run("logged")
    assert any("Training job logged arn:aws:sagemaker" in line for line in said_of("logged"))


def test_requests_are_checked_as_the_service_checks_them(run, sagemaker):
    from botocore.exceptions import ClientError

    run("taken")
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        run("taken")
    with pytest.raises(ClientError, match=r"ValidationException.*Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName="nothing")
    with pytest.raises(ClientError, match=r"trainingJobName.* regular expression pattern"):
        run("not a name")
    with pytest.raises(ClientError, match=r"trainingInputMode.* enum value set"):
        run("mode", mode="Carrier")
    with pytest.raises(ClientError, match="cannot use the bucket nowhere"):
        run("bucket", source={"S3Uri": "s3://nowhere/in"})
    with pytest.raises(ClientError, match="rejected because the training job is in status Comp"):
        sagemaker.stop_training_job(TrainingJobName="taken")


def test_all_else_is_motos(client):
    role = client("iam").create_role(RoleName="onepass", AssumeRolePolicyDocument="{}")
    assert role["Role"]["Arn"].split(":")[-1] == ROLE.rsplit(":", maxsplit=1)[-1]
    assert client("sts").get_caller_identity()["Account"]
