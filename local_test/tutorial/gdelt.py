# %% [markdown]
# # Clusters of news events: an elbow from twenty-two training jobs
#
# GDELT lists events that the world's news report: what kind of event, where its two actors are, how
# many articles tell of it and in what tone. This clusters them by SageMaker's k-means, with boto3
# alone: it writes RecordIO-protobuf to S3, trains a model for each k from 2 to 12 on two instances,
# once with all data on each of them and once with a part on each, and draws the msd of all of them.
# Then it puts a model behind an endpoint, and asks it.
#
# Nothing here knows where it runs. On AWS it does with a role, a bucket and an image in ECR; at home
# with `export AWS_ENDPOINT_URL=...`, which `local_test/platform/start.sh` prints.
#
# | variable | |
# | --- | --- |
# | `KMEANS_IMAGE` | the image; `onepass:cpu` by default |
# | `KMEANS_ROLE`, `KMEANS_BUCKET` | whose rights jobs have, and where data and models are put |
# | `KMEANS_MOST` | the most clusters; 12 by default |
# | `GDELT_DIR` | a directory of event files; without it 1979 and 1980 come from the public bucket |

# %%
import csv
import io
import json
import os
import tarfile
import time
from collections import Counter
from pathlib import Path

import boto3
import numpy as np
from botocore import UNSIGNED
from botocore.config import Config

from onepass import load_model
from onepass.formats.record_writer import write_rows

IMAGE = os.environ.get("KMEANS_IMAGE", "onepass:cpu")
ROLE = os.environ.get("KMEANS_ROLE", "arn:aws:iam::123456789012:role/kmeans")
BUCKET = os.environ.get("KMEANS_BUCKET", "kmeans-tutorial")
PREFIX = "gdelt"
YEARS = ("1979", "1980")
KS = range(2, int(os.environ.get("KMEANS_MOST", "12")) + 1)
HERE = Path(os.environ.get("KMEANS_WORK", "kmeans-tutorial"))

# %% [markdown]
# ## Events
#
# The columns of the historical files and of those since 2015, which have two more for places.

# %%
CODE, N_ARTICLES, TONE = 26, 33, 34
PLACES = {57: (39, 40, 46, 47), 58: (39, 40, 46, 47), 61: (40, 41, 48, 49)}
N_CODES = 20


def event_files():
    """Yield the text of each file of events."""
    if folder := os.environ.get("GDELT_DIR"):
        for path in sorted(Path(folder).glob("*.[cC][sS][vV]")):
            if "gdelt" in path.name or path.stem.isdigit():
                yield path.read_text(encoding="utf-8", errors="replace")
        return
    public = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url="https://s3.amazonaws.com",  # wherever all else is
        config=Config(signature_version=UNSIGNED),
    )
    for year in YEARS:
        body = public.get_object(Bucket="gdelt-open-data", Key=f"events/{year}.csv")["Body"]
        yield body.read().decode("utf-8", errors="replace")


def number(text):
    """Return a number, or None where there is none: a few fields of millions are broken."""
    try:
        return float(text)
    except ValueError:
        return None


events = []
for text in event_files():
    for line in csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE):
        at = PLACES.get(len(line))
        values = [number(line[i]) for i in (N_ARTICLES, TONE, *at)] if at else [None]
        if None not in values and any(values[2:4]) and any(values[4:6]):
            events.append((line[CODE], values))

common = [code for code, _ in Counter(code for code, _ in events).most_common(N_CODES)]
numbers = np.array([values for _, values in events], np.float32)
codes = np.array([[code == one for one in common] for code, _ in events], np.float32)
rows = np.hstack([numbers, codes])
print(f"{len(rows):,} events of {rows.shape[1]} features")

# %% [markdown]
# ## Data in S3
#
# As many objects as there may be instances, so that each can have a part of them.

# %%
s3 = boto3.client("s3")
if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=BUCKET)
for i, part in enumerate(np.array_split(rows, 4)):
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/train/part-{i}.pbr", Body=write_rows(part))

# %% [markdown]
# ## Twenty-two training jobs
#
# All are created at once. Where there are not as many instances, they wait for one another.

# %%
sagemaker = boto3.client("sagemaker")
stamp = time.strftime("%H%M%S")


def create_job(k, distribution):
    """Create a training job; returns its name."""
    name = f"gdelt-{distribution.lower()}-{k:02}-{stamp}"
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://{BUCKET}/{PREFIX}/train",
        "S3DataDistributionType": distribution,
    }
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/{PREFIX}/models"},
        ResourceConfig={"InstanceCount": 2, "InstanceType": "ml.c4.8xlarge", "VolumeSizeInGB": 50},
        HyperParameters={
            "k": str(k),
            "feature_dim": str(rows.shape[1]),
            "mini_batch_size": "500",
        },
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    return name


began = time.time()
jobs = {
    (distribution, k): create_job(k, distribution)
    for distribution in ("FullyReplicated", "ShardedByS3Key")
    for k in KS
}
waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
for name in jobs.values():
    waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 5, "MaxAttempts": 720})
print(f"{len(jobs)} training jobs in {time.time() - began:.0f} s")

# %% [markdown]
# ## Why one fails
#
# A job with a wrong hyperparameter says what is wrong with it.

# %%
wrong = f"gdelt-wrong-{stamp}"
request = {
    name: value
    for name, value in sagemaker.describe_training_job(
        TrainingJobName=jobs["FullyReplicated", 2]
    ).items()
    if name
    in (
        *("RoleArn", "AlgorithmSpecification", "InputDataConfig", "OutputDataConfig"),
        *("ResourceConfig", "StoppingCondition"),
    )
}
request["AlgorithmSpecification"] = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
sagemaker.create_training_job(
    TrainingJobName=wrong, HyperParameters={"k": "3", "feature_dim": "7"}, **request
)
while (told := sagemaker.describe_training_job(TrainingJobName=wrong))[
    "TrainingJobStatus"
] == "InProgress":
    time.sleep(1)
print(told["TrainingJobStatus"], "-", told["FailureReason"])

# %% [markdown]
# ## The elbow
#
# Each model is downloaded, and how far rows are from their closest center measured on all of them.

# %%
HERE.mkdir(parents=True, exist_ok=True)


def model_of(name):
    """Download and read a model."""
    told = sagemaker.describe_training_job(TrainingJobName=name)
    bucket, _, key = told["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    folder = HERE / name
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        tar.extractall(folder, filter="data")
    return load_model(folder)


models = {which: model_of(name) for which, name in jobs.items()}
msds = {which: model.inertia(rows) / len(rows) for which, model in models.items()}
for distribution in ("FullyReplicated", "ShardedByS3Key"):
    print(distribution, *(f"{msds[distribution, k]:.4g}" for k in KS))

# %%
from onepass.report.axes import Axis, Frame, ticks  # noqa: E402 - where it is used
from onepass.report.drawing import Dot, Drawing, Line, Words  # noqa: E402
from onepass.report.png import to_png  # noqa: E402

most = 1.05 * max(msds.values())
frame = Frame(Axis(KS[0], KS[-1], 84, 616), Axis(0, most, 324, 48))
shapes = frame.grid([float(k) for k in KS], ticks(0, most, 6))
for i, distribution in enumerate(("FullyReplicated", "ShardedByS3Key")):
    color = ("c0", "c1")[i]
    curve = [frame.place(k, msds[distribution, k]) for k in KS]
    width, radius = ((7, 8), (2.5, 4))[i]  # one lies on the other where they agree
    shapes += [Line(curve, color, width), *(Dot(at, radius, color) for at in curve)]
    shapes.append(Words((440, 80 + 20 * i), distribution, color, 13))
shapes.append(Words((28, 22), "mean squared distance of events to their center", "soft"))
shapes.append(Words((350, 366), "clusters (k)", "soft", anchor="middle"))
(HERE / "elbow.png").write_bytes(to_png(Drawing(640, 380, shapes, "msd of k clusters")))
print(f"see {HERE / 'elbow.png'}")

# %% [markdown]
# ## An endpoint
#
# The model of seven clusters (or of the most) answers requests; then all of it is deleted.

# %%
name = f"gdelt-{stamp}"
told = sagemaker.describe_training_job(TrainingJobName=jobs["ShardedByS3Key", min(7, KS[-1])])
sagemaker.create_model(
    ModelName=name,
    ExecutionRoleArn=ROLE,
    PrimaryContainer={
        "Image": IMAGE,
        "ModelDataUrl": told["ModelArtifacts"]["S3ModelArtifacts"],
    },
)
variant = {"VariantName": "all", "ModelName": name}
variant |= {"InitialInstanceCount": 1, "InstanceType": "ml.m4.xlarge"}
sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 2})
answer = boto3.client("sagemaker-runtime").invoke_endpoint(
    EndpointName=name,
    ContentType="text/csv",
    Accept="application/json",
    Body="\n".join(",".join(map(str, row)) for row in rows[:5].tolist()),
)
for one in json.loads(answer["Body"].read())["predictions"]:
    print(f"cluster {one['closest_cluster']:.0f}, {one['distance_to_cluster']:.4g} from its center")
sagemaker.delete_endpoint(EndpointName=name)
sagemaker.delete_endpoint_config(EndpointConfigName=name)
sagemaker.delete_model(ModelName=name)

# %% [markdown]
# ## The same elbow from one job
#
# `k_sweep` makes all numbers of clusters in one pass: the report and the elbow are in
# `output.tar.gz` beside the model.

# %%
single = f"gdelt-sweep-{stamp}"
began = time.time()
sagemaker.create_training_job(
    TrainingJobName=single,
    HyperParameters={
        "k": "auto",
        "k_sweep": f"{KS[0]}-{KS[-1]}",
        "feature_dim": str(rows.shape[1]),
    },
    **request | {"ResourceConfig": request["ResourceConfig"] | {"InstanceCount": 1}},
)
waiter.wait(TrainingJobName=single, WaiterConfig={"Delay": 1, "MaxAttempts": 3600})
body = s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}/models/{single}/output/output.tar.gz")["Body"]
with tarfile.open(fileobj=io.BytesIO(body.read())) as tar:
    tar.extractall(HERE / single, filter="data")
sweep = json.loads((HERE / single / "elbow.json").read_text())
print(f"one job, {time.time() - began:.0f} s; the knee: {sweep['knee']}")
for point in sweep["points"]:
    ratio = point["msd"] / msds["FullyReplicated", point["k"]]
    print(f"k={point['k']}: msd {point['msd']:.4g}, {ratio:.3f} of that of a job of its own")
