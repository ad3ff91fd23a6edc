"""``model.tar.gz``: packed the same byte for byte each time, read without ever being extracted."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onepass.artifact.files import write_atomically
from onepass.errors import DecodeError, TooLargeError

ARCHIVES = (".tar.gz", ".tgz")
"""What the names of archives end with."""

MAX_MEMBERS = 10_000
MAX_READ_BYTES = 2**20
"""The longest header accepted (names and attributes may stand in headers of any length), and the
pieces in which a file is read."""

_MAX_HEADERS_BYTES = 2**23
"""Of all headers together: `tarfile` keeps them in memory."""

_MAX_OTHER_BYTES = 2**24
"""What an archive may unfold to beside the file: other files, headers and zeros at the end."""

_MOST_LOOKED_AT = 2**36
"""How far an archive is unfolded to see whether a file is in it."""

_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError)
"""What a broken archive makes `tarfile` raise; the last two where a header holds absurd numbers."""


def pack(directory: Path, archive: Path) -> None:
    """Pack the files of a directory as SageMaker does with ``/opt/ml/model``.

    Parameters
    ----------
    directory : Path
        Hidden files are left out.
    archive : Path
        The ``.tar.gz`` to write, atomically.

    Notes
    -----
    Names sorted, times, owners and the gzip header zeroed: the same files give the same bytes.
    """
    names = sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(directory).parts)
    )

    def write(file: BinaryIO) -> None:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for name in names:
                _add(tar, directory / name, name)

    write_atomically(archive, write)


def read_member(archive: Path, name: str, *, limit_bytes: int) -> bytes:
    """Read one file out of a ``.tar.gz`` into memory.

    Parameters
    ----------
    archive : Path
    name : str
        Must stand at the root of the archive, once, as a regular file.
    limit_bytes : int
        The largest file accepted, checked before it is read. The archive as a whole may unfold to
        16 MiB more.

    Raises
    ------
    DecodeError
        When the archive is broken or the file is not in it; other files are passed over.
    TooLargeError
        When the file, a header or all of it together is larger than accepted.
    """
    with _member(archive, name, limit_bytes) as (zipped, found):
        zipped.seek(found.offset_data)
        data = _read(zipped, found.size)
        _read_to_the_end(zipped, limit_bytes + _MAX_OTHER_BYTES)
    if len(data) != found.size:
        raise DecodeError(f"the archive ends inside {name}", source=str(archive))
    return data


def member_bytes(archive: Path, name: str, *, limit_bytes: int) -> int:
    """Return how long a file in a ``.tar.gz`` is, as its header says; what it holds is not kept.

    Parameters and errors are those of `read_member`.
    """
    with _member(archive, name, limit_bytes) as (_, found):
        return found.size


def has_member(archive: Path, name: str) -> bool:
    """Whether there is a file of this name at the root of a ``.tar.gz``.

    Raises
    ------
    DecodeError
        When the archive is broken.
    """
    with _opened(archive, _MOST_LOOKED_AT) as (_, tar):
        return any(member.name.removeprefix("./") == name for member in tar)


@contextmanager
def _member(
    archive: Path, name: str, limit_bytes: int
) -> Iterator[tuple[gzip.GzipFile, tarfile.TarInfo]]:
    """Open an archive and find a file in it."""
    with _opened(archive, limit_bytes + _MAX_OTHER_BYTES) as (zipped, tar):
        yield zipped, _find(tar, name, limit_bytes)


@contextmanager
def _opened(archive: Path, limit_bytes: int) -> Iterator[tuple[gzip.GzipFile, tarfile.TarFile]]:
    """Open an archive; what is wrong with it, or with a file in it, is told with its name."""
    try:
        with gzip.open(archive) as zipped:
            headers = _Headers(zipped, limit_bytes)
            with tarfile.open(fileobj=headers, mode="r:") as tar:
                yield zipped, tar
    except DecodeError as error:
        raise error.within(str(archive)) from error
    except _BROKEN as error:
        raise DecodeError(
            f"this is no readable .tar.gz archive: {error}", source=str(archive)
        ) from error


class _Headers(io.RawIOBase):
    """What `tarfile` may see of an archive: headers, not too long and not too many.

    Parameters
    ----------
    zipped : GzipFile
    limit_bytes : int
        How far it may look.
    """

    def __init__(self, zipped: gzip.GzipFile, limit_bytes: int) -> None:
        self._zipped = zipped
        self._limit_bytes = limit_bytes
        self._left = _MAX_HEADERS_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read a header, or refuse it before memory is taken for it."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise TooLargeError(f"a header of the archive is longer than {MAX_READ_BYTES} bytes")
        if size > self._left:
            raise TooLargeError(f"the archive's headers are longer than {_MAX_HEADERS_BYTES} bytes")
        data = self._zipped.read(size)
        self._left -= len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Pass over a file."""
        if offset > self._limit_bytes:
            raise _too_long(self._limit_bytes)
        return self._zipped.seek(offset, whence)

    def tell(self) -> int:
        """Return how far it has been read."""
        return self._zipped.tell()


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    member.mode = 0o644
    with path.open("rb") as file:
        tar.addfile(member, file)


def _find(tar: tarfile.TarFile, name: str, limit_bytes: int) -> tarfile.TarInfo:
    found: list[tarfile.TarInfo] = []
    seen: list[str] = []
    for member in tar:
        seen.append(member.name)
        if len(seen) > MAX_MEMBERS:
            raise TooLargeError(f"the archive has more than {MAX_MEMBERS} members")
        if member.name.removeprefix("./") == name:
            found.append(member)
            if member.size > limit_bytes:
                raise TooLargeError(f"{name} has {member.size} bytes, more than {limit_bytes}")
    if len(found) != 1 or not found[0].isreg() or found[0].issparse():
        what = f"{len(found)} members of that name" if len(found) > 1 else f"holds: {seen[:5]}"
        raise DecodeError(f"a regular file {name} is expected at the root of the archive; {what}")
    return found[0]


def _read(zipped: gzip.GzipFile, n_bytes: int) -> bytes:
    """Read in pieces, so that memory is taken for what is there and not for what is said."""
    data = io.BytesIO()
    while piece := zipped.read(min(MAX_READ_BYTES, n_bytes - data.tell())):
        data.write(piece)
    return data.getvalue()


def _read_to_the_end(zipped: gzip.GzipFile, limit_bytes: int) -> None:
    """Read what follows the file: only at its very end does gzip compare the checksum."""
    while zipped.read(2**16):
        if zipped.tell() > limit_bytes:
            raise _too_long(limit_bytes)


def _too_long(limit_bytes: int) -> TooLargeError:
    return TooLargeError(f"the archive unfolds to more than {limit_bytes} bytes")
