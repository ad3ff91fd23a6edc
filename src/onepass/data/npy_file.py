"""One matrix as NumPy saves it, read row by row.

Source: "NPY format" in NumPy's documentation (``numpy.lib.format``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onepass.data.blocks import NOT_FINITE, BlockFile
from onepass.data.streams import Opened
from onepass.errors import DecodeError, WidthError
from onepass.formats.arrays import Array
from onepass.formats.npy import MAGIC, PREFIX_BYTES, header_bytes, parse_header, version_of

_BYTES_AT_ONCE = 2**19


class NpyFile(BlockFile):
    """Reads a matrix from its first row to its last.

    Parameters
    ----------
    opened : Opened
    n_features : int
        0 where only `n_columns` is asked for.

    Notes
    -----
    The matrix must hold numbers or truth values, row behind row (``order="C"``). Nothing is
    unpickled. Memory: half a MiB or one row.
    """

    def __init__(self, opened: Opened, n_features: int) -> None:
        super().__init__(n_features)
        self._stream, self._name = opened.stream, opened.name
        self._n_there = self._n_left = -1  # rows; not known before the header has been read
        self._n_columns = 0
        self._dtype: np.dtype[Any] = np.dtype(np.float32)
        self._header_bytes = 0
        self._room = np.empty(0, np.uint8)

    def _next_block(self) -> Array | None:
        self._begin()
        row_bytes = self._dtype.itemsize * self._n_features
        n = min(self._n_left, max(1, _BYTES_AT_ONCE // row_bytes))
        if not n:
            if self._n_there and self._take(1):
                raise self._error("data follow the last row; save each matrix to a file of its own")
            return None
        data = self._take(n * row_bytes)
        if len(data) < n * row_bytes:
            cut = self._n_rows + len(data) // row_bytes
            reason = f"the data end inside row {cut + 1} of {self._n_there}; write the file anew"
            at = self._header_bytes + self._n_rows * row_bytes + len(data)
            raise self._error(reason, f"byte {at}")
        self._n_left -= n
        return np.frombuffer(data, self._dtype).reshape(n, self._n_features)

    def _refusal(self, row: int, feature: int) -> DecodeError:
        del row  # the next one that is given out
        at = self._header_bytes + self._n_rows * self._n_features * self._dtype.itemsize
        where = f"row {self._n_rows + 1} at byte {at}, column {feature + 1}"
        return DecodeError(NOT_FINITE, where=where, source=self._name, skippable=True)

    def peek(self) -> bool:
        """Check what the header says; False when there is no row."""
        self._begin()
        return self._n_left > 0

    def n_columns(self) -> int:
        """Return how many columns the matrix has; 0 where there is none."""
        self._begin()
        return self._n_columns

    def _begin(self) -> None:
        if self._n_left >= 0:
            return
        start = bytes(self._take(len(MAGIC) + 2))
        if not start:
            self._n_there = self._n_left = 0
            return
        try:
            self._understand(start)
        except DecodeError as error:
            raise error.within(self._name) from error

    def _understand(self, start: bytes) -> None:
        version = version_of(start)
        size = bytes(self._take(PREFIX_BYTES[version] - len(start)))
        n_bytes = header_bytes(version, size) - PREFIX_BYTES[version]
        header = parse_header(version, size + bytes(self._take(n_bytes)))
        if header.by_columns:
            raise DecodeError(
                f"an array of shape {header[:2]} by columns (Fortran order); save a matrix, row "
                "behind row (order='C')"
            )
        if self._n_features and header.n_columns != self._n_features:
            raise WidthError(
                f"{header.n_columns} columns; expected are {self._n_features} features"
            )
        self._dtype, self._header_bytes = header.dtype, header.n_bytes
        self._n_columns = header.n_columns
        self._n_there = self._n_left = header.n_rows

    def _take(self, n_bytes: int) -> memoryview:
        """Read so many bytes, fewer at the end only: valid until others are read."""
        if len(self._room) < n_bytes:
            self._room = np.empty(n_bytes, np.uint8)
        taken, n_there = self._room[:n_bytes].data, 0
        while n_there < n_bytes and (n := self._stream.readinto(taken[n_there:])):
            n_there += n
        return taken[:n_there]

    def _error(self, reason: str, where: str = "") -> DecodeError:
        return DecodeError(reason, where=where, source=self._name)
