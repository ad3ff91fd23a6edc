"""What a channel's content type says of its objects: how they are read, and where cut."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from onepass.data.boundaries import find_line, find_record, uncut
from onepass.data.npy_file import NpyFile
from onepass.data.record_file import RecordFile
from onepass.data.sources import FilePath, Pipe, Source, is_compressed, n_bytes_of
from onepass.data.streams import Opened
from onepass.errors import UserError
from onepass.formats.arrays import Rows
from onepass.formats.media import CSV, RECORDIO_PROTOBUF, MediaType
from onepass.formats.record_decoder import Decoded
from onepass.formats.recordio import HEADER_BYTES

PARQUET, NPY = "application/x-parquet", "application/x-npy"


class RowFile(Protocol):
    """One object of a channel, as rows."""

    def follow(self, before: object) -> None:
        """Before the first row, take over what is of use of an object that has been read.

        With thousands of small files, most of the time would go into memory and into finding out
        again what was known of the file before.

        Parameters
        ----------
        before : RowFile
            Of the same width; it is not to be used any more.
        """

    def decode(self, out: Rows) -> Decoded:
        """Write the next rows to the head of `out`.

        Parameters
        ----------
        out : ndarray of shape (n, n_features), float32
            At least one row; filled from its beginning, not always to its end.

        Returns
        -------
        Decoded
            No rows only when the object has ended. Its bytes are told by formats that count them.

        Raises
        ------
        DecodeError
            With the object, and the record and its byte, or the row and the column from 1.
        """

    def peek(self) -> bool:
        """Check the width of the first row; False when there is none."""


class TableFormat(NamedTuple):
    """How objects of one content type are read.

    Attributes
    ----------
    open : callable
        ``(opened, n_features) -> RowFile``.
    boundary : callable
        ``(path, at, size) -> int``: where the first row at or behind a byte starts.
    least_row_bytes : int
        No row takes less; 0 where the size of a file tells nothing.
    """

    open: Callable[[Opened, int], RowFile]
    boundary: Callable[[FilePath, int, int], int]
    least_row_bytes: int


RECORDS = TableFormat(RecordFile, find_record, HEADER_BYTES)


def format_of(content_type: str, channel: str) -> TableFormat:
    """Return how a content type is read.

    Parameters
    ----------
    content_type : str
    channel : str
        Its name, for messages.

    Raises
    ------
    UserError
        For one that nothing here reads, naming those that are.
    """
    media = MediaType.parse(content_type)
    if media.name == RECORDIO_PROTOBUF:
        return RECORDS
    if media.name == CSV:
        label_size = _label_size(media)
        return TableFormat(partial(_open_csv, label_size=label_size), find_line, 2)
    if media.name == PARQUET:
        label_size = _label_size(media)
        return TableFormat(partial(_open_parquet, label_size=label_size), uncut, 0)
    if media.name == NPY:
        return TableFormat(NpyFile, uncut, 1)
    raise UserError(
        f"channel {channel!r}: No iterator has been registered for ContentType {content_type!r}; "
        f"this version reads {RECORDIO_PROTOBUF}, {CSV}, {PARQUET} and {NPY}"
    )


def _label_size(media: MediaType) -> int | None:
    return media.label_size() if "label_size" in media.parameters else None


def _open_csv(opened: Opened, n_features: int, *, label_size: int | None) -> RowFile:
    from onepass.data.csv_file import CsvFile  # noqa: PLC0415 - takes 0.1 s, which few jobs need

    return CsvFile(opened, n_features, label_size)


def _open_parquet(opened: Opened, n_features: int, *, label_size: int | None) -> RowFile:
    from onepass.data.parquet_file import ParquetFile  # noqa: PLC0415 - as above

    return ParquetFile(opened, n_features, label_size)


def most_rows(
    sources: Sequence[Source], table_format: TableFormat = RECORDS, *, enough: int = sys.maxsize
) -> int:
    """Return more rows than the sources can hold, so that nothing is made far too large.

    Where they may hold `enough`, by their sizes, that is not looked into any further: no file is
    opened to see whether it is compressed.
    """
    if not table_format.least_row_bytes or any(isinstance(source, Pipe) for source in sources):
        return sys.maxsize
    most = n_bytes_of(sources) // table_format.least_row_bytes + 1
    if most >= enough or any(is_compressed(source.path) for source in sources):
        return sys.maxsize
    return most
