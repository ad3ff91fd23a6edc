"""Objects in S3 in the place of files."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from onepass.data.s3 import Store
from onepass.data.s3_client import S3Uri
from onepass.data.s3_stream import S3Object, S3Stream


class S3Path(NamedTuple):
    """An object, as the path of a file stands for that.

    Attributes
    ----------
    item : S3Object
    """

    item: S3Object

    def __str__(self) -> str:
        return str(self.item.uri)

    @property
    def n_bytes(self) -> int:
        """Of the object, as it was when it was listed."""
        return self.item.n_bytes

    def stream(self, start: int, stop: int) -> S3Stream:
        """Open the bytes from one to before another, for reading forward.

        What has been written anew since it was listed is refused as it is read.
        """
        return _store(os.getpid()).open(self.item, start, stop)

    def read(self, n_bytes: int, at: int) -> bytes:
        """Read so many bytes from a place on, or as many as there are: one request."""
        stop = min(at + n_bytes, self.n_bytes)
        data, n = bytearray(max(0, stop - at)), 0
        stream = self.stream(at, max(at, stop))
        try:
            while n < len(data):
                n += stream.readinto(memoryview(data)[n:])
        finally:
            stream.close()
        return bytes(data)


def list_objects(uri: str) -> list[S3Path]:
    """List the data objects that a name stands for; see `onepass.data.s3.Store.list_objects`.

    Raises
    ------
    UserError
        When the name is none, or there is nothing; when credentials do not allow this.
    PlatformError
        When S3 cannot be reached.
    """
    return [S3Path(item) for item in _store(os.getpid()).list_objects(S3Uri.parse(uri))]


@cache
def _store(process: int) -> Store:
    """Return the store of a process: what is forked must not share connections."""
    del process
    return Store()
