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
        with tarfile.open(archive, "r:gz") as tar:
            found = _find(tar, name)
            if found.size > limit_bytes:
                raise TooLargeError(
                    f"{name} has {found.size} bytes; at most {limit_bytes} are read"
                )
            file = tar.extractfile(found)
            data = file.read(found.size) if file else b""
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DecodeError(
            f"this is no readable .tar.gz archive: {error}", source=str(archive)
        ) from error
    except DecodeError as error:
        raise error.within(str(archive)) from error
    if len(data) != found.size:
        raise DecodeError(f"the archive ends inside {name}", source=str(archive))
    return data


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    member.mode = 0o644
    with path.open("rb") as file:
        tar.addfile(member, file)


def _find(tar: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    found: list[tarfile.TarInfo] = []
    seen: list[str] = []
    for member in tar:
        seen.append(member.name)
        if len(seen) > MAX_MEMBERS:
            raise TooLargeError(f"the archive has more than {MAX_MEMBERS} members")
        if member.name.removeprefix("./") == name:
            found.append(member)
    if len(found) != 1 or not found[0].isreg():
        what = f"{len(found)} members of that name" if len(found) > 1 else f"holds: {seen[:5]}"
        raise DecodeError(f"a regular file {name} is expected at the root of the archive; {what}")
    return found[0]
