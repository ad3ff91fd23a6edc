"""Objects in S3: listed, read forward or from any place, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from onepass.data.channels import HIDDEN
from onepass.data.s3_client import Client, S3Uri
from onepass.data.s3_stream import S3Object, S3Stream
from onepass.data.s3_upload import Upload


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
        self._client = Client()

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
        self._client.ask("delete_object", uri)

    def _below(self, uri: S3Uri) -> Iterator[S3Object]:
        for entry in self._client.entries_below(uri):
            if not entry["Key"].endswith("/"):  # a folder that some tool has drawn
                place = S3Uri(uri.bucket, entry["Key"])
                yield S3Object(place, entry["Size"], entry["ETag"])


def _is_hidden(path: str) -> bool:
    return any(name.startswith(HIDDEN) for name in path.split("/"))
