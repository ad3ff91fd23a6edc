"""Clusters and distances of rows as a table, in CSV or Parquet, however many rows there are."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from onepass.formats.arrays import Array, Vector

_SCHEMA = pa.schema([("cluster", pa.int32()), ("distance", pa.float32())])

_GROUP_ROWS = 2**20


class LabelTable:
    """Writes a table behind the beginning of a file; see `label_table`."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._sink = _Sink(file)
        out = pa.PythonFile(self._sink, "w")
        if kind == "parquet":
            self._writer: Any = pa.parquet.ParquetWriter(out, _SCHEMA)
        else:
            self._sink.write((",".join(_SCHEMA.names) + "\n").encode())
            options = pa.csv.WriteOptions(include_header=False)
            self._writer = pa.csv.CSVWriter(out, _SCHEMA, write_options=options)
        self._waiting: list[Any] = []
        self._n_waiting = 0

    def write(self, labels: Array, distances: Vector, gaps: Mapping[int, int]) -> None:
        """Write the next rows.

        Parameters
        ----------
        labels : ndarray of shape (n,), int32
        distances : ndarray of shape (n,), float32
        gaps : mapping of int to int
            How many rows without values stand before one of these, or (n) behind the last.

        Raises
        ------
        OSError
            When the file cannot be written, now or at the end.
        """
        empty = None
        if gaps:
            places = np.repeat(list(gaps), list(gaps.values()))
            empty = np.insert(np.zeros(len(labels), bool), places, True)
            labels, distances = np.insert(labels, places, 0), np.insert(distances, places, 0)
        columns = [pa.array(column, mask=empty) for column in (labels, distances)]
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        self._n_waiting += len(labels)
        if self._n_waiting >= _GROUP_ROWS:
            self._flush()

    def finish(self) -> None:
        """Write what waits, and the end of the table."""
        self._flush()
        self.close()
        self._sink.check()

    def close(self) -> None:
        """Give back what pyarrow holds."""
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting, _SCHEMA).combine_chunks())
        self._waiting, self._n_waiting = [], 0
        self._sink.check()


@contextmanager
def label_table(file: BinaryIO, kind: str) -> Generator[LabelTable, None, None]:
    r"""Write a table of clusters and distances, which is complete when the context is left.

    Parameters
    ----------
    file : binary file
        Written forward only.
    kind : str
        "csv", with a header; numbers are the shortest that are read back the same, and a row
        without values is a comma. "parquet": int32 and float32, which may be null.

    Raises
    ------
    OSError
        When the file cannot be written.

    Notes
    -----
    Memory: 8 MiB, and what pyarrow makes of it.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> with label_table(file, "csv") as table:
    ...     table.write(np.int32([2, 0]), np.float32([0.5, 0.1]), {1: 1})
    >>> file.getvalue()
    b'cluster,distance\n2,0.5\n,\n0,0.1\n'
    """
    table = LabelTable(file, kind)
    try:
        yield table
        table.finish()
    finally:
        table.close()


class _Sink:
    """What pyarrow wants of a file that it writes.

    An error waits here until it is asked for: pyarrow would meet it once more at each attempt to
    close what it holds.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def check(self) -> None:
        """Raise what has gone wrong."""
        if self._error is not None:
            raise self._error

    def flush(self) -> None:
        """Do nothing: that is left to who has opened the file."""

    def close(self) -> None:
        """Do nothing: as above."""
