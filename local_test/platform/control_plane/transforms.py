"""Batch transform: a model served for as long as objects are sent to it."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from control_plane.errors import in_use, invalid, not_found
from control_plane.hosting import Hosting, Server
from control_plane.names import arn, now
from control_plane.s3 import Address, Store
from control_plane.splitting import assembled, payloads_of, records_of

_MIB = 2**20
_USUAL = {"MaxPayloadInMB": 6, "MaxConcurrentTransforms": 1, "BatchStrategy": "MultiRecord"}
_BY_THE_CONTAINER = {
    "MaxPayloadInMB": "SAGEMAKER_MAX_PAYLOAD_IN_MB",
    "MaxConcurrentTransforms": "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
    "BatchStrategy": "SAGEMAKER_BATCH_STRATEGY",
}
_ENDED = ("Completed", "Failed", "Stopped")


class TransformJob:
    """One job."""

    def __init__(self, given: dict[str, Any], store: Store, hosting: Hosting) -> None:
        self.given, self._store, self._hosting = given, store, hosting
        self.name: str = given["TransformJobName"]
        self.status, self._reason = "InProgress", ""
        self._times: dict[str, Any] = {"CreationTime": now()}
        self._stopping = threading.Event()
        if given.get("DataProcessing"):
            raise invalid("DataProcessing is not offered here")
        self._model = hosting.model(given["ModelName"])
        self._root = Address.of(given["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])

    def describe(self) -> dict[str, Any]:
        """Return what DescribeTransformJob tells."""
        told = self.given | self._times | {"TransformJobStatus": self.status}
        told["TransformJobArn"] = arn("transform-job", self.name)
        return told | ({"FailureReason": self._reason} if self._reason else {})

    def stop(self) -> None:
        """Ask it to end."""
        if self.status in _ENDED:
            raise invalid(f"the transform job is in status {self.status}")
        self.status = "Stopping"
        self._stopping.set()

    def run(self) -> None:
        """Run it to its end."""
        server: Server | None = None
        self._times["TransformStartTime"] = now()
        try:
            model = self._with_environment()
            server = self._hosting.serve(self.name, model, "/aws/sagemaker/TransformJobs")
            server.wait_until_well()
            for address in self._objects():
                self._transform(server, address)
            self.status = "Stopped" if self._stopping.is_set() else "Completed"
        except Exception as error:  # noqa: BLE001 - whatever it is, the job says so
            self.status, self._reason = "Failed", str(error)
        finally:
            self._times["TransformEndTime"] = now()
            if server is not None:
                server.stop()

    def _with_environment(self) -> dict[str, Any]:
        """Return the model with the variables that a container of batch transform has."""
        own = {"SAGEMAKER_BATCH": "true"} | self.given.get("Environment", {})
        own |= {
            variable: str(self.given[name])
            for name, variable in _BY_THE_CONTAINER.items()
            if name in self.given
        }
        container = self._model.get("PrimaryContainer") or self._model["Containers"][0]
        environment = container.get("Environment", {}) | own
        return {"PrimaryContainer": container | {"Environment": environment}}

    def _objects(self) -> list[Address]:
        source = self.given["TransformInput"]["DataSource"]["S3DataSource"]
        if source["S3DataType"] == "ManifestFile":
            return self._store.of_manifest(self._root)
        return self._store.find(self._root)

    def _transform(self, server: Server, address: Address) -> None:
        settings: dict[str, Any] = _USUAL | server.execution_parameters() | self.given
        given, wanted = self.given["TransformInput"], self.given["TransformOutput"]
        content = self._store.read(address)
        if given.get("CompressionType") == "Gzip":
            content = gzip.decompress(content)
        records = records_of(content, given.get("SplitType", "None"))
        n_most = settings["MaxPayloadInMB"] * _MIB or len(content)
        payloads = list(payloads_of(records, settings["BatchStrategy"], n_most))
        headers = {"Content-Type": given.get("ContentType", "application/octet-stream")}
        headers |= {"Accept": wanted["Accept"]} if "Accept" in wanted else {}
        with ThreadPoolExecutor(max(1, settings["MaxConcurrentTransforms"])) as pool:
            answers = list(pool.map(partial(self._ask, server, headers), payloads))
        name = address.key.removeprefix(self._root.key.rpartition("/")[0]).lstrip("/")
        target = Address.of(wanted["S3OutputPath"]).within(f"{name}.out")
        self._store.write(target, assembled(answers, wanted.get("AssembleWith", "None")))

    def _ask(self, server: Server, headers: dict[str, str], payload: bytes) -> bytes:
        if self._stopping.is_set():
            return b""
        answer = server.invoke(payload, headers)
        if answer.status != 200:
            text = answer.body.decode(errors="replace")
            raise RuntimeError(f"ClientError: {answer.status}: {text}")
        return answer.body


class TransformJobs:
    """All jobs."""

    def __init__(self, store: Store, hosting: Hosting) -> None:
        self._store, self._hosting = store, hosting
        self._jobs: dict[str, TransformJob] = {}
        self._one_at_a_time = threading.Lock()

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        """Begin a job."""
        name = given["TransformJobName"]
        if name in self._jobs:
            raise in_use("Transform job", name)
        job = self._jobs[name] = TransformJob(given, self._store, self._hosting)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return {"TransformJobArn": arn("transform-job", name)}

    def describe(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of one."""
        return self._job(given).describe()

    def stop(self, given: dict[str, Any]) -> dict[str, Any]:
        """Have one end."""
        self._job(given).stop()
        return {}

    def _run(self, job: TransformJob) -> None:
        with self._one_at_a_time:
            job.run()

    def _job(self, given: dict[str, Any]) -> TransformJob:
        name = given["TransformJobName"]
        if name not in self._jobs:
            raise not_found("transform job", name)
        return self._jobs[name]
