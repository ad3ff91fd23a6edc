"""What is read: files, directories, objects in S3 and folders of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

from onepass.convert.file_formats import HEAD_BYTES, FileFormat, format_of_head, format_of_name
from onepass.data.byte_stream import ByteStream
from onepass.data.channels import find_files
from onepass.data.s3 import Store
from onepass.data.s3_client import SCHEME, S3Uri
from onepass.data.s3_stream import S3Object
from onepass.data.sources import Span
from onepass.data.streams import FileStream, unfolded
from onepass.errors import DecodeError, UserError


class CountedStream(ByteStream, Protocol):
    """A stream that counts what it has read."""

    n_read: int


class Input(NamedTuple):
    """One file or object.

    Attributes
    ----------
    name : str
        For messages.
    n_bytes : int
        As it lies there, compressed or not.
    open : callable
        ``() -> CountedStream``, from its beginning.
    """

    name: str
    n_bytes: int
    open: Callable[[], CountedStream]

    def head(self) -> bytes:
        """Read its first bytes, unfolded."""
        with closing(self.open()) as stream:
            return read_head(unfolded(stream), HEAD_BYTES)

    def format(self) -> FileFormat:
        """Tell its format, from its name or from how it begins.

        Raises
        ------
        UserError
            When neither tells it.
        """
        found = format_of_name(self.name)
        if found:
            return found
        try:
            return format_of_head(self.head(), self.name)
        except DecodeError as error:
            raise error.within(self.name) from error


def find_inputs(names: Sequence[str], store: Callable[[], Store]) -> list[Input]:
    """Find all files and objects that some names stand for, in order.

    Parameters
    ----------
    names : sequence of str
        Files, directories (read as those of a channel are) or ``s3://`` names.
    store : callable
        Called once, and only for names in S3.

    Returns
    -------
    list of Input
        Without what is empty; at least one.

    Raises
    ------
    UserError
        For a name that stands for nothing.
    """
    found: list[Input] = []
    for name in names:
        some = list(_objects(name, store()) if name.startswith(SCHEME) else _files(name))
        if not some:
            none = (
                "no object of this name or below it" if name.startswith(SCHEME) else "no file in it"
            )
            raise UserError(
                f"{name}: there is {none} (names starting with '.' or '_' do not count)"
            )
        found += some
    filled = [one for one in found if one.n_bytes]
    if not filled:
        raise UserError(f"{', '.join(names)}: nothing but empty files")
    return filled


def read_head(stream: ByteStream, n_bytes: int) -> bytes:
    """Read so many bytes, or all there are."""
    head, n = bytearray(n_bytes), 0
    while n < n_bytes and (more := stream.readinto(memoryview(head)[n:])):
        n += more
    return bytes(head[:n])


def _files(name: str) -> Iterator[Input]:
    path = Path(name)
    if not path.exists():
        raise UserError(f"{name}: there is no such file or directory")
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{name} is neither a file nor a directory; pipes and devices are not read")
    for file in find_files(path) if path.is_dir() else [path]:
        yield _file_input(file)


def _file_input(path: Path) -> Input:
    span = Span(path, 0, path.stat().st_size)
    return Input(str(path), span.stop, lambda: FileStream(span))


def _objects(name: str, store: Store) -> Iterator[Input]:
    for item in store.list_objects(S3Uri.parse(name)):
        yield _object_input(item, store)


def _object_input(item: S3Object, store: Store) -> Input:
    return Input(str(item.uri), item.n_bytes, lambda: store.open(item))
