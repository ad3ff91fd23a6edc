"""Models and endpoints: our image under ``serve``, asked whether it is well as SageMaker asks."""

from __future__ import annotations

import json
import tarfile
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from control_plane.errors import ApiError, in_use, not_found
from control_plane.logs import Logs
from control_plane.names import arn, now
from control_plane.runners import Runner, Running, Wanted, remove
from control_plane.s3 import Address, Store

_WELL_WITHIN_S, _PING_S, _POLL_S = 240.0, 2.0, 0.2
_INVOKE_S = 60.0
_STOP_S = 30
_EXECUTION_PARAMETERS = ("MaxPayloadInMB", "MaxConcurrentTransforms", "BatchStrategy")


class Answer(NamedTuple):
    """What a container has answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Server:
    """One container that serves a model.

    Parameters
    ----------
    name : str
        Of its own in all the world.
    model : dict
        The request that made the model.
    store : Store
    runner : Runner
    logs : Logs
    group, folder
        Of its logs; where its files are.
    """

    def __init__(
        self,
        name: str,
        model: dict[str, Any],
        store: Store,
        runner: Runner,
        logs: Logs,
        group: str,
        folder: Path,
    ) -> None:
        self._store, self._folder = store, folder
        self._inside = runner.inside(folder)
        self.container = model.get("PrimaryContainer") or model["Containers"][0]
        self.is_multi = self.container.get("Mode") == "MultiModel"
        self._loaded: dict[str, str] = {}
        self._lock = threading.Lock()
        environment = dict(self.container.get("Environment", {}))
        (folder / "model").mkdir(parents=True)
        if self.is_multi:
            environment["SAGEMAKER_MULTI_MODEL"] = "true"
            (folder / "models").mkdir()
        elif "ModelDataUrl" in self.container:
            self._unpack(Address.of(self.container["ModelDataUrl"]), folder / "model")
        wanted = Wanted(name, self.container["Image"], "serve", folder, environment)
        self._running: Running = runner.start(wanted, logs.stream(group, f"{name}/log"))

    def wait_until_well(self) -> None:
        """Wait for the first ping that is answered.

        Raises
        ------
        RuntimeError
            When none is.
        """
        deadline = time.monotonic() + _WELL_WITHIN_S
        while time.monotonic() < deadline:
            if self._running.code is not None:
                raise RuntimeError(f"the container ended with exit code {self._running.code}")
            try:
                if self._ask("GET", "/ping", b"", {}, _PING_S).status == 200:
                    return
            except OSError:
                pass
            time.sleep(_POLL_S)
        raise RuntimeError(
            "The primary container for production variant AllTraffic did not pass the ping health "
            "check. Please check CloudWatch logs for this endpoint."
        )

    def invoke(self, body: bytes, headers: dict[str, str], target: str = "") -> Answer:
        """Ask the model something."""
        path = "/invocations"
        if self.is_multi:
            if not target:
                raise ApiError("ValidationError", "TargetModel is required for this endpoint")
            path = f"/models/{self._load(target)}/invoke"
        try:
            return self._ask("POST", path, body, headers, _INVOKE_S)
        except OSError as error:
            raise ApiError("ModelError", f"the container does not answer: {error}", 424) from error

    def execution_parameters(self) -> dict[str, Any]:
        """Return how the container likes to be asked, if it says so."""
        try:
            answer = self._ask("GET", "/execution-parameters", b"", {}, _PING_S)
            told = json.loads(answer.body) if answer.status == 200 else {}
        except (OSError, ValueError):
            return {}
        return {name: told[name] for name in _EXECUTION_PARAMETERS if name in told}

    def stop(self) -> None:
        """End it."""
        self._running.stop(_STOP_S)
        self._running.wait(_STOP_S + 5)
        remove(self._folder)

    def _load(self, target: str) -> str:
        """Have a model of many loaded; returns its name in the container."""
        with self._lock:
            if target in self._loaded:
                return self._loaded[target]
            name = target.strip("/").replace("/", "-").removesuffix(".tar.gz")
            address = Address.of(self.container["ModelDataUrl"]).within(target.lstrip("/"))
            try:
                self._unpack(address, self._folder / "models" / name / "model")
            except Exception as error:
                raise ApiError(
                    "ValidationError", f"Could not find model data at {address}."
                ) from error
            told = {"model_name": name, "url": f"{self._inside}/models/{name}/model"}
            headers = {"Content-Type": "application/json"}
            answer = self._ask("POST", "/models", json.dumps(told).encode(), headers, _INVOKE_S)
            if answer.status not in (200, 409):
                raise ApiError("ModelError", answer.body.decode(errors="replace"), 424)
            self._loaded[target] = name
            return name

    def _unpack(self, address: Address, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        archive = self._folder / f"{time.monotonic_ns()}.tar.gz"
        self._store.download(address, archive)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], within_s: float
    ) -> Answer:
        url = f"http://127.0.0.1:{self._running.port}{path}"
        request = urllib.request.Request(url, body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=within_s) as response:  # noqa: S310
                return _answer(response)
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())


def _answer(response: HTTPResponse) -> Answer:
    headers = {name.title(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, response.read())


class Endpoint:
    """What is asked by a name, whatever serves it."""

    def __init__(self, name: str, config: str) -> None:
        self.name, self.config = name, config
        self.status, self.reason = "Creating", ""
        self.created = self.modified = now()
        self.servers: dict[str, Server] = {}

    def describe(self) -> dict[str, Any]:
        """Return what DescribeEndpoint tells."""
        told = {
            "EndpointName": self.name,
            "EndpointArn": arn("endpoint", self.name),
            "EndpointConfigName": self.config,
            "EndpointStatus": self.status,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "ProductionVariants": [
                {"VariantName": name, "CurrentWeight": 1.0, "CurrentInstanceCount": 1}
                for name in self.servers
            ],
        }
        return told | ({"FailureReason": self.reason} if self.reason else {})

    def settle(self, status: str, reason: str = "") -> None:
        """End a change."""
        self.status, self.reason, self.modified = status, reason, now()


class Hosting:
    """Models, configurations of endpoints, and endpoints."""

    def __init__(self, store: Store, runner: Runner, logs: Logs, folder: Path) -> None:
        self._store, self._runner, self._logs, self._folder = store, runner, logs, folder
        self._models: dict[str, dict[str, Any]] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._n_started = 0
        self._lock = threading.RLock()

    def create_model(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keep what a model is."""
        return self._keep(self._models, given, "ModelName", "Model", "model")

    def describe_model(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of one."""
        return self._told(self._models, given["ModelName"], "model", "Model")

    def delete_model(self, given: dict[str, Any]) -> dict[str, Any]:
        """Forget one."""
        return self._forget(self._models, given["ModelName"], "model")

    def create_endpoint_config(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keep what an endpoint is to be."""
        for variant in given["ProductionVariants"]:
            self.model(variant["ModelName"])
        return self._keep(
            self._configs, given, "EndpointConfigName", "EndpointConfig", "endpoint-config"
        )

    def describe_endpoint_config(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of one."""
        name = given["EndpointConfigName"]
        return self._told(self._configs, name, "endpoint-config", "EndpointConfig")

    def delete_endpoint_config(self, given: dict[str, Any]) -> dict[str, Any]:
        """Forget one."""
        return self._forget(self._configs, given["EndpointConfigName"], "endpoint configuration")

    def create_endpoint(self, given: dict[str, Any]) -> dict[str, Any]:
        """Start the containers of an endpoint."""
        name = given["EndpointName"]
        with self._lock:
            if name in self._endpoints:
                raise in_use("Endpoint", name)
            self._config(given["EndpointConfigName"])
            endpoint = self._endpoints[name] = Endpoint(name, given["EndpointConfigName"])
        threading.Thread(target=self._bring_up, args=(endpoint,), daemon=True).start()
        return {"EndpointArn": arn("endpoint", name)}

    def update_endpoint(self, given: dict[str, Any]) -> dict[str, Any]:
        """Start the containers of another configuration; the former serve until they are well."""
        endpoint = self._endpoint(given["EndpointName"])
        self._config(given["EndpointConfigName"])
        with self._lock:
            if endpoint.status not in ("InService", "Failed"):
                raise ApiError(
                    "ValidationException", f"Cannot update in-progress endpoint {endpoint.name}."
                )
            endpoint.status = "Updating"
        former, endpoint.config = endpoint.config, given["EndpointConfigName"]
        threading.Thread(target=self._bring_up, args=(endpoint, former), daemon=True).start()
        return {"EndpointArn": arn("endpoint", endpoint.name)}

    def describe_endpoint(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of one."""
        return self._endpoint(given["EndpointName"]).describe()

    def list_endpoints(self, given: dict[str, Any]) -> dict[str, Any]:
        """Tell of all."""
        del given
        names = (
            "EndpointName",
            "EndpointArn",
            "CreationTime",
            "LastModifiedTime",
            "EndpointStatus",
        )
        told = [one.describe() for one in self._endpoints.values()]
        return {"Endpoints": [{name: one[name] for name in names} for one in told]}

    def delete_endpoint(self, given: dict[str, Any]) -> dict[str, Any]:
        """End the containers of one."""
        endpoint = self._endpoint(given["EndpointName"])
        with self._lock:
            del self._endpoints[endpoint.name]
        for server in endpoint.servers.values():
            threading.Thread(target=server.stop, daemon=True).start()
        return {}

    def invoke(
        self, name: str, body: bytes, headers: dict[str, str], target: str, variant: str
    ) -> tuple[Answer, str]:
        """Ask an endpoint something; returns the answer and the variant that gave it."""
        if name not in self._endpoints:
            raise ApiError("ValidationError", f"Endpoint {name} of account was not found.")
        endpoint = self._endpoints[name]
        if endpoint.status not in ("InService", "Updating"):
            raise ApiError("ValidationError", f"Endpoint {name} is {endpoint.status}")
        variant = variant or next(iter(endpoint.servers))
        if variant not in endpoint.servers:
            raise ApiError("ValidationError", f"Variant {variant} is not found for endpoint {name}")
        return endpoint.servers[variant].invoke(body, headers, target), variant

    def model(self, name: str) -> dict[str, Any]:
        """Return what a model is."""
        if name not in self._models:
            raise not_found("model", arn("model", name))
        return self._models[name]

    def serve(self, name: str, model: dict[str, Any], group: str) -> Server:
        """Start a container that serves a model."""
        with self._lock:
            self._n_started += 1
            unique = f"onepass-{name}-{self._n_started}"
        where = self._folder / unique
        return Server(unique, model, self._store, self._runner, self._logs, group, where)

    def stop_all(self) -> None:
        """End all containers, for the server ends."""
        for endpoint in self._endpoints.values():
            for server in endpoint.servers.values():
                server.stop()

    def _bring_up(self, endpoint: Endpoint, former: str = "") -> None:
        servers: dict[str, Server] = {}
        try:
            for variant in self._config(endpoint.config)["ProductionVariants"]:
                group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
                servers[variant["VariantName"]] = self.serve(
                    endpoint.name, self.model(variant["ModelName"]), group
                )
            for server in servers.values():
                server.wait_until_well()
        except Exception as error:  # noqa: BLE001 - whatever it is, the endpoint says so
            for server in servers.values():
                server.stop()
            if former:
                endpoint.config = former
            endpoint.settle("InService" if endpoint.servers else "Failed", str(error))
            return
        before, endpoint.servers = endpoint.servers, servers
        endpoint.settle("InService")
        for server in before.values():
            server.stop()

    def _endpoint(self, name: str) -> Endpoint:
        if name not in self._endpoints:
            raise not_found("endpoint", arn("endpoint", name))
        return self._endpoints[name]

    def _config(self, name: str) -> dict[str, Any]:
        if name not in self._configs:
            raise not_found("endpoint configuration", arn("endpoint-config", name))
        return self._configs[name]

    def _keep(
        self, kept: dict[str, Any], given: dict[str, Any], key: str, what: str, kind: str
    ) -> dict[str, Any]:
        with self._lock:
            if given[key] in kept:
                raise ApiError(
                    "ValidationException", f"Cannot create already existing {what} {given[key]}"
                )
            kept[given[key]] = given | {"CreationTime": now()}
        return {f"{what}Arn": arn(kind, given[key])}

    def _told(self, kept: dict[str, Any], name: str, kind: str, what: str) -> dict[str, Any]:
        if name not in kept:
            raise not_found(kind, arn(kind, name))
        told: dict[str, Any] = kept[name] | {f"{what}Arn": arn(kind, name)}
        return told

    def _forget(self, kept: dict[str, Any], name: str, what: str) -> dict[str, Any]:
        if kept.pop(name, None) is None:
            raise not_found(what, name)
        return {}
