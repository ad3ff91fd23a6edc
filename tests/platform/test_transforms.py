"""Batch transform by boto3 alone, and how objects are cut."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from botocore.exceptions import ClientError

from onepass.formats.record_writer import write_rows

PLATFORM = Path(__file__).parents[2] / "local_test/platform"
BUCKET = "at-home"
ROLE = "arn:aws:iam::123456789012:role/onepass"


@pytest.fixture(scope="module")
def model(run, sagemaker):
    run("to-transform")
    container = {"ModelDataUrl": f"s3://{BUCKET}/out/to-transform/output/model.tar.gz"}
    sagemaker.create_model(
        ModelName="to-transform",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "onepass:cpu"} | container,
    )
    return "to-transform"


@pytest.fixture
def transform(model, sagemaker, s3):
    """Run a job over an object; returns what came of it, line by line."""

    def transform(name, key, content, given, wanted=None, **more):
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{key}"}
        sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model,
            TransformInput={"DataSource": {"S3DataSource": source}} | given,
            TransformOutput={"S3OutputPath": f"s3://{BUCKET}/scored"} | (wanted or {}),
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **more,
        )
        waiter = sagemaker.get_waiter("transform_job_completed_or_stopped")
        waiter.wait(TransformJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        told = sagemaker.describe_transform_job(TransformJobName=name)
        assert told["TransformJobStatus"] == "Completed", told.get("FailureReason")
        out = f"scored/{key.rpartition('/')[2]}.out"
        return s3.get_object(Bucket=BUCKET, Key=out)["Body"].read().splitlines()

    return transform


def test_lines_in_and_lines_out(transform, rows):
    text = "".join(",".join(map(repr, row)) + "\n" for row in rows[:2000].tolist()).encode()
    given = {"ContentType": "text/csv", "SplitType": "Line"}
    wanted = {"Accept": "application/jsonlines", "AssembleWith": "Line"}
    lines = transform("lines", "batch/rows.csv", text, given, wanted, MaxPayloadInMB=1)
    assert len(lines) == 2000
    packed = given | {"CompressionType": "Gzip"}
    again = transform("packed", "batch/rows.gz", gzip.compress(text), packed, wanted)
    assert again == lines
    few = b"\n".join(text.split(b"\n")[:20])
    single = {"BatchStrategy": "SingleRecord", "MaxConcurrentTransforms": 4}
    assert transform("single", "batch/few.csv", few, given, wanted, **single) == lines[:20]


def test_records(transform, rows):
    given = {"ContentType": "application/x-recordio-protobuf", "SplitType": "RecordIO"}
    wanted = {"Accept": "application/jsonlines", "AssembleWith": "Line"}
    lines = transform("records", "batch/rows.pbr", write_rows(rows[:500]), given, wanted)
    assert len(lines) == 500


def test_why_one_failed_is_told(transform, sagemaker):
    given = {"ContentType": "text/csv", "SplitType": "Line"}
    with pytest.raises(Exception, match="Failed"):
        transform("wrong", "batch/wrong.csv", b"1,2\n", given)
    told = sagemaker.describe_transform_job(TransformJobName="wrong")
    assert "rows have 2 features" in told["FailureReason"]
    with pytest.raises(ClientError, match="DataProcessing is not offered"):
        transform("filter", "batch/x.csv", b"1,2,3", given, DataProcessing={"InputFilter": "$"})


@pytest.fixture(scope="module")
def splitting():
    sys.path.insert(0, str(PLATFORM))
    from control_plane import splitting

    sys.path.remove(str(PLATFORM))
    return splitting


@pytest.mark.parametrize("n_most", [1, 40, 1000])
def test_payloads_hold_what_fits(splitting, n_most):
    records = [b"x" * n for n in (1, 30, 10, 40, 5) if n <= n_most]
    payloads = list(splitting.payloads_of(records, "MultiRecord", n_most))
    assert b"".join(payloads) == b"".join(records)
    assert all(len(payload) <= n_most for payload in payloads)
    assert list(splitting.payloads_of(records, "SingleRecord", n_most)) == records


def test_objects_are_cut_where_records_end(splitting):
    content = write_rows(np.ones((7, 3), np.float32))
    cut = list(splitting.records_of(content, "RecordIO"))
    assert len(cut) == 7
    assert b"".join(cut) == content
    assert list(splitting.records_of(b"a\nb\nc", "Line")) == [b"a\n", b"b\n", b"c"]
    assert list(splitting.records_of(b"a\nb", "None")) == [b"a\nb"]
    frame = (3).to_bytes(8, "little") + b"crc_abccrc_"
    assert list(splitting.records_of(frame * 2, "TFRecord")) == [frame, frame]
    with pytest.raises(Exception, match="no RecordIO record starts at byte 0"):
        list(splitting.records_of(b"12345678", "RecordIO"))
