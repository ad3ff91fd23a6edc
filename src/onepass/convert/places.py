"""Where files are put: all of them under their names when all are complete, or none."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from onepass.data.channels import find_files
from onepass.data.s3 import Store
from onepass.data.s3_client import S3Uri
from onepass.data.s3_upload import Upload
from onepass.errors import PlatformError, UserError

_OURS = re.compile(r"part-\d{5,}\.[a-z]+")


class StagedFile(Protocol):
    """A file that is being written and has no name yet."""

    n_bytes: int

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""

    def rewrite_head(self, data: bytes) -> None:
        """Write the first bytes anew, a few thousand at most."""

    def finish(self) -> None:
        """End the file; it has no name yet."""


class Place(Protocol):
    """A file, a directory, an object or a folder of objects that is to be filled.

    Attributes
    ----------
    is_folder : bool
        It takes several files.
    """

    is_folder: bool

    def make_free(self, *, overwrite: bool) -> None:
        """Refuse what is there already, unless it may be replaced.

        Raises
        ------
        UserError
            Also for files in a folder that are not ours to replace.
        """

    def open(self, name: str) -> StagedFile:
        """Begin a file of a folder, or the one file, whatever its name."""

    def commit(self) -> None:
        """Give all files their names, and remove those that they replace."""

    def abandon(self) -> None:
        """Remove all that was written, but what has replaced something; call it after any error."""


class _LocalFile:
    """A file beside its place, under a hidden name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.n_bytes = 0
        self._is_new = False
        self._file: BinaryIO = io.BytesIO()

    def begin(self) -> None:
        with _told(self.path):
            self._file = self.hidden.open("wb")

    def write(self, data: bytes | memoryview) -> None:
        with _told(self.path):
            self._file.write(data)
        self.n_bytes += memoryview(data).nbytes

    def rewrite_head(self, data: bytes) -> None:
        with _told(self.path):
            end = self._file.tell()
            self._file.seek(0)
            self._file.write(data)
            self._file.seek(end)

    def finish(self) -> None:
        with _told(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self.hidden.chmod(0o644)

    def name(self) -> None:
        with _told(self.path):
            self._is_new = not self.path.exists()
            self.hidden.replace(self.path)

    def remove(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: what is buffered cannot be written
            self._file.close()
        self.hidden.unlink(missing_ok=True)
        if self._is_new:
            self.path.unlink(missing_ok=True)


class LocalPlace:
    """A file or a directory on disk; see `Place`."""

    def __init__(self, path: Path, *, is_folder: bool) -> None:
        self.is_folder = is_folder
        self._path = path
        self._folder = path if is_folder else path.parent
        self._files: list[_LocalFile] = []
        self._replaced: list[Path] = []
        self._made: list[Path] = []

    def make_free(self, *, overwrite: bool) -> None:
        """Refuse what is there already, unless it may be replaced."""
        if self.is_folder and self._path.is_file():
            raise UserError(f"{self._path} is a file; a directory is to be written")
        if not self.is_folder:
            if self._path.is_dir():
                raise UserError(f"{self._path} is a directory; a file is to be written")
            if self._path.exists() and not overwrite:
                raise UserError(f"{self._path} is there already; --overwrite replaces it")
            return
        there = find_files(self._path) if self._path.is_dir() else []
        names = [str(path.relative_to(self._path)) for path in there]
        _check_names(names, str(self._path), overwrite=overwrite)
        self._replaced = there

    def open(self, name: str) -> _LocalFile:
        """Begin a file."""
        self._make_folder()
        file = _LocalFile(self._path / name if self.is_folder else self._path)
        self._files.append(file)  # first: a signal may come as soon as it is there
        file.begin()
        return file

    def commit(self) -> None:
        """Give all files their names, and remove those that they replace."""
        for file in self._files:
            file.name()
        written = {file.path for file in self._files}
        with _told(self._folder):
            for path in self._replaced:
                if path not in written:
                    path.unlink(missing_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def abandon(self) -> None:
        """Remove all that was written, and directories that were made for it."""
        with _told(self._folder):
            for file in self._files:
                file.remove()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # something else is in it by now
                folder.rmdir()

    def _make_folder(self) -> None:
        missing = [
            folder for folder in (self._folder, *self._folder.parents) if not folder.exists()
        ]
        with _told(self._folder):
            for folder in reversed(missing):
                self._made.append(folder)  # first, as above
                folder.mkdir(exist_ok=True)


class S3Place:
    """An object or a folder of objects; see `Place`."""

    def __init__(self, uri: S3Uri, store: Store, *, is_folder: bool) -> None:
        self.is_folder = is_folder
        self._uri, self._store = uri, store
        self._uploads: list[Upload] = []
        self._n_completed = 0
        self._replaced: list[S3Uri] = []

    def make_free(self, *, overwrite: bool) -> None:
        """Refuse what is there already, unless it may be replaced."""
        folder = self._uri.below("") if self.is_folder else self._uri
        there = [item.uri for item in self._store.list_objects(folder)]
        if not self.is_folder:
            self._replaced = [uri for uri in there if uri == self._uri]
            if self._replaced and not overwrite:
                raise UserError(f"{self._uri} is there already; --overwrite replaces it")
            return
        there = [uri for uri in there if uri.key.startswith(folder.key)]
        names = [uri.key[len(folder.key) :] for uri in there]
        _check_names(names, str(self._uri), overwrite=overwrite)
        self._replaced = there

    def open(self, name: str) -> Upload:
        """Begin an object."""
        upload = self._store.upload(self._uri.below(name) if self.is_folder else self._uri)
        self._uploads.append(upload)
        return upload

    def commit(self) -> None:
        """Make all objects, and delete those that they replace."""
        for upload in self._uploads:
            upload.complete()
            self._n_completed += 1
        written = {upload.uri for upload in self._uploads}
        for uri in self._replaced:
            if uri not in written:
                self._store.delete(uri)

    def abandon(self) -> None:
        """Delete all that was sent."""
        for upload in self._uploads[: self._n_completed]:
            if upload.uri not in self._replaced:
                self._store.delete(upload.uri)
        for upload in self._uploads[self._n_completed :]:
            upload.abandon()


def _check_names(names: list[str], folder: str, *, overwrite: bool) -> None:
    if not names:
        return
    if not overwrite:
        raise UserError(
            f"{folder} holds {len(names)} files already, {names[0]} among them; --overwrite "
            "replaces them"
        )
    foreign = [name for name in names if not _OURS.fullmatch(name)]
    if foreign:
        raise UserError(
            f"{folder} holds {foreign[0]}, which is not replaced: --overwrite is for files that "
            "were written here (part-00000.pbr and its like); name another folder"
        )


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlatformError(f"cannot write {path}: {error.strerror or error}") from error
