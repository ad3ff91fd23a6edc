"""The story of a conversion: look, read block by block, write, give names.

Memory does not grow with the data: a block of rows (4 MiB, or one row), what the reader and the
writer of the formats keep (some blocks more; a row group of 32 MiB for Parquet), and two parts of
8 MiB and more for S3. Values are float32 on the way, whatever they were.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from onepass.convert.blocks import Block
from onepass.convert.file_formats import FileFormat
from onepass.convert.inputs import Input
from onepass.convert.places import Place, StagedFile
from onepass.convert.readers import read_blocks
from onepass.convert.survey import Reading, Table, survey
from onepass.convert.writers import GzipFile, Writer, Writing, check_writing, open_writer
from onepass.errors import OnepassError, UserError, WidthError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    Attributes
    ----------
    format : FileFormat
    is_sparse : bool or None
        RecordIO without zeros; None: where the first row that is read is so.
    rows_per_file : int or None
        None: all in one file.
    is_gzip : bool
    overwrite : bool
    first_index : int
        What libsvm files call the first feature.
    """

    format: FileFormat
    is_sparse: bool | None = None
    rows_per_file: int | None = None
    is_gzip: bool = False
    overwrite: bool = False
    first_index: int = 1


@dataclass(frozen=True)
class Converted:
    """What was done.

    Attributes
    ----------
    table : Table
        Of the rows.
    n_rows, n_files, n_bytes : int
        Written.
    """

    table: Table
    n_rows: int
    n_files: int
    n_bytes: int


def convert(
    inputs: Sequence[Input],
    place: Place,
    *,
    reading: Reading,
    wanted: Wanted,
    tell: Callable[[int, int], None],
) -> Converted:
    """Read all inputs, in order, and write their rows.

    Parameters
    ----------
    inputs : sequence of Input
    place : Place
    reading : Reading
    wanted : Wanted
    tell : callable
        Is given bytes read and rows written so far, now and then.

    Raises
    ------
    UserError
        For whatever can be mended in the data or in what is asked for.
    PlatformError
        When a file cannot be read or written.

    Notes
    -----
    When it raises, or is interrupted, nothing that was written is left.
    """
    place.make_free(overwrite=wanted.overwrite)
    table = survey(inputs[0], reading)
    writing = Writing(
        wanted.format,
        table.n_features,
        table.n_labels,
        is_sparse=table.is_sparse if wanted.is_sparse is None else wanted.is_sparse,
        first_index=wanted.first_index,
    )
    check_writing(writing)
    files = _Files(place, writing, wanted)
    try:
        _copy(inputs, table, reading, files=files, tell=tell)
        if not files.n_rows:
            raise UserError(f"there is no row in {inputs[0].name}, nor in any other input")
        files.finish()
        place.commit()
    except BaseException:
        files.abandon()
        _abandon(place)
        raise
    return Converted(table, files.n_rows, files.n_files, files.n_bytes)


def _copy(
    inputs: Sequence[Input],
    table: Table,
    reading: Reading,
    *,
    files: _Files,
    tell: Callable[[int, int], None],
) -> None:
    n_bytes_before = 0
    for one in inputs:

        def tell_bytes(n_bytes: int, before: int = n_bytes_before) -> None:
            tell(before + n_bytes, files.n_rows)

        with (
            _compared(one, inputs[0], table),
            contextlib.closing(read_blocks(one, table, reading, tell_bytes)) as blocks,
        ):
            for block in blocks:
                files.write(block)
        n_bytes_before += one.n_bytes
        tell(n_bytes_before, files.n_rows)


@contextlib.contextmanager
def _compared(one: Input, first: Input, table: Table) -> Iterator[None]:
    """Say which file it is that another one does not fit."""
    try:
        yield
    except WidthError as error:
        if one.name == first.name:
            raise
        reason = f"{error.reason}; {first.name} has {table.n_features} features"
        raise WidthError(reason, where=error.where, source=error.source) from error


def _abandon(place: Place) -> None:
    """Clean up; what hinders that is told, but is not the reason why this has failed."""
    try:
        place.abandon()
    except OnepassError as error:
        _log.warning("cannot remove what was written: %s", error)


class _Files:
    """Writes blocks to one file behind the other."""

    def __init__(self, place: Place, writing: Writing, wanted: Wanted) -> None:
        self._place = place
        self._writing, self._wanted = writing, wanted
        self._file: StagedFile | None = None
        self._writer: Writer | None = None
        self._n_left = 0
        self.n_rows = self.n_files = self.n_bytes = 0

    def write(self, block: Block) -> None:
        """Write rows, to further files where one is full."""
        n = len(block.labels)
        start = 0
        while start < n:
            if self._writer is None:
                self._writer = self._begin()
            stop = n if self._wanted.rows_per_file is None else min(n, start + self._n_left)
            self._writer.write(block.part(start, stop))
            self._n_left -= stop - start
            self.n_rows += stop - start
            start = stop
            if self._n_left == 0:
                self.finish()

    def finish(self) -> None:
        """End the file that is open, if one is."""
        if self._writer is None or self._file is None:
            return
        self._writer.finish()
        self._file.finish()
        self.n_bytes += self._file.n_bytes
        self._writer = self._file = None

    def abandon(self) -> None:
        """Write no more."""
        if self._writer is not None:
            self._writer.abandon()

    def _begin(self) -> Writer:
        name = f"part-{self.n_files:05d}{self._wanted.format.ending}"
        file = self._place.open(name)
        self._file = GzipFile(file) if self._wanted.is_gzip else file
        self.n_files += 1
        self._n_left = self._wanted.rows_per_file or -1
        return open_writer(self._file, self._writing)
