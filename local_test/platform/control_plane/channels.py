"""The data of a training job: what each host gets of it, as files or through pipes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from control_plane.errors import invalid
from control_plane.s3 import Address, Store


class Channel(NamedTuple):
    """A channel of a job.

    Attributes
    ----------
    given : dict
        As the request has it.
    mode : str
        ``File``, ``Pipe`` or ``FastFile``.
    objects : list of Address
    is_sharded : bool
    """

    given: dict[str, Any]
    mode: str
    objects: list[Address]
    is_sharded: bool

    @property
    def name(self) -> str:
        """What it is called."""
        name: str = self.given["ChannelName"]
        return name

    @property
    def is_packed(self) -> bool:
        """Whether its objects are unpacked on their way."""
        return bool(self.given.get("CompressionType", "None") == "Gzip")

    def described(self) -> dict[str, str]:
        """Return it as inputdataconfig.json has it."""
        told = {
            "TrainingInputMode": self.mode,
            "S3DistributionType": "ShardedByS3Key" if self.is_sharded else "FullyReplicated",
            "RecordWrapperType": self.given.get("RecordWrapperType", "None"),
        }
        if "ContentType" in self.given:
            told["ContentType"] = self.given["ContentType"]
        return told

    def of_host(self, index: int, n_hosts: int) -> list[Address]:
        """Return the objects that a host gets."""
        return self.objects[index::n_hosts] if self.is_sharded else self.objects


def find_channel(given: dict[str, Any], default_mode: str, store: Store) -> Channel:
    """Find the objects of a channel.

    Raises
    ------
    ApiError
        When there are none.
    """
    source = given["DataSource"].get("S3DataSource")
    if source is None:
        raise invalid(f"channel {given['ChannelName']}: only S3DataSource is offered here")
    address = Address.of(source["S3Uri"])
    if reason := store.why_not(address):
        raise invalid(f"channel {given['ChannelName']}: cannot use the bucket {reason}")
    if source["S3DataType"] == "ManifestFile":
        objects = store.of_manifest(address)
    else:
        objects = store.find(address)
    is_sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
    return Channel(given, given.get("InputMode", default_mode), objects, is_sharded)


class Input:
    """What is under /opt/ml/input of one host.

    Parameters
    ----------
    base : Path
        What the container has as /opt/ml.
    store : Store
    """

    def __init__(self, base: Path, store: Store) -> None:
        self._base, self._store = base, store
        self._feeders: list[threading.Thread] = []
        self._ended = threading.Event()

    def lay_out(self, channels: list[Channel], index: int, hosts: list[str]) -> None:
        """Bring all files of a host, and make the first pipes."""
        for channel in channels:
            objects = channel.of_host(index, len(hosts))
            if channel.mode == "Pipe":
                thread = threading.Thread(target=self._feed, args=(channel, objects), daemon=True)
                self._feeders.append(thread)
                self._pipe(channel, 0)
            else:
                self._download(channel, objects)

    def configure(self, files: dict[str, Any]) -> None:
        """Write the files of input/config."""
        folder = self._base / "input/config"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))

    def start(self) -> None:
        """Begin to feed pipes."""
        for thread in self._feeders:
            thread.start()

    def end(self) -> None:
        """Feed no more."""
        self._ended.set()
        for pipe in (self._base / "input/data").glob("*_*"):
            with suppress(OSError):  # who waits for a reader is let go
                os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))

    def _download(self, channel: Channel, objects: list[Address]) -> None:
        folder = self._base / "input/data" / channel.name
        folder.mkdir(parents=True, exist_ok=True)
        prefix = Address.of(channel.given["DataSource"]["S3DataSource"]["S3Uri"]).key
        for address in objects:
            is_within = address.key.startswith(f"{prefix.rstrip('/')}/")
            root = prefix if is_within else prefix.rpartition("/")[0]
            path = folder / address.key.removeprefix(root).lstrip("/")
            self._store.download(address, path)
            if channel.is_packed:
                unpacked = path.with_name(f".{path.name}")
                with gzip.open(path) as packed, unpacked.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                unpacked.replace(path)

    def _pipe(self, channel: Channel, epoch: int) -> Path:
        path = self._base / "input/data" / f"{channel.name}_{epoch}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.mkfifo(path)
        return path

    def _feed(self, channel: Channel, objects: list[Address]) -> None:
        """Write a channel into one pipe after the other, until nobody reads any more."""
        epoch = 0
        while not self._ended.is_set():
            pipe = self._pipe(channel, epoch)
            with suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
                if self._ended.is_set():
                    return
                self._pipe(channel, epoch + 1)
                for address in objects:
                    for chunk in self._content(channel, address):
                        file.write(chunk)
            epoch += 1

    def _content(self, channel: Channel, address: Address) -> Iterator[bytes]:
        if not channel.is_packed:
            yield from self._store.chunks(address)
            return
        unpacker = zlib.decompressobj(wbits=31)
        for chunk in self._store.chunks(address):
            yield unpacker.decompress(chunk)
        yield unpacker.flush()
