"""What files of which nothing is said hold: told by how the first of them begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import PurePath
from typing import NamedTuple

from onepass.data.ahead import Stop
from onepass.data.byte_stream import ByteStream
from onepass.data.npy_file import NpyFile
from onepass.data.sources import Source
from onepass.data.streams import Opened, OpenSource
from onepass.data.table_format import NPY, PARQUET
from onepass.errors import DecodeError, TooLargeError
from onepass.formats.media import CSV, RECORDIO_PROTOBUF, MediaType
from onepass.formats.record_row import is_sparse, row_width
from onepass.formats.recordio import MAGIC_BYTES, next_record

LONGEST_BYTES = 2**26
"""A first row that is longer is not looked at."""

_READ_BYTES = 2**16
_BEGINS = {MAGIC_BYTES: RECORDIO_PROTOBUF, b"PAR1": PARQUET, b"\x93NUMPY": NPY}
_ENDS = {".pbr": RECORDIO_PROTOBUF, ".parquet": PARQUET, ".npy": NPY}
_FOLDED = (".gz", ".zst")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FirstRow(NamedTuple):
    """What the first row says of the others.

    Attributes
    ----------
    n_columns : int
        Labels among them, where they are columns.
    is_sparse : bool
        A record that names the places of its values.
    """

    n_columns: int
    is_sparse: bool = False


def content_type_of(sources: Sequence[Source]) -> str:
    """Tell what is in the first source that holds a byte: its first bytes do, or else its name.

    What neither tells is CSV.
    """
    for opened in _objects(sources):
        head = _read(opened.stream, max(map(len, _BEGINS)))
        for begin, content_type in _BEGINS.items():
            if head.startswith(begin):
                return content_type
        if head:
            return _named(opened.name)
    return CSV


def first_row(sources: Sequence[Source], content_type: str) -> FirstRow | None:
    """Look at the first row of all; None where there is none.

    Raises
    ------
    DecodeError
        With the file, where the row is broken or longer than `LONGEST_BYTES`.
    """
    look = _LOOKS[MediaType.parse(content_type).name]
    for opened in _objects(sources):
        try:
            found = look(opened)
        except DecodeError as error:
            raise error if error.source else error.within(opened.name) from error
        if found:
            return found
    return None


def _objects(sources: Sequence[Source]) -> Iterator[Opened]:
    with closing(Stop()) as stop:
        for source in sources:
            with OpenSource(source, stop) as open_source:
                yield from open_source.objects()


def _named(name: str) -> str:
    path = PurePath(name)
    return _ENDS.get(PurePath(path.stem if path.suffix in _FOLDED else path).suffix, CSV)


def _record(opened: Opened) -> FirstRow | None:
    data = b""
    while True:
        more = _read(opened.stream, max(_READ_BYTES, len(data)))
        data += more
        if not data:
            return None
        try:
            raw = next_record(memoryview(data), 0, limit_bytes=LONGEST_BYTES)
            if raw:
                payload = bytes(raw.payload)
                return FirstRow(row_width(payload), is_sparse(payload))
            if not more:
                raise DecodeError("the data ends inside this record")
        except DecodeError as error:
            raise type(error)(error.reason, where="record 0 at byte 0") from error


def _line(opened: Opened) -> FirstRow | None:
    data, more = b"", b"\n"
    while more and b"\n" not in data:
        if len(data) > LONGEST_BYTES:
            raise TooLargeError(f"a line is longer than {LONGEST_BYTES} bytes", where="row 1")
        more = _read(opened.stream, max(_READ_BYTES, len(data)))
        data = (data + more).removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n")
    line = data.partition(b"\n")[0]
    return FirstRow(line.count(b",") + 1) if line else None


def _matrix(opened: Opened) -> FirstRow | None:
    n_columns = NpyFile(opened, 0).n_columns()
    return FirstRow(n_columns) if n_columns else None


def _table(opened: Opened) -> FirstRow | None:
    from onepass.data.parquet_file import n_columns  # noqa: PLC0415 - slow to import

    n = n_columns(opened)
    return FirstRow(n) if n else None


def _read(stream: ByteStream, n_bytes: int) -> bytes:
    """Read so many bytes, or as many as there are."""
    taken, n_there = bytearray(n_bytes), 0
    while n_there < n_bytes:
        n = stream.readinto(memoryview(taken)[n_there:])
        if not n:
            break
        n_there += n
    return bytes(taken[:n_there])


_LOOKS: dict[str, Callable[[Opened], FirstRow | None]] = {
    RECORDIO_PROTOBUF: _record,
    CSV: _line,
    NPY: _matrix,
    PARQUET: _table,
}
