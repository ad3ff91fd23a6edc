"""What the first file says of a table: how wide it is, and what of it are labels."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from onepass.convert.file_formats import FileFormat
from onepass.convert.inputs import Input, read_head
from onepass.convert.parquet_tables import count_columns
from onepass.data.byte_stream import ByteStream
from onepass.data.npy_file import NpyFile
from onepass.data.streams import Opened, unfolded
from onepass.errors import DecodeError, UserError
from onepass.formats.record_row import LabelledRow, read_labelled
from onepass.formats.recordio import MAX_FRAME_BYTES, next_record

_LONGEST_LINE = 2**26
_NPY_HEAD_BYTES = 2**16 + 12


@dataclass(frozen=True)
class Reading:
    """How files are to be understood.

    Attributes
    ----------
    format : FileFormat or None
        None: as each file's name, or beginning, tells.
    label_size : int
        Leading columns that are labels, in CSV, Parquet and NumPy files.
    keep_labels : bool
    feature_dim : int or None
        The width every row must have; None: that of the first row.
    first_index : int
        What libsvm files call the first feature.
    """

    format: FileFormat | None = None
    label_size: int = 0
    keep_labels: bool = True
    feature_dim: int | None = None
    first_index: int = 1

    def format_of(self, one: Input) -> FileFormat:
        """Return the format of a file."""
        return self.format or one.format()


@dataclass(frozen=True)
class Table:
    """What every row has.

    Attributes
    ----------
    n_features : int
    n_labels : int
        That are kept.
    is_sparse : bool
        The first row is.
    """

    n_features: int
    n_labels: int
    is_sparse: bool


def survey(first: Input, reading: Reading) -> Table:
    """Look at the first row of a file.

    Raises
    ------
    UserError
        When it has none, or does not fit what is said of it.
    """
    file_format = reading.format_of(first)
    if reading.label_size and file_format in (FileFormat.RECORDIO, FileFormat.LIBSVM):
        raise UserError(
            f"--label-size {reading.label_size}: {file_format} files tell their labels themselves; "
            "it is for csv, parquet and npy"
        )
    try:
        table = _look(first, file_format, reading)
    except DecodeError as error:
        raise (error if error.source else error.within(first.name)) from error
    if reading.feature_dim not in (None, table.n_features):
        raise UserError(
            f"--feature-dim {reading.feature_dim} does not fit {first.name}: its first row has "
            f"{table.n_features} features"
        )
    return table


def _look(first: Input, file_format: FileFormat, reading: Reading) -> Table:
    if file_format == FileFormat.LIBSVM:
        if reading.feature_dim is None:
            raise UserError(
                f"{first.name}: libsvm lines do not tell how many features there are; "
                "--feature-dim tells it"
            )
        return Table(reading.feature_dim, int(reading.keep_labels), is_sparse=True)
    if file_format == FileFormat.RECORDIO:
        row = _first_record(first)
        n_labels = len(row.labels) if reading.keep_labels else 0
        return Table(row.n_features, n_labels, row.is_sparse)
    n_columns = _n_columns(first, file_format)
    if n_columns <= reading.label_size:
        raise UserError(
            f"--label-size {reading.label_size} leaves no features of the {n_columns} columns of "
            f"{first.name}"
        )
    n_labels = reading.label_size if reading.keep_labels else 0
    return Table(n_columns - reading.label_size, n_labels, is_sparse=False)


def _n_columns(first: Input, file_format: FileFormat) -> int:
    with closing(first.open()) as stream:
        if file_format == FileFormat.PARQUET:
            return count_columns(stream, first.name)
        if file_format == FileFormat.NPY:
            return _npy_columns(read_head(unfolded(stream), _NPY_HEAD_BYTES), first)
        return _first_line(unfolded(stream)).count(b",") + 1


def _npy_columns(head: bytes, first: Input) -> int:
    """Return how many columns the header tells."""
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        of_version = np.lib.format.read_array_header_1_0
        if version[0] > 1:
            of_version = np.lib.format.read_array_header_2_0
        _, n_columns = of_version(file)[0]
    except ValueError:
        with closing(first.open()) as stream:  # the reader says what is wrong with it
            NpyFile(Opened(unfolded(stream), first.name), 1).peek()
        raise
    return int(n_columns)


def _first_line(stream: ByteStream) -> bytes:
    """Read the first line that is not empty."""
    data = b""
    while len(data) < _LONGEST_LINE:
        piece = read_head(stream, max(2**16, len(data)))
        data = (data + piece).lstrip(b"\r\n")
        if b"\n" in data or not piece:
            break
    line = data.partition(b"\n")[0]
    if not line.strip():
        raise DecodeError("there is no row in it")
    for separator, name in ((b"\t", "tabs"), (b";", "semicolons")):
        if separator in line and b"," not in line:
            raise DecodeError(
                f"{name} and no comma; values must stand between commas", where="row 1"
            )
    return line


def _first_record(first: Input) -> LabelledRow:
    data = b""
    with closing(first.open()) as source:
        stream = unfolded(source)
        try:
            while piece := read_head(stream, max(2**16, len(data))):
                data += piece
                raw = next_record(memoryview(data), 0, limit_bytes=MAX_FRAME_BYTES)
                if raw is not None:
                    return read_labelled(bytes(raw.payload))
            reason = f"the data ends inside this record; {len(data)} bytes of it are there"
        except DecodeError as error:
            reason = error.reason
    raise DecodeError(reason, where="record 0 at byte 0")
