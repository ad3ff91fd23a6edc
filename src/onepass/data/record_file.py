"""One file of RecordIO-protobuf, decoded block by block."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from onepass.errors import DecodeError, PlatformError
from onepass.formats.arrays import Rows
from onepass.formats.records import Decoded, RecordDecoder

READ_BYTES = 2**20
"""Read at once: a block is decoded while it is still in the processor's cache."""


class RecordFile:
    """Decodes a file from its beginning to its end.

    Parameters
    ----------
    path : Path
    n_features : int
        The width every record must have.

    Notes
    -----
    Holds one block of `READ_BYTES`, which grows where a record is longer, to its limit at most.
    The bytes of a record cut by the end of a block move to the front, so that records always
    start at an address divisible by four and are compared as words.
    """

    def __init__(self, path: Path, n_features: int) -> None:
        self._path = path
        self._decoder = RecordDecoder(n_features)
        self._block = np.empty(READ_BYTES, np.uint8)
        self._start = self._end = 0
        self._at_end = False
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise PlatformError(f"cannot open {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def decode(self, out: Rows) -> Decoded:
        """Decode the next rows.

        Parameters
        ----------
        out : ndarray of shape (n, n_features), float32
            At least one row; filled from its beginning, not always to its end.

        Returns
        -------
        Decoded
            No rows only when the file has ended.

        Raises
        ------
        DecodeError
            With the file, the record and its byte offset.
        PlatformError
            When the file cannot be read.
        """
        try:
            while True:
                done = self._decoder.decode(self._block[self._start : self._end], out)
                self._start += done.n_bytes
                if done.n_rows:
                    return done
                if self._at_end:
                    self._decoder.finish(self._block[self._start : self._end])
                    return done
                self._read()
        except DecodeError as error:
            raise error.within(str(self._path)) from error

    def _read(self) -> None:
        """Move what is left to the front and read behind it."""
        left = self._end - self._start
        if left == len(self._block):
            self._block = np.concatenate([self._block, np.empty_like(self._block)])
        self._block[:left] = self._block[self._start : self._end]
        try:
            n = self._file.readinto(self._block[left:].data)
        except OSError as error:
            raise PlatformError(f"cannot read {self._path}: {error.strerror}") from error
        self._start, self._end = 0, left + n
        self._at_end = n == 0
