"""Blocks to one file, whatever its format."""

from __future__ import annotations

import io
import itertools
from typing import NamedTuple, Protocol

import numpy as np

from onepass.convert.blocks import Block
from onepass.convert.file_formats import FileFormat
from onepass.convert.parquet_tables import ParquetWriter
from onepass.convert.places import StagedFile
from onepass.data.gzip_writer import GzipPacker
from onepass.errors import AlgorithmError, UserError
from onepass.formats.csv_writer import write_rows
from onepass.formats.libsvm import write_lines
from onepass.formats.record_blocks import dense_records, sparse_records
from onepass.sparse import SparseRows

_VALUES_AT_ONCE = 2**17
"""Are encoded while they are in the processor's cache."""


class Writing(NamedTuple):
    """What files are to be like.

    Attributes
    ----------
    format : FileFormat
    n_features, n_labels : int
    is_sparse : bool
        Of RecordIO: only values that are not zero are written.
    first_index : int
        What libsvm files call the first feature.
    """

    format: FileFormat
    n_features: int
    n_labels: int
    is_sparse: bool = False
    first_index: int = 1


class Writer(Protocol):
    """Writes one file."""

    def write(self, block: Block) -> None:
        """Write the next rows, one at least."""

    def finish(self) -> None:
        """Write what is left; the file is not finished by this."""

    def abandon(self) -> None:
        """Give back what is held, and write no more."""


def open_writer(file: StagedFile, writing: Writing) -> Writer:
    """Begin to write a file.

    Raises
    ------
    UserError
        When the format cannot hold such rows.
    """
    if writing.format == FileFormat.RECORDIO:
        return _SparseRecordWriter(file) if writing.is_sparse else _RecordWriter(file)
    if writing.format == FileFormat.LIBSVM:
        return _LibsvmWriter(file, writing)
    if writing.format == FileFormat.CSV:
        return _CsvWriter(file)
    if writing.format == FileFormat.NPY:
        return _NpyWriter(file, writing.n_labels + writing.n_features)
    return ParquetWriter(file, n_features=writing.n_features, n_labels=writing.n_labels)


def check_writing(writing: Writing) -> None:
    """Refuse what a format cannot hold, before anything is written."""
    if writing.format == FileFormat.LIBSVM and writing.n_labels > 1:
        raise UserError(
            f"libsvm lines hold one label, these rows have {writing.n_labels}; "
            "--labels drop leaves them out"
        )


class _PlainWriter:
    """What writes all it is given at once."""

    def __init__(self, file: StagedFile) -> None:
        self._file = file

    def finish(self) -> None:
        """Write what is left: nothing."""

    def abandon(self) -> None:
        """Give back what is held: nothing."""


class _RecordWriter(_PlainWriter):
    def write(self, block: Block) -> None:
        for rows, labels in block.matrices(_VALUES_AT_ONCE):
            self._file.write(dense_records(rows, labels).data)


class _SparseRecordWriter(_PlainWriter):
    def write(self, block: Block) -> None:
        for rows, labels in _pieces(block):
            self._file.write(sparse_records(rows, labels).data)


class _LibsvmWriter(_PlainWriter):
    """Rows without a label get the label 0, as a line must have one."""

    def __init__(self, file: StagedFile, writing: Writing) -> None:
        super().__init__(file)
        self._first_index = writing.first_index

    def write(self, block: Block) -> None:
        for rows, labels in _pieces(block):
            label = labels if labels.shape[1] else np.zeros((len(labels), 1), np.float32)
            self._file.write(write_lines(rows, label, first_index=self._first_index))


class _CsvWriter(_PlainWriter):
    def write(self, block: Block) -> None:
        for rows, labels in block.matrices(_VALUES_AT_ONCE):
            self._file.write(write_rows(np.hstack((labels, rows))))


class _NpyWriter(_PlainWriter):
    """Writes a matrix whose number of rows is told at its head once it is known."""

    def __init__(self, file: StagedFile, n_columns: int) -> None:
        super().__init__(file)
        self._n_columns = n_columns
        self._n_rows = 0
        self._file.write(self._header())

    def write(self, block: Block) -> None:
        for rows, labels in block.matrices():
            self._file.write(np.hstack((labels, rows)).astype("<f4", copy=False).data)
            self._n_rows += len(rows)

    def finish(self) -> None:
        header = self._header()
        if len(header) != len(self._header(0)):
            raise AlgorithmError(f"the header of {self._n_rows} rows takes more room than was left")
        self._file.rewrite_head(header)

    def _header(self, n_rows: int | None = None) -> bytes:
        file = io.BytesIO()
        shape = (self._n_rows if n_rows is None else n_rows, self._n_columns)
        about = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        return file.getvalue()


class GzipFile:
    """A staged file that holds one gzip member; what it is like cannot be changed afterwards.

    Parameters
    ----------
    file : StagedFile
    """

    def __init__(self, file: StagedFile) -> None:
        self._file = file
        self._packer = GzipPacker()

    @property
    def n_bytes(self) -> int:
        """Compressed bytes so far."""
        return self._file.n_bytes

    @n_bytes.setter
    def n_bytes(self, n: int) -> None:
        raise AttributeError(f"{n} bytes cannot be set")

    def write(self, data: bytes | memoryview) -> None:
        """Compress the next bytes."""
        self._file.write(self._packer.pack(data))

    def rewrite_head(self, data: bytes) -> None:
        """Refuse: formats that need this are not compressed."""
        raise AlgorithmError(f"{len(data)} bytes of a compressed file cannot be written anew")

    def finish(self) -> None:
        """Write the end of the member, and finish the file."""
        self._file.write(self._packer.end())
        self._file.finish()


def _pieces(block: Block) -> list[tuple[SparseRows, np.ndarray]]:
    """Cut sparse rows into pieces of about so many values."""
    rows = block.sparse()
    wanted = np.arange(0, int(rows.starts[-1]) + 1, _VALUES_AT_ONCE)
    cuts = np.unique(np.append(np.searchsorted(rows.starts, wanted), [0, len(rows)]))
    return [
        (rows[start:stop], block.labels[start:stop])
        for start, stop in itertools.pairwise(cuts.tolist())
    ]
