"""An object in S3 that is written in parts."""

from __future__ import annotations

from onepass.data.s3_client import Client, S3Uri

PART_BYTES = 8 * 2**20
"""Of a part of an upload; doubled after every thousand parts, as there may be 10,000."""

_PARTS_OF_A_SIZE = 1000


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

    def __init__(self, client: Client, uri: S3Uri) -> None:
        self._client, self.uri = client, uri
        self.n_bytes = 0
        self._first = bytearray()
        self._pending = bytearray()
        self._parts: list[dict[str, object]] = []
        self._id: str = client.ask("create_multipart_upload", uri)["UploadId"]

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
        whole = {"Parts": parts}
        self._client.ask(
            "complete_multipart_upload", self.uri, UploadId=self._id, MultipartUpload=whole
        )

    def abandon(self) -> None:
        """Forget all that was sent."""
        self._client.ask("abort_multipart_upload", self.uri, UploadId=self._id)

    def _send_pending(self) -> None:
        self._send(len(self._parts) + 2, self._pending)
        self._pending = bytearray()

    def _send(self, number: int, data: bytearray) -> None:
        answer = self._client.ask(
            "upload_part", self.uri, UploadId=self._id, PartNumber=number, Body=bytes(data)
        )
        known = {name: value for name, value in answer.items() if _is_kept(name)}
        self._parts.append({"PartNumber": number, **known})


def _is_kept(name: str) -> bool:
    """Whether what is told of a part must be told again when the object is made."""
    return name == "ETag" or (name.startswith("Checksum") and name != "ChecksumType")
