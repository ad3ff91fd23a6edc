"""Data with no job around them, read as training would read them."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from onepass.cluster.parameters import auto_batch_size
from onepass.data.batches import Auto, BatchReader
from onepass.data.channels import find_files
from onepass.data.first_row import FirstRow, content_type_of, first_row
from onepass.data.sources import Span, is_compressed, n_bytes_of, whole_files
from onepass.data.table_format import NPY, format_of
from onepass.errors import DecodeError, UserError, WidthError
from onepass.formats.arrays import Rows
from onepass.formats.media import RECORDIO_PROTOBUF, MediaType
from onepass.sparse import SparseRows


class Told(NamedTuple):
    """What a user says of data; None for what the data are to say.

    Attributes
    ----------
    content_type : str or None
    feature_dim : int or None
    label_size : int or None
        How many leading columns are labels.
    """

    content_type: str | None = None
    feature_dim: int | None = None
    label_size: int | None = None


@dataclass(frozen=True)
class Found:
    """What some files hold, as far as it is known before all is read.

    Attributes
    ----------
    path : Path
        Of the directory, or of the one file.
    files : sequence of Span
    n_compressed : int
        How many of the files are.
    content_type : str
    n_features : int
    records : str
        ``dense`` or ``sparse``, as the first record is; empty where there are no records.
    """

    path: Path
    files: Sequence[Span]
    n_compressed: int
    content_type: str
    n_features: int
    records: str

    @property
    def n_bytes(self) -> int:
        """Of all files, compressed as they are."""
        return n_bytes_of(self.files)


class Read(NamedTuple):
    """What reading all of it has shown."""

    n_rows: int
    seconds: float


def is_job(path: Path) -> bool:
    """Whether a directory is laid out as the platform lays out that of a job."""
    return (path / "input/config").is_dir() or (path / "input/data").is_dir()


def find(path: Path, told: Told) -> Found:
    """Find the files and tell what is in them.

    Parameters
    ----------
    path : Path
        A directory, whose files are those a channel in it would have, or one file.
    told : Told
        Goes before what the data say.

    Raises
    ------
    UserError
        Where there is no data, or their first row cannot be read.
    """
    files = _files(path)
    content_type = told.content_type or content_type_of(files)
    if told.label_size is not None:
        if MediaType.parse(content_type).name in (RECORDIO_PROTOBUF, NPY):
            raise UserError(
                f"label_size={told.label_size}: {content_type} has no columns of labels"
            )
        content_type += f";label_size={told.label_size}"
    format_of(content_type, path.name)  # refuses what nothing reads
    first = first_row(files, content_type)
    if first is None:
        raise UserError(f"{path} has no rows")
    n_compressed = sum(is_compressed(span.path) for span in files)
    n_features = told.feature_dim or _n_features(first, content_type, path)
    is_record = MediaType.parse(content_type).name == RECORDIO_PROTOBUF
    records = ("dense", "sparse")[first.is_sparse] if is_record else ""
    return Found(path, files, n_compressed, content_type, n_features, records)


def read(found: Found) -> Read:
    """Read all of it.

    Raises
    ------
    UserError
        For the first thing that training would refuse.
    PlatformError
        When a file cannot be read.
    """
    started, n_rows = time.monotonic(), 0
    for batch in batches_of(found):
        n_rows += len(batch)
    return Read(n_rows, time.monotonic() - started)


def batches_of(found: Found) -> Generator[Rows | SparseRows, None, None]:
    """Yield all rows, some at a time: each batch is valid until the next one is asked for.

    Raises
    ------
    UserError
        For the first thing that training would refuse.
    PlatformError
        When a file cannot be read.
    """
    table_format = format_of(found.content_type, found.path.name)
    n_at_once = auto_batch_size(found.n_features, 0)
    keep_sparse: Auto | bool = "auto" if found.records else False
    reader = BatchReader(
        found.files, found.n_features, n_at_once, table_format, keep_sparse=keep_sparse
    )
    try:
        with closing(reader.read()) as batches:
            yield from batches
    except WidthError as error:
        raise UserError(f"feature_dim={found.n_features} does not fit the data: {error}") from error
    except DecodeError as error:
        remedy = "; mend or remove it" if error.skippable else ""
        raise UserError(f"{error}{remedy}") from error
    if not reader.n_rows:
        raise UserError(f"{found.path} has no rows")


def _files(path: Path) -> list[Span]:
    if not path.is_dir() and not path.is_file():
        raise UserError(f"there is no directory and no file {path}")
    files = whole_files(find_files(path) if path.is_dir() else [path])
    if not n_bytes_of(files):
        what = f"its {len(files)} files are empty" if path.is_dir() and files else "it is empty"
        raise UserError(f"{path} has no data: {what} (names starting with '.' or '_' do not count)")
    return files


def _n_features(first: FirstRow, content_type: str, path: Path) -> int:
    n_labels = MediaType.parse(content_type).label_size()
    if first.n_columns <= n_labels:
        raise UserError(
            f"{path}: label_size={n_labels} leaves none of the {first.n_columns} columns of a row"
        )
    return first.n_columns - n_labels
