"""The clusters of the training data, written by a further pass over it.

Each shard is a file. It is written under a hidden name, which nobody needs to know beforehand; when
all are complete they get their names, numbered in the order of the data, whoever has read them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.distributed.passes import Tell
from onepass.errors import PlatformError
from onepass.sagemaker.inputs import JobInput
from onepass.sagemaker.paths import Paths
from onepass.training.tasks import weighted

_HIDDEN = ".labels-"


class Staged(NamedTuple):
    """A file that is complete, and has no name yet.

    Attributes
    ----------
    host : str
        On which it lies.
    path : Path
    """

    host: str
    path: Path


class LabelFiles(NamedTuple):
    """Where a host writes labels.

    Attributes
    ----------
    directory : Path
    host : str
    kind : str
        "csv" or "parquet".
    """

    directory: Path
    host: str
    kind: str

    @contextmanager
    def stage(self) -> Generator[BinaryIO, None, None]:
        """Open a file that has a hidden name until `place` gives it another; removed on errors.

        Raises
        ------
        PlatformError
            When it cannot be written.
        """
        with self._told():
            self.directory.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(".tmp", f"{_HIDDEN}{self._name}-", self.directory)
            os.close(number)
            path = Path(name)
            try:
                with path.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def place(self, staged: Sequence[Staged]) -> None:
        """Give the files of all hosts that lie on this one their names, or remove them all."""
        try:
            with self._told():
                for i, one in enumerate(staged):
                    if one.host == self.host:
                        one.path.chmod(0o644)
                        name = f"labels-{i:06}-{self._name}.{self.kind}"
                        one.path.replace(self.directory / name)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Remove what this host has written, in this job or in an earlier one."""
        self._remove(rf"labels-\d{{6}}-{re.escape(self._name)}\.(csv|parquet)")
        self.sweep()

    def sweep(self) -> None:
        """Remove what processes have left that were killed while they wrote."""
        self._remove(rf"{re.escape(_HIDDEN + self._name)}-\w+\.tmp")

    def _remove(self, pattern: str) -> None:
        with self._told():
            there = self.directory.iterdir() if self.directory.is_dir() else ()
            for path in there:
                if re.fullmatch(pattern, path.name):
                    path.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        """Of the host, as names of files may be."""
        return re.sub(r"[^\w.-]", "_", self.host)

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise PlatformError(
                f"cannot write labels to {self.directory} on {self.host}: "
                f"{error.strerror or error}; the model is saved"
            ) from error


def files_of(job: JobInput, paths: Paths) -> LabelFiles:
    """Return where this host writes labels."""
    return LabelFiles(paths.output_data, job.host, job.hyperparameters.output_labels)


def label(files: LabelFiles, model: KMeansModel, reader: BatchReader, tell: Tell) -> Staged:
    """Write the cluster of each row of one shard, and how far it is, and gaps for bad records."""
    # Takes 0.1 s, which few jobs need.
    from onepass.formats.label_table import label_table  # noqa: PLC0415

    with files.stage() as file, label_table(file, files.kind) as table:
        with closing(weighted(reader, tell)) as batches:
            for rows, _ in batches:
                table.write(*model.assign(rows), reader.gaps)
        table.write(*model.assign(model.centers[:0]), reader.gaps)
    return Staged(files.host, Path(file.name))
