"""Parquet: how many columns there are, and files of float32 columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from onepass.convert.blocks import Block
from onepass.convert.places import StagedFile
from onepass.data.byte_stream import ByteStream, SeekableStream
from onepass.errors import DecodeError

_GROUP_VALUES = 2**23
"""Of a row group: 32 MiB."""


def count_columns(stream: ByteStream, name: str) -> int:
    """Return how many columns a file has.

    Raises
    ------
    DecodeError
        When it is no Parquet file.
    """
    if not isinstance(stream, SeekableStream):
        raise DecodeError("Parquet is read from plain files only", source=name)
    try:
        schema = pa.parquet.read_schema(pa.PythonFile(stream.seekable(), "r"))
    except (pa.ArrowInvalid, OSError) as error:
        raise DecodeError(f"no Parquet file: {error}", source=name) from error
    return len(schema)


class ParquetWriter:
    """Writes float32 columns: the labels, then ``feature_0``, ``feature_1``, ...

    Parameters
    ----------
    file : StagedFile
    n_features, n_labels : int

    Notes
    -----
    Memory: a row group of 32 MiB or one row, and what pyarrow makes of it.
    """

    def __init__(self, file: StagedFile, *, n_features: int, n_labels: int) -> None:
        labels = ["label"] if n_labels == 1 else [f"label_{i}" for i in range(n_labels)]
        names = [*labels, *(f"feature_{i}" for i in range(n_features))]
        self._schema = pa.schema([(name, pa.float32()) for name in names])
        self._group = np.empty((max(1, _GROUP_VALUES // len(names)), len(names)), np.float32)
        self._n_filled = 0
        self._n_labels = n_labels
        self._sink = _Sink(file)
        self._writer: Any = pa.parquet.ParquetWriter(pa.PythonFile(self._sink, "w"), self._schema)

    def write(self, block: Block) -> None:
        """Write rows."""
        for rows, labels in block.matrices():
            start = 0
            while start < len(rows):
                n = min(len(rows) - start, len(self._group) - self._n_filled)
                place = self._group[self._n_filled : self._n_filled + n]
                place[:, : self._n_labels] = labels[start : start + n]
                place[:, self._n_labels :] = rows[start : start + n]
                self._n_filled += n
                start += n
                if self._n_filled == len(self._group):
                    self._flush()

    def finish(self) -> None:
        """Write what is left, and the end of the file."""
        if self._n_filled:
            self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Close what pyarrow holds, without writing more."""
        self._sink.is_open = False
        self._writer.close()

    def _flush(self) -> None:
        columns = [np.ascontiguousarray(column) for column in self._group[: self._n_filled].T]
        table = pa.Table.from_arrays([pa.array(column) for column in columns], schema=self._schema)
        self._writer.write_table(table, row_group_size=self._n_filled)
        self._n_filled = 0


class _Sink:
    """What pyarrow wants of a file that it writes."""

    closed = False

    def __init__(self, file: StagedFile) -> None:
        self._file = file
        self.is_open = True

    def write(self, data: bytes) -> int:
        if self.is_open:
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is forced to disk when it is finished."""

    def close(self) -> None:
        """Do nothing: it is closed where it was opened."""
