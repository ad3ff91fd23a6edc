"""``model.tar.gz``: packed the same byte for byte each time, read without ever being extracted."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from onepass.artifact.files import write_atomically
from onepass.errors import DecodeError, TooLargeError

MAX_MEMBERS = 10_000
_MAX_PADDING_BYTES = 2**24
"""After the last member stand zeros up to the size of a tape's block, 10 KiB by default."""

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
        The largest file accepted, checked before anything is read.

    Raises
    ------
    DecodeError
        When the archive is broken or the file is not in it; other files are passed over.
    """
    try:
        with gzip.open(archive) as zipped, tarfile.open(fileobj=zipped, mode="r:") as tar:
            found = _find(tar, name, limit_bytes)
            file = tar.extractfile(found)
            data = file.read(found.size) if file else b""
            _read_to_the_end(zipped)
    except DecodeError as error:
        raise error.within(str(archive)) from error
    except _BROKEN as error:
        raise DecodeError(
            f"this is no readable .tar.gz archive: {error}", source=str(archive)
        ) from error
    if len(data) != found.size:
        raise DecodeError(f"the archive ends inside {name}", source=str(archive))
    return data


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


def _read_to_the_end(zipped: gzip.GzipFile) -> None:
    """Read what follows the members: only at its very end does gzip compare the checksum."""
    n_bytes = 0
    while piece := zipped.read(2**16):
        n_bytes += len(piece)
        if n_bytes > _MAX_PADDING_BYTES:
            raise TooLargeError("too many bytes follow the end of the archive")
