"""What the platform says of the job: its channels and its hosts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from onepass.errors import UserError
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.sagemaker.paths import Paths
from onepass.sagemaker.settings import NOTHING, OPTION, Given, Said, Source, gather, typed

DEFAULT_HOST = "algo-1"
DEFAULT_CONTENT_TYPE = "application/x-recordio-protobuf"
MODEL_CONTENT_TYPE = "application/x-sagemaker-model"
MODEL_CONTENT_TYPES = (MODEL_CONTENT_TYPE, "application/x-tar", "application/gzip")
_WRAPPERS = ("None", "RecordIO")
_E = TypeVar("_E", bound=StrEnum)


class InputMode(StrEnum):
    """How a channel's data come."""

    FILE = "File"
    FAST_FILE = "FastFile"
    PIPE = "Pipe"


class Distribution(StrEnum):
    """What of a channel's data each host gets."""

    REPLICATED = "FullyReplicated"
    SHARDED = "ShardedByS3Key"


@dataclass(frozen=True)
class Channel:
    """One channel of input.

    Attributes
    ----------
    name : str
    directory : Path
        Of its files; pipes lie beside it.
    content_type : str
        A media type; RecordIO-protobuf when the job names none.
    mode : InputMode
    wrapped : bool
        Each object comes as one RecordIO record, in a pipe.
    distribution : Distribution
        Whether every host gets all objects, or each gets some, perhaps none, for itself.
    uri : str
        Of objects in S3 that are read from there; empty where files lie in the directory.
    """

    name: str
    directory: Path
    content_type: str
    mode: InputMode = InputMode.FILE
    wrapped: bool = False
    distribution: Distribution = Distribution.REPLICATED
    uri: str = ""

    def pipe(self, epoch: int) -> Path:
        """Return the pipe of a pass over the data, counted from 0."""
        return self.directory.with_name(f"{self.name}_{epoch}")


@dataclass(frozen=True)
class JobInput:
    """All a training job is given.

    Attributes
    ----------
    hyperparameters : Hyperparameters
    train : Channel
    test : Channel or None
    host : str
        This host's name, for metrics.
    ignored : tuple of str
        Channels that k-means has no use for.
    hosts : tuple of str
        All that take part, sorted: each knows itself by its place among them.
    interface : str
        Of the network that they meet in; empty where the platform names none.
    model : Path or None
        The directory of the channel 'model': what is to be gone on with.
    name, arn : str
        What the platform calls the job; empty where it has no name.
    """

    hyperparameters: Hyperparameters
    train: Channel
    test: Channel | None
    host: str
    ignored: tuple[str, ...]
    hosts: tuple[str, ...] = (DEFAULT_HOST,)
    interface: str = ""
    model: Path | None = None
    name: str = ""
    arn: str = ""

    def channel(self, name: str) -> Channel:
        """Return the channel of a name, which the job has."""
        channel = {"train": self.train, "test": self.test}[name]
        if channel is None:
            raise KeyError(name)
        return channel

    def channels(self) -> list[Channel]:
        """Return the channels that the job has, 'train' first."""
        return [self.train] if self.test is None else [self.train, self.test]

    @property
    def host_index(self) -> int:
        """The place of this host among all, from 0."""
        return self.hosts.index(self.host) if len(self.hosts) > 1 else 0


def read_settings(
    paths: Paths, given: Given = NOTHING, *, required: bool = True
) -> dict[str, Said]:
    """Read what is said of hyperparameters, right or wrong, by name.

    Parameters
    ----------
    paths : Paths
    given : Given
    required : bool
        Whether ``hyperparameters.json`` must exist where nothing is said elsewhere.

    Raises
    ------
    UserError
        When that file is missing, or is no JSON object.
    """
    required = required and not gather({}, given)
    return gather(_read_json(paths.hyperparameters, required=required), given)


def read_job_input(paths: Paths, given: Given = NOTHING) -> JobInput:
    """Read and check the configuration of a job.

    Parameters
    ----------
    paths : Paths
        Only ``hyperparameters.json`` and the directory of the channel 'train' need to exist.
    given : Given
        Hyperparameters from elsewhere, for a job of one host; without any, the file must exist.

    Raises
    ------
    UserError
        Naming the file, the field, what was found and what is accepted.
    """
    said = read_settings(paths, given)
    hyperparameters = typed(said)
    resources = _read_json(paths.resource_config)
    host, hosts = _hosts(resources, paths.resource_config)
    if len(hosts) > 1:
        _refuse_what_other_hosts_cannot_read(said, paths)
    interface = str(resources.get("network_interface_name") or "")
    described = _read_json(paths.input_data_config)
    names = set(described) or _directories(paths.data)
    channels = {
        name: _channel(paths, name, described.get(name, {}))
        for name in ("train", "test")
        if name in names
    }
    if "train" not in channels:
        found = ", ".join(sorted(names)) or "none"
        raise UserError(f"the channel 'train' is required; the job has: {found}")
    unnamed = _directories(paths.data) - names  # which no channel of the job says anything of
    ignored = tuple(sorted((names - {"train", "test", "model"}) | unnamed))
    train, test = channels["train"], channels.get("test")
    model = _model(paths, described.get("model", {})) if "model" in names else None
    return JobInput(hyperparameters, train, test, host, ignored, hosts, interface, model)


def _refuse_what_other_hosts_cannot_read(said: dict[str, Said], paths: Paths) -> None:
    elsewhere = [
        f"{name} ({one.source})" for name, one in said.items() if one.source != Source.FILE
    ]
    if elsewhere:
        raise UserError(
            f"{', '.join(elsewhere)}: a job of several hosts takes hyperparameters from "
            f"{paths.hyperparameters} alone, which each of them reads for itself"
        )


def _model(paths: Paths, described: Any) -> Path:
    """Return the directory of the channel 'model'."""
    channel = _channel(paths, "model", described)
    content_type = described.get("ContentType") or MODEL_CONTENT_TYPE
    if content_type not in MODEL_CONTENT_TYPES:
        accepted = ", ".join(MODEL_CONTENT_TYPES)
        raise UserError(
            f"channel 'model': ContentType={content_type!r} is not accepted: it must be one of "
            f"{accepted}"
        )
    if channel.mode == InputMode.PIPE or channel.uri:
        raise UserError(
            "channel 'model': a model is read from files; TrainingInputMode must be File or "
            "FastFile, and S3Uri be left out"
        )
    if channel.distribution != Distribution.REPLICATED:
        raise UserError(
            "channel 'model': S3DistributionType='ShardedByS3Key' is not accepted: a model is for "
            "all hosts; it must be FullyReplicated"
        )
    return channel.directory


def _channel(paths: Paths, name: str, described: Any) -> Channel:
    if not isinstance(described, dict):
        raise UserError(f"{paths.input_data_config}: channel {name!r} must be an object")
    mode = _one_of(InputMode, described, "TrainingInputMode", name)
    distribution = _one_of(Distribution, described, "S3DistributionType", name)
    wrapper = described.get("RecordWrapperType") or "None"
    if wrapper not in _WRAPPERS or (wrapper != "None" and mode != InputMode.PIPE):
        raise UserError(
            f"channel {name!r}: RecordWrapperType={wrapper!r} with TrainingInputMode={mode!r} is "
            "not accepted: RecordWrapperType must be None, or RecordIO in Pipe mode"
        )
    content_type = described.get("ContentType") or DEFAULT_CONTENT_TYPE
    directory = paths.data / name
    wrapped = wrapper != "None"
    uri = described.get("S3Uri") or ""
    if uri:
        if not isinstance(uri, str) or not uri.startswith("s3://"):
            raise UserError(f"channel {name!r}: S3Uri={uri!r} must begin with s3://")
        if mode != InputMode.FILE or distribution != Distribution.REPLICATED:
            raise UserError(
                f"channel {name!r}: S3Uri with TrainingInputMode={mode!r} and "
                f"S3DistributionType={distribution!r} is not accepted: objects that are read from "
                "S3 need File and FullyReplicated, or neither"
            )
    return Channel(name, directory, str(content_type), mode, wrapped, distribution, uri)


def _one_of(kind: type[_E], described: dict[str, Any], key: str, name: str) -> _E:
    """Return what a key says; the first of its kind where it says nothing."""
    value = described.get(key) or next(iter(kind))
    if value not in [*kind]:
        accepted = ", ".join(kind)
        raise UserError(f"channel {name!r}: {key}={value!r} is not known; accepted are {accepted}")
    return kind(value)


def _hosts(described: dict[str, Any], path: Path) -> tuple[str, tuple[str, ...]]:
    """Return this host's name, and the names of all, sorted."""
    hosts = described.get("hosts", [DEFAULT_HOST])
    if not isinstance(hosts, list) or not hosts or not all(isinstance(h, str) for h in hosts):
        raise UserError(f"{path}: hosts={hosts!r} must be a list of names")
    host = str(described.get("current_host", hosts[0] if len(hosts) == 1 else None))
    if len(set(hosts)) < len(hosts):
        raise UserError(f"{path}: hosts={hosts!r} must differ from one another")
    if len(hosts) > 1 and host not in hosts:
        raise UserError(f"{path}: current_host={host!r} must be one of hosts={hosts!r}")
    return host, tuple(sorted(hosts))


def _directories(data: Path) -> set[str]:
    return {path.name for path in data.iterdir() if path.is_dir()} if data.is_dir() else set()


def _read_json(path: Path, *, required: bool = False) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise UserError(
                f"{path} is missing; it holds the hyperparameters of the job (or {OPTION} names "
                f"them: {OPTION} k=10)"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, found {type(content).__name__}")
    return content
