"""Training jobs, from the request to the archive of the model."""

from __future__ import annotations

import re
import tarfile
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from control_plane.channels import Channel, Input, find_channel
from control_plane.errors import ApiError, in_use, invalid
from control_plane.logs import Logs
from control_plane.names import REGION, arn, now
from control_plane.runners import Runner, Running, Wanted, remove
from control_plane.s3 import Address, Store

_POLL_S, _SYNC_S = 0.2, 10.0
_USUAL_LIMIT_S = 86_400
_REASON_CHARACTERS, _LAST_LINES = 1024, 5
_BLAMED = ("ClientError", "AlgorithmError", "InternalServerError")
_ENDED = ("Completed", "Failed", "Stopped")
_QUALITY = r"#quality_metric: host=\S+, {} {} (?:<loss>)?=(\S+)"
BUILT_IN_METRICS = [
    *(
        {"Name": f"{channel}:{name}", "Regex": _QUALITY.format(channel, name)}
        for channel, name in (("train", "msd"), ("test", "msd"), ("test", "ssd"))
    ),
    {"Name": "train:throughput", "Regex": r"#throughput_metric: host=\S+, train throughput=(\S+)"},
    {"Name": "train:progress", "Regex": r"#progress_metric: host=\S+, completed (\S+) %"},
]
"""What the built-in algorithm's image is known to log."""


class TrainingJob:
    """One job.

    Parameters
    ----------
    given : dict
        The request.
    store : Store
    runner : Runner
    logs : Logs
    folder : Path
        Where its hosts' directories are made.
    """

    def __init__(
        self, given: dict[str, Any], store: Store, runner: Runner, logs: Logs, folder: Path
    ) -> None:
        self.name: str = given["TrainingJobName"]
        self.given = given
        self.created = now()
        self._store, self._runner, self._logs, self._folder = store, runner, logs, folder
        self._status, self._reason = "InProgress", ""
        self._transitions: list[dict[str, Any]] = []
        self._metrics: dict[str, tuple[float, datetime]] = {}
        self._times: dict[str, datetime] = {}
        self._modified = self.created
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._running: list[Running] = []
        self._last_lines: list[deque[str]] = []
        self._patterns = [
            (one["Name"], re.compile(one["Regex"]))
            for one in given["AlgorithmSpecification"].get("MetricDefinitions") or BUILT_IN_METRICS
        ]
        self._channels = self._find_channels()
        self.move_on("Pending", "Preparing the instances for training")

    @property
    def status(self) -> str:
        """What TrainingJobStatus says."""
        return self._status

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it goes on."""
        return self._status in _ENDED

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return {name: value for name, (value, _) in self._metrics.items()}

    @property
    def model_uri(self) -> Address:
        """Where its model is put."""
        return self._output().within("model.tar.gz")

    def run(self) -> None:
        """Run it to its end."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the job says so
            self._end("Failed", f"InternalServerError: {error}")
        finally:
            remove(self._folder)

    def stop(self) -> None:
        """Ask it to end."""
        with self._lock:
            if self.has_ended:
                raise invalid(
                    "The request was rejected because the training job is in status "
                    f"{self._status}."
                )
            self._status = "Stopping"
            self.move_on("Stopping", "Stopping the training job")
        self._stopping.set()

    def describe(self) -> dict[str, Any]:
        """Return what DescribeTrainingJob tells."""
        with self._lock:
            given = self.given
            told: dict[str, Any] = {
                "TrainingJobName": self.name,
                "TrainingJobArn": arn("training-job", self.name),
                "TrainingJobStatus": self._status,
                "SecondaryStatus": self._transitions[-1]["Status"],
                "SecondaryStatusTransitions": list(self._transitions),
                "CreationTime": self.created,
                "LastModifiedTime": self._modified,
                "HyperParameters": given.get("HyperParameters", {}),
                **{
                    name: given[name]
                    for name in (
                        *("AlgorithmSpecification", "RoleArn", "InputDataConfig"),
                        *("OutputDataConfig", "ResourceConfig", "VpcConfig", "StoppingCondition"),
                        *("CheckpointConfig", "Environment", "EnableNetworkIsolation"),
                        *("EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"),
                    )
                    if name in given
                },
                **self._times,
            }
            if self._reason:
                told["FailureReason"] = self._reason
            if self._status in ("Completed", "Stopped"):
                told["ModelArtifacts"] = {"S3ModelArtifacts": str(self.model_uri)}
            if self._metrics:
                told["FinalMetricDataList"] = [
                    {"MetricName": name, "Value": value, "Timestamp": when}
                    for name, (value, when) in self._metrics.items()
                ]
            if "TrainingEndTime" in self._times and "TrainingStartTime" in self._times:
                took = self._times["TrainingEndTime"] - self._times["TrainingStartTime"]
                told["TrainingTimeInSeconds"] = told["BillableTimeInSeconds"] = max(
                    1, round(took.total_seconds())
                )
            return told

    def summary(self) -> dict[str, Any]:
        """Return what ListTrainingJobs tells."""
        told = self.describe()
        names = (
            *("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime"),
            *("LastModifiedTime", "TrainingJobStatus", "SecondaryStatus"),
        )
        return {name: told[name] for name in names if name in told}

    def move_on(self, status: str, message: str) -> None:
        """Begin another part of it."""
        with self._lock:
            when = self._modified = now()
            if self._transitions:
                self._transitions[-1]["EndTime"] = when
            self._transitions.append(
                {"Status": status, "StartTime": when, "StatusMessage": message}
            )

    def _find_channels(self) -> list[Channel]:
        mode = self.given["AlgorithmSpecification"]["TrainingInputMode"]
        return [
            find_channel(one, mode, self._store) for one in self.given.get("InputDataConfig", [])
        ]

    def _output(self) -> Address:
        root = Address.of(self.given["OutputDataConfig"]["S3OutputPath"])
        return root.within(self.name).within("output")

    def _run(self) -> None:
        n_hosts: int = self.given["ResourceConfig"].get("InstanceCount", 1)
        hosts = self._runner.host_names(n_hosts)
        with self._lock:
            self._times["TrainingStartTime"] = now()
        if self._stopping.is_set():
            self._end("Stopped", "")
            return
        self.move_on("Starting", "Launching requested ML instances")
        self.move_on("Downloading", "Downloading input data")
        bases = [self._folder / host for host in hosts]
        inputs = [self._lay_out(base, i, hosts) for i, base in enumerate(bases)]
        self.move_on("Training", "Training image download completed. Training in progress.")
        network = self._runner.new_network(f"onepass-{self.name}") if n_hosts > 1 else ""
        try:
            codes = self._train(hosts, bases, inputs, network)
        finally:
            for one in inputs:
                one.end()
            if network:
                self._runner.remove_network(network)
        self._finish(codes, bases)

    def _lay_out(self, base: Path, index: int, hosts: list[str]) -> Input:
        for part in ("input/data", "model", "output/data"):
            (base / part).mkdir(parents=True)
        made = Input(base, self._store)
        made.configure(
            {
                "hyperparameters": self.given.get("HyperParameters", {}),
                "inputdataconfig": {one.name: one.described() for one in self._channels},
                "resourceconfig": {
                    "current_host": hosts[index],
                    "current_instance_type": self.given["ResourceConfig"].get("InstanceType", ""),
                    "current_group_name": "homogeneousCluster",
                    "hosts": hosts,
                    "instance_groups": [
                        {
                            "instance_group_name": "homogeneousCluster",
                            "instance_type": self.given["ResourceConfig"].get("InstanceType", ""),
                            "hosts": hosts,
                        }
                    ],
                    "network_interface_name": self._runner.interface,
                },
            }
        )
        made.lay_out(self._channels, index, hosts)
        if "CheckpointConfig" in self.given:
            self._fetch_checkpoints(base)
        return made

    def _train(
        self, hosts: list[str], bases: list[Path], inputs: list[Input], network: str
    ) -> list[int]:
        """Run all hosts; returns their exit codes."""
        environment = {
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": arn("training-job", self.name),
            "AWS_REGION": REGION,
        } | self.given.get("Environment", {})
        image = self.given["AlgorithmSpecification"]["TrainingImage"]
        self._last_lines = [deque(maxlen=_LAST_LINES) for _ in hosts]
        for i, (host, base, one) in enumerate(zip(hosts, bases, inputs, strict=True)):
            name = f"onepass-{self.name}-{host}".replace(":", "-")
            wanted = Wanted(name, image, "train", base, environment, host, network)
            self._running.append(self._runner.start(wanted, self._listener(i, host)))
            one.start()
        self._watch(bases)
        codes = [running.wait() for running in self._running]
        self._keep_checkpoints(bases)
        return [code if code is not None else 1 for code in codes]

    def _watch(self, bases: list[Path]) -> None:
        """Wait for the end of all hosts; end them when that is asked for, or time is up."""
        limit_s = self.given["StoppingCondition"].get("MaxRuntimeInSeconds", _USUAL_LIMIT_S)
        began = synced = time.monotonic()
        is_asked = False
        while any(running.code is None for running in self._running):
            time.sleep(_POLL_S)
            if time.monotonic() - began > limit_s and not self._stopping.is_set():
                self._stopping.set()
                with self._lock:
                    self._status = "Stopping"
                self.move_on("MaxRuntimeExceeded", "Training job runtime exceeded the limit")
            if self._stopping.is_set() and not is_asked:
                is_asked = True
                for running in self._running:
                    threading.Thread(target=running.stop, daemon=True).start()
            if time.monotonic() - synced > _SYNC_S:
                synced = time.monotonic()
                self._keep_checkpoints(bases)

    def _finish(self, codes: list[int], bases: list[Path]) -> None:
        failed = next((i for i, code in enumerate(codes) if code), None)
        if failed is not None and not self._stopping.is_set():
            said = " ".join(self._last_lines[failed])
            reason = _failure(bases[failed]) or f"AlgorithmError: {said}"
            self._end("Failed", f"{reason}, exit code: {codes[failed]}"[:_REASON_CHARACTERS])
            return
        self.move_on("Uploading", "Uploading generated training model")
        self._upload(bases, "model", self.model_uri)
        if any(any((base / "output/data").iterdir()) for base in bases):
            self._upload(bases, "output/data", self._output().within("output.tar.gz"))
        self._end("Stopped" if self._stopping.is_set() else "Completed", "")

    def _upload(self, bases: list[Path], part: str, address: Address) -> None:
        """Put what all hosts have left in a directory into one archive in S3."""
        archive = self._folder / "archive.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for path in sorted({p for base in bases for p in (base / part).iterdir()}):
                if not path.name.startswith("."):
                    tar.add(path, path.name)
        self._store.upload(archive, address)

    def _fetch_checkpoints(self, base: Path) -> None:
        folder = base / "checkpoints"
        folder.mkdir()
        root = Address.of(self.given["CheckpointConfig"]["S3Uri"])
        for address in self._store.find(root):
            self._store.download(address, folder / address.key.removeprefix(root.key).lstrip("/"))

    def _keep_checkpoints(self, bases: list[Path]) -> None:
        if "CheckpointConfig" not in self.given:
            return
        root = Address.of(self.given["CheckpointConfig"]["S3Uri"])
        for base in bases:
            for path in sorted((base / "checkpoints").rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    self._store.upload(
                        path, root.within(str(path.relative_to(base / "checkpoints")))
                    )

    def _end(self, status: str, reason: str) -> None:
        with self._lock:
            self._status, self._reason = status, reason
            self._times["TrainingEndTime"] = now()
            self.move_on(status, reason or f"Training job {status.lower()}")
            self._transitions[-1]["EndTime"] = self._modified

    def _listener(self, index: int, host: str) -> Callable[[str], None]:
        stream = self._logs.stream("/aws/sagemaker/TrainingJobs", f"{self.name}/{host}-1")

        def listen(line: str) -> None:
            stream(line)
            self._last_lines[index].append(line.strip())
            for name, pattern in self._patterns:
                if match := pattern.search(line):
                    try:
                        self._metrics[name] = float(match[1]), now()
                    except (ValueError, IndexError):
                        continue

        return listen


def _failure(base: Path) -> str:
    """Return why a container has failed, by its own words, if it has any."""
    path = base / "output/failure"
    text = path.read_text(errors="replace")[:_REASON_CHARACTERS] if path.is_file() else ""
    return text if not text or text.startswith(_BLAMED) else f"AlgorithmError: {text}"


class TrainingJobs:
    """All jobs, so many of which run at a time; the others wait in a queue.

    Parameters
    ----------
    store : Store
    runner : Runner
    logs : Logs
    folder : Path
    n_at_once : int
        Hosts that run at a time.
    """

    def __init__(
        self, store: Store, runner: Runner, logs: Logs, folder: Path, *, n_at_once: int
    ) -> None:
        self._store, self._runner, self._logs, self._folder = store, runner, logs, folder
        self._jobs: dict[str, TrainingJob] = {}
        self._n_free, self._n_most = n_at_once, n_at_once
        self._turn = threading.Condition()
        self._queue: list[TrainingJob] = []

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take a job into the queue."""
        name = given["TrainingJobName"]
        with self._turn:
            if name in self._jobs:
                raise in_use("Training job", name)
            job = TrainingJob(given, self._store, self._runner, self._logs, self._folder / name)
            self._jobs[name] = job
            self._queue.append(job)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return {"TrainingJobArn": arn("training-job", name)}

    def describe(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of one."""
        return self.get(given["TrainingJobName"]).describe()

    def stop(self, given: dict[str, Any]) -> dict[str, Any]:
        """Have one end."""
        self.get(given["TrainingJobName"]).stop()
        with self._turn:
            self._turn.notify_all()
        return {}

    def list(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of all that are asked for."""
        jobs = [job.summary() for job in self._jobs.values()]
        if "StatusEquals" in given:
            jobs = [job for job in jobs if job["TrainingJobStatus"] == given["StatusEquals"]]
        if "NameContains" in given:
            jobs = [job for job in jobs if given["NameContains"] in job["TrainingJobName"]]
        key = {"Name": "TrainingJobName", "Status": "TrainingJobStatus"}.get(
            given.get("SortBy", "CreationTime"), "CreationTime"
        )
        jobs.sort(
            key=lambda job: job[key], reverse=given.get("SortOrder", "Descending") == "Descending"
        )
        start, most = int(given.get("NextToken", 0)), given.get("MaxResults", 100)
        told: dict[str, Any] = {"TrainingJobSummaries": jobs[start : start + most]}
        if start + most < len(jobs):
            told["NextToken"] = str(start + most)
        return told

    def get(self, name: str) -> TrainingJob:
        """Return one.

        Raises
        ------
        ApiError
            When there is none.
        """
        if name not in self._jobs:
            raise ApiError("ValidationException", "Requested resource not found.")
        return self._jobs[name]

    def stop_all(self) -> None:
        """End what runs, for the server ends."""
        for job in self._jobs.values():
            if not job.has_ended:
                job.stop()
        with self._turn:
            self._turn.notify_all()

    def _run(self, job: TrainingJob) -> None:
        n = min(job.given["ResourceConfig"].get("InstanceCount", 1), self._n_most)
        with self._turn:  # first come, first served
            self._turn.wait_for(
                lambda: job.status == "Stopping" or (self._queue[0] is job and self._n_free >= n)
            )
            self._queue.remove(job)
            self._n_free -= n
            self._turn.notify_all()
        try:
            job.run()
        finally:
            with self._turn:
                self._n_free += n
                self._turn.notify_all()
