"""Objects in S3, which is moto's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from control_plane.names import REGION


class Address(NamedTuple):
    """A bucket, and a key or what keys begin with."""

    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> Address:
        """Read ``s3://bucket/key``."""
        if not uri.startswith("s3://"):
            raise ValueError(f"{uri} is no address in S3")
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return cls(bucket, key)

    def within(self, name: str) -> Address:
        """Return something in this folder."""
        return self._replace(key="/".join(part for part in (self.key.strip("/"), name) if part))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Store:
    """A client.

    Parameters
    ----------
    endpoint : str
        Where the server is.
    """

    def __init__(self, endpoint: str) -> None:
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - moto asks for none
            config=Config(s3={"addressing_style": "path"}),
        )

    def find(self, address: Address) -> list[Address]:
        """Return all objects whose keys begin like that, sorted; folders' own are left out."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=address.bucket, Prefix=address.key
        )
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return [Address(address.bucket, key) for key in sorted(keys) if not key.endswith("/")]

    def of_manifest(self, address: Address) -> list[Address]:
        """Return the objects that a manifest names."""
        first, *names = json.loads(self.read(address))
        prefix = Address.of(first["prefix"])
        return [prefix._replace(key=prefix.key + name) for name in names]

    def read(self, address: Address) -> bytes:
        """Return an object's content."""
        content: bytes = self._client.get_object(Bucket=address.bucket, Key=address.key)[
            "Body"
        ].read()
        return content

    def chunks(self, address: Address) -> Iterator[bytes]:
        """Yield an object's content, 1 MiB at a time."""
        body = self._client.get_object(Bucket=address.bucket, Key=address.key)["Body"]
        yield from body.iter_chunks(2**20)

    def write(self, address: Address, content: bytes) -> None:
        """Make an object."""
        self._client.put_object(Bucket=address.bucket, Key=address.key, Body=content)

    def download(self, address: Address, path: Path) -> None:
        """Make a file of an object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._client.download_file(address.bucket, address.key, str(path))

    def upload(self, path: Path, address: Address) -> None:
        """Make an object of a file."""
        self._client.upload_file(str(path), address.bucket, address.key)

    def why_not(self, address: Address) -> str:
        """Return why a bucket cannot be used, or nothing."""
        try:
            self._client.head_bucket(Bucket=address.bucket)
        except ClientError as error:
            return f"{address.bucket}: {error.response['Error'].get('Message', error)}"
        return ""

    @property
    def client(self) -> Any:
        """The client of boto3."""
        return self._client
