"""One file to blocks, whatever its format: what `onepass.data` reads, and what it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator

import numpy as np

from onepass.convert.blocks import BLOCK_VALUES, Block
from onepass.convert.file_formats import FileFormat
from onepass.convert.inputs import Input
from onepass.convert.libsvm_blocks import LibsvmBlocks
from onepass.convert.records import RecordBlocks
from onepass.convert.survey import Reading, Table
from onepass.data.csv_file import CsvFile
from onepass.data.npy_file import NpyFile
from onepass.data.parquet_file import ParquetFile
from onepass.data.streams import Opened, unfolded
from onepass.data.table_format import RowFile
from onepass.errors import DecodeError

_PLACE = re.compile(r"row (\d+) at byte \d+, column (\d+)")


def read_blocks(
    one: Input, table: Table, reading: Reading, tell: Callable[[int], None]
) -> Generator[Block]:
    """Read a file.

    Parameters
    ----------
    one : Input
    table : Table
        What every row must have.
    reading : Reading
    tell : callable
        Is given the bytes read so far, compressed as they are, with every block.

    Yields
    ------
    Block
        Valid until the next one is asked for.

    Raises
    ------
    DecodeError
        With the file, the place in it, what was found and what is accepted.
    PlatformError
        When it cannot be read.
    """
    file_format = reading.format_of(one)
    stream = one.open()
    try:
        for block in _blocks(Opened(unfolded(stream), one.name), file_format, table, reading):
            tell(stream.n_read)
            yield block
        tell(stream.n_read)
    except DecodeError as error:
        source = error.source or one.name
        hint = _hint(error, file_format, reading)
        raise type(error)(error.reason + hint, where=error.where, source=source) from error
    finally:
        stream.close()


def _blocks(
    opened: Opened, file_format: FileFormat, table: Table, reading: Reading
) -> Iterator[Block]:
    if file_format == FileFormat.RECORDIO:
        return iter(RecordBlocks(opened, table, keep_labels=reading.keep_labels))
    if file_format == FileFormat.LIBSVM:
        return iter(LibsvmBlocks(opened, table, first_index=reading.first_index))
    return _tabled(opened, file_format, table, reading)


def _tabled(
    opened: Opened, file_format: FileFormat, table: Table, reading: Reading
) -> Iterator[Block]:
    """Read columns: labels that are kept are read as if they were features."""
    n_columns, n_dropped = table.n_features + table.n_labels, 0
    file: RowFile
    if file_format == FileFormat.NPY:
        n_dropped = reading.label_size - table.n_labels
        file = NpyFile(opened, n_columns + n_dropped)
    else:
        kind = CsvFile if file_format == FileFormat.CSV else ParquetFile
        file = kind(opened, n_columns, reading.label_size - table.n_labels)
    width = n_columns + n_dropped
    room = np.empty((max(1, BLOCK_VALUES // width), width), np.float32)
    while n := file.decode(room).n_rows:
        first = n_dropped + table.n_labels
        yield Block(room[:n, first:], room[:n, n_dropped:first])


def _hint(error: DecodeError, file_format: FileFormat, reading: Reading) -> str:
    """Say what to do, and what may be meant where a column of a CSV file holds text."""
    place = _PLACE.fullmatch(error.where)
    remedy = "; mend or remove it" if error.skippable else ""
    if file_format != FileFormat.CSV or not place or "' is no number" not in error.reason:
        return remedy
    row, column = int(place[1]), int(place[2])
    if column <= reading.label_size:
        return remedy + "; labels that are kept are numbers (--labels drop leaves them out)"
    if row == 1:
        return remedy + "; or columns up to it are labels (--label-size, --labels drop)"
    return remedy
