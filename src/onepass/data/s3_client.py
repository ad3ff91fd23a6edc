"""What S3 is asked, and its errors in our words: the one module that knows boto3.

boto3 is loaded when a client is made. Region, credentials, endpoint (``AWS_ENDPOINT_URL``) and the
number of attempts are what it finds in the environment and in its files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from onepass.errors import OnepassError, PlatformError, UserError

SCHEME = "s3://"

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


class BrokenConnectionError(PlatformError):
    """A connection broke while an answer was read."""


class Client:
    """Asks S3.

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

    def ask(self, operation: str, uri: S3Uri, **words: object) -> dict[str, Any]:
        """Ask for something about an object; `operation` is called as boto3 calls it."""
        with _told(str(uri)):
            answer: dict[str, Any] = getattr(self._client, operation)(
                Bucket=uri.bucket, Key=uri.key, **words
            )
        return answer

    def entries_below(self, uri: S3Uri) -> Iterator[dict[str, Any]]:
        """Yield what S3 tells of every object whose name begins so."""
        with _told(str(uri)):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=uri.bucket, Prefix=uri.key):
                yield from page.get("Contents", ())


def read_answer(body: Any, uri: S3Uri, n_bytes: int) -> bytes:  # of botocore's own type
    """Read so many bytes of what S3 sends, or what is there of them.

    Raises
    ------
    BrokenConnectionError
        Not tried again: the caller knows where it was.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError  # noqa: PLC0415

    try:
        data: bytes = body.read(n_bytes)
    except (HTTPClientError, IncompleteReadError) as error:
        raise BrokenConnectionError(f"{uri}: {error}") from error
    return data


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
