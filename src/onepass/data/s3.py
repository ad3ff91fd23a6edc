"""Objects in S3: listed, read forward or from any place, written whole or not at all.

The one module that knows boto3, which is loaded when the first object is asked for: region,
credentials and endpoint (``AWS_ENDPOINT_URL``) are what boto3 finds.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from onepass.data.byte_stream import HEAD_BYTES
from onepass.data.channels import HIDDEN
from onepass.errors import OnepassError, PlatformError, UserError

SCHEME = "s3://"
PART_BYTES = 8 * 2**20
"""Of a part of an upload; doubled after every thousand parts, as there may be 10,000."""

_PARTS_OF_A_SIZE = 1000
_N_ATTEMPTS = 5
_FORBIDDEN = ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
_MISSING = ("404", "NoSuchBucket", "NoSuchKey", "PermanentRedirect")


class S3Uri(NamedTuple):
    """Where an object is, or where names of objects begin.

    Attributes
    ----------
    bucket : str
    key : str
        May be empty.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``s3://bucket/key``.

        Examples
        --------
        >>> S3Uri.parse("s3://bucket/data/train/")
        S3Uri(bucket='bucket', key='data/train/')
        """
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise UserError(f"{text!r} names no object: s3://bucket/key is expected")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def below(self, name: str) -> S3Uri:
        """Return the object of a name in this folder."""
        folder = f"{self.key.rstrip('/')}/" if self.key else ""
        return S3Uri(self.bucket, folder + name)


class S3Object(NamedTuple):
    """An object that is there.

    Attributes
    ----------
    uri : S3Uri
    n_bytes : int
    etag : str
        Changes when the object is written anew.
    """

    uri: S3Uri
    n_bytes: int
    etag: str


class Store:
    """What S3 holds, as far as the credentials reach.

    Raises
    ------
    UserError
        When boto3 is missing; by every method, when credentials, bucket or object are wrong.
    PlatformError
        By every method, when S3 cannot be reached or fails again and again.
    """

    def __init__(self) -> None:
        try:
            import boto3  # noqa: PLC0415 - an extra, and slow to import
            from botocore.config import Config  # noqa: PLC0415
        except ImportError as error:
            raise UserError(
                f"s3:// needs boto3, which is not installed ({error}); it comes with the extra s3: "
                "pip install 'onepass-kmeans[s3]'"
            ) from error
        with _told("S3"):
            config = Config(retries={"mode": "standard"})
            self._client = boto3.Session().client("s3", config=config)

    def list_objects(self, uri: S3Uri) -> list[S3Object]:
        """List the data objects that a name stands for.

        Returns
        -------
        list of S3Object
            The object of just this name; or else those in the folder of this name; or else those
            whose names begin so. Sorted by their path; names, or folders below, that start with
            ``.`` or ``_`` are passed over.
        """
        found = list(self._below(uri))
        folder = f"{uri.key.rstrip('/')}/" if uri.key else ""
        exact = [item for item in found if item.uri.key == uri.key]
        if exact:
            return exact
        inside = [item for item in found if item.uri.key.startswith(folder)]
        n = len(folder if inside else uri.key[: uri.key.rfind("/") + 1])
        return sorted(
            (item for item in inside or found if not _is_hidden(item.uri.key[n:])),
            key=lambda item: item.uri.key.split("/"),
        )

    def open(self, item: S3Object, start: int = 0, stop: int | None = None) -> S3Stream:
        """Open an object, or the bytes of it from one to before another, for reading forward."""
        return S3Stream(self._client, item, start, item.n_bytes if stop is None else stop)

    def upload(self, uri: S3Uri) -> Upload:
        """Begin an object, which is there once `Upload.complete` has been called."""
        return Upload(self._client, uri)

    def delete(self, uri: S3Uri) -> None:
        """Delete an object, if it is there."""
        with _told(str(uri)):
            self._client.delete_object(Bucket=uri.bucket, Key=uri.key)

    def _below(self, uri: S3Uri) -> Iterator[S3Object]:
        with _told(str(uri)):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=uri.bucket, Prefix=uri.key):
                for entry in page.get("Contents", ()):
                    key = entry["Key"]
                    if not key.endswith("/"):  # a folder that some tool has drawn
                        yield S3Object(S3Uri(uri.bucket, key), entry["Size"], entry["ETag"])


class S3Stream:
    """An object, or part of it; a connection that breaks is taken up where it broke.

    Attributes
    ----------
    n_read : int
        Bytes.
    """

    def __init__(self, client: Any, item: S3Object, start: int, stop: int) -> None:
        self.n_read = 0
        self._client, self._item = client, item
        self._at, self._stop = start, stop
        self._body: Any = None
        self._head = b""

    @property
    def n_there(self) -> int:
        """Bytes that have not been read."""
        return self._stop - self._at + len(self._head)

    def head(self) -> bytes:
        """Return the first four bytes of what is left, or as many as there are."""
        while len(self._head) < HEAD_BYTES:
            piece = bytearray(HEAD_BYTES - len(self._head))
            n = self._read(memoryview(piece))
            if not n:
                break
            self._head += piece[:n]
        return self._head

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what is there."""
        if not self._head:
            return self._read(buffer)
        n = min(len(buffer), len(self._head))
        buffer[:n] = self._head[:n]
        self._head = self._head[n:]
        return n

    def seekable(self) -> S3File:
        """Return the same object as one that can be read from any place: instead of `readinto`."""
        return S3File(self._client, self._item, self)

    def close(self) -> None:
        """Close the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _read(self, buffer: memoryview) -> int:
        n_wanted = min(len(buffer), self._stop - self._at)
        if not n_wanted:
            return 0
        with _told(str(self._item.uri)):
            n = self._try(buffer[:n_wanted])
        self._at += n
        self.n_read += n
        return n

    def _try(self, buffer: memoryview) -> int:
        from botocore.exceptions import HTTPClientError, IncompleteReadError  # noqa: PLC0415

        for attempt in range(1, _N_ATTEMPTS + 1):
            if self._body is None:
                self._body = self._request()  # which boto3 tries again by itself
            try:
                data: bytes = self._body.read(len(buffer))
            except (HTTPClientError, IncompleteReadError):
                self.close()
                if attempt == _N_ATTEMPTS:
                    raise
            else:
                if data:
                    buffer[: len(data)] = data
                    return len(data)
                self.close()  # cut short without a word
        raise PlatformError(f"{self._item.uri} ends {self._stop - self._at} bytes too early")

    def _request(self) -> Any:
        uri = self._item.uri
        answer = self._client.get_object(
            Bucket=uri.bucket,
            Key=uri.key,
            Range=f"bytes={self._at}-{self._stop - 1}",
            IfMatch=self._item.etag,
        )
        return answer["Body"]


class S3File:
    """What pyarrow wants of a file; what is read is counted where it was opened."""

    closed = False

    def __init__(self, client: Any, item: S3Object, counted: S3Stream) -> None:
        self._client, self._item = client, item
        self._counted = counted
        self._at = 0

    def read(self, n_bytes: int = -1) -> bytes:
        """Read as many bytes as there are, up to so many: one request."""
        left = self._item.n_bytes - self._at
        n = left if n_bytes < 0 else max(0, min(n_bytes, left))
        stream = S3Stream(self._client, self._item, self._at, self._at + n)
        data, n_there = bytearray(n), 0
        with contextlib.closing(stream):
            while n_there < n:
                n_there += stream.readinto(memoryview(data)[n_there:])
        self._at += n
        self._counted.n_read += n
        return bytes(data)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._item.n_bytes}[whence]
        self._at = base + place
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def close(self) -> None:
        """Do nothing: no connection stays open."""


class Upload:
    """An object that is written in parts and then made, or not.

    Attributes
    ----------
    uri : S3Uri
    n_bytes : int
        Written so far.

    Notes
    -----
    Memory: the first part, which is sent last so that its head may be written anew, and one other.
    A process that is killed leaves parts behind, which nothing lists as an object; a rule of the
    bucket (``AbortIncompleteMultipartUpload``) removes such.
    """

    def __init__(self, client: Any, uri: S3Uri) -> None:
        self._client, self.uri = client, uri
        self.n_bytes = 0
        self._first = bytearray()
        self._pending = bytearray()
        self._parts: list[dict[str, object]] = []
        with _told(str(uri)):
            answer = client.create_multipart_upload(Bucket=uri.bucket, Key=uri.key)
        self._id: str = answer["UploadId"]

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        view = memoryview(data).cast("B")
        self.n_bytes += len(view)
        n = min(len(view), PART_BYTES - len(self._first))
        self._first += view[:n]
        view = view[n:]
        while view:
            part_bytes = PART_BYTES << (len(self._parts) // _PARTS_OF_A_SIZE)
            n = min(len(view), part_bytes - len(self._pending))
            self._pending += view[:n]
            view = view[n:]
            if len(self._pending) == part_bytes:
                self._send_pending()

    def rewrite_head(self, data: bytes) -> None:
        """Write the first bytes anew, a few thousand at most."""
        self._first[: len(data)] = data

    def finish(self) -> None:
        """Send what is left: only `complete` or `abandon` may follow."""
        if self._pending:
            self._send_pending()
        self._send(1, self._first)
        self._first = bytearray()

    def complete(self) -> None:
        """Make the object of all that was sent, in the place of one that was there."""
        parts = sorted(self._parts, key=lambda part: int(str(part["PartNumber"])))
        with _told(str(self.uri)):
            self._client.complete_multipart_upload(
                Bucket=self.uri.bucket,
                Key=self.uri.key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
            )

    def abandon(self) -> None:
        """Forget all that was sent."""
        with _told(str(self.uri)):
            self._client.abort_multipart_upload(
                Bucket=self.uri.bucket, Key=self.uri.key, UploadId=self._id
            )

    def _send_pending(self) -> None:
        self._send(len(self._parts) + 2, self._pending)
        self._pending = bytearray()

    def _send(self, number: int, data: bytearray) -> None:
        with _told(str(self.uri)):
            answer = self._client.upload_part(
                Bucket=self.uri.bucket,
                Key=self.uri.key,
                UploadId=self._id,
                PartNumber=number,
                Body=bytes(data),
            )
        known = {name: value for name, value in answer.items() if _is_kept(name)}
        self._parts.append({"PartNumber": number, **known})


def _is_kept(name: str) -> bool:
    """Whether what is told of a part must be told again when the object is made."""
    return name == "ETag" or (name.startswith("Checksum") and name != "ChecksumType")


def _is_hidden(path: str) -> bool:
    return any(name.startswith(HIDDEN) for name in path.split("/"))


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell errors of boto3 in our words."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _explained(error, what) from error


def _explained(error: Exception, what: str) -> OnepassError:
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    kind = type(error).__name__
    if code in _MISSING:
        return UserError(f"{what}: there is no such bucket or object ({error})")
    if code in _FORBIDDEN:
        return UserError(f"{what}: the credentials do not allow this ({error})")
    if code in ("412", "PreconditionFailed"):
        return UserError(f"{what} was written anew while it was read; read it again")
    if kind in ("NoCredentialsError", "PartialCredentialsError"):
        return UserError(
            f"{what}: {error}; AWS_ACCESS_KEY_ID and its like, or a profile, give them"
        )
    if kind in ("ParamValidationError", "ProfileNotFound", "NoRegionError"):
        return UserError(f"{what}: {error}")
    return PlatformError(f"{what}: {error}")
