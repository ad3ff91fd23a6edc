"""One Parquet file, read by pyarrow some thousand rows at a time.

A Parquet file says at its end what is in it, so it must be one that can be read from any place:
neither a pipe, nor compressed once more as a whole.

Source: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from onepass.data.blocks import NOT_FINITE, BlockFile
from onepass.data.byte_stream import SeekableStream
from onepass.data.columns import n_labels
from onepass.data.streams import Opened
from onepass.errors import DecodeError, WidthError
from onepass.formats.arrays import Rows

_VALUES_AT_ONCE = 2**19
_MOST_BYTES = 2**28  # of what a file says of itself
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What a file that is none makes pyarrow raise; the last where a column's name is no UTF-8."""


class ParquetFile(BlockFile):
    """Reads a file from its beginning to its end.

    Parameters
    ----------
    opened : Opened
    n_features : int
    label_size : int or None
        How many leading columns are labels, of any type; as for CSV.

    Notes
    -----
    Columns must be whole numbers, floats or truth values, without nulls. Memory: a page of each
    column, and half a million values.
    """

    def __init__(self, opened: Opened, n_features: int, label_size: int | None) -> None:
        super().__init__(n_features)
        self._name = opened.name
        self._batch = pa.record_batch([], [])
        self._batches = self._open(_plain(opened), label_size)

    def _next_block(self) -> Rows | None:
        try:
            batch = next(self._batches, None)
        except _BROKEN as error:
            raise self._error(
                f"the Parquet data are broken: {error}; write the file anew"
            ) from error
        if batch is not None:
            return self._convert(batch)
        if self._n_rows != self._n_there:
            raise self._error(
                f"it has {self._n_rows} rows of {self._n_there} that it says; write the file anew"
            )
        return None

    def peek(self) -> bool:
        """Whether there are rows; their width has been checked."""
        return self._n_there > 0

    def _open(self, stream: SeekableStream, label_size: int | None) -> Iterator[pa.RecordBatch]:
        if not stream.n_there:
            self._n_there = 0
            return iter(())
        file = _open_table(stream, self._name)
        schema = file.schema_arrow
        try:
            first = n_labels(len(schema), self._n_features, label_size)
        except WidthError as error:
            raise error.within(self._name) from error
        for name, count in Counter(schema.names).items():
            if count > 1:
                raise self._error(f"two columns are named {name!r}; rename one")
        for field in list(schema)[first:]:
            if not _is_number(field.type):
                raise self._error(
                    f"column {field.name!r} is of type {field.type}, not of numbers; convert it, "
                    "or drop it"
                )
        self._n_there = self._count(file.metadata)
        n = max(1, _VALUES_AT_ONCE // self._n_features)
        names = schema.names[first:]
        batches: Iterator[pa.RecordBatch] = file.iter_batches(n, columns=names, use_threads=False)
        return batches

    def _count(self, metadata: pa.parquet.FileMetaData) -> int:
        """Return how many rows there are; where the groups disagree, pyarrow would drop some."""
        n_rows = int(metadata.num_rows)
        n_in_groups = sum(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        if n_in_groups != n_rows:
            raise self._error(
                f"it says that it has {n_rows} rows, its groups {n_in_groups}; write the file anew"
            )
        return n_rows

    def _convert(self, batch: pa.RecordBatch) -> Rows:
        self._batch = batch
        rows = np.empty((batch.num_rows, self._n_features), np.float32)
        for j, column in enumerate(batch.columns):
            with np.errstate(over="ignore"):
                rows[:, j] = column.to_numpy(zero_copy_only=False)  # what is null becomes NaN
        return rows

    def _refusal(self, row: int, feature: int) -> DecodeError:
        column = self._batch.column(feature)
        where = f"row {self._n_rows + 1}, column {self._batch.schema.names[feature]!r}"
        reason = NOT_FINITE if column[row].is_valid else "a value that is null"
        return DecodeError(reason, where=where, source=self._name, skippable=True)

    def _error(self, reason: str) -> DecodeError:
        return DecodeError(reason, source=self._name)


def n_columns(opened: Opened) -> int:
    """Return how many columns a file has; 0 where it is empty."""
    stream = _plain(opened)
    return len(_open_table(stream, opened.name).schema_arrow) if stream.n_there else 0


def _plain(opened: Opened) -> SeekableStream:
    if not isinstance(opened.stream, SeekableStream):
        reason = (
            "Parquet is read from plain files only: use TrainingInputMode File, and compress "
            "nothing as a whole"
        )
        raise DecodeError(reason, source=opened.name)
    return opened.stream


def _open_table(stream: SeekableStream, name: str) -> pa.parquet.ParquetFile:
    try:
        file = pa.parquet.ParquetFile(
            pa.PythonFile(stream.seekable(), "r"),
            pre_buffer=False,
            thrift_string_size_limit=_MOST_BYTES,
            thrift_container_size_limit=_MOST_BYTES,
        )
        _ = file.schema_arrow  # where a name is no text, it is told now
    except _BROKEN as error:
        reason = f"no Parquet file: {error}; check ContentType, or write the file anew"
        raise DecodeError(reason, source=name) from error
    return file


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
