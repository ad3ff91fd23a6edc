"""What a user asks for, made into what is done; refused where it does not fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onepass.convert.conversion import Wanted
from onepass.convert.file_formats import (
    GZIP_ENDING,
    ZSTD_ENDINGS,
    FileFormat,
    format_of_name,
)
from onepass.convert.inputs import Input, find_inputs
from onepass.convert.places import LocalPlace, Place, S3Place
from onepass.convert.survey import Reading
from onepass.data.s3 import Store
from onepass.data.s3_client import SCHEME, S3Uri
from onepass.errors import UserError

_PACKED = (FileFormat.CSV, FileFormat.LIBSVM, FileFormat.RECORDIO)


@dataclass(frozen=True)
class Request:
    """The words of a command.

    Attributes
    ----------
    inputs : sequence of str
    output : str
    to : FileFormat or None
        None: what the end of the output's name tells; RecordIO for a folder.
    reading : Reading
    is_sparse : bool or None
    rows_per_file : int or None
    overwrite : bool
    """

    inputs: Sequence[str]
    output: str
    to: FileFormat | None
    reading: Reading
    is_sparse: bool | None
    rows_per_file: int | None
    overwrite: bool


@dataclass(frozen=True)
class Plan:
    """What is to be done; the arguments of `onepass.convert.conversion.convert`."""

    inputs: Sequence[Input]
    place: Place
    wanted: Wanted


def plan(request: Request) -> Plan:
    """Work out what to do.

    Raises
    ------
    UserError
        When there is no input, or options contradict one another.
    PlatformError
        When S3 cannot be reached.
    """
    store = _once(Store)
    is_folder = _is_folder(request)
    told = None if is_folder else format_of_name(request.output)
    file_format = request.to or told or FileFormat.RECORDIO
    is_gzip = not is_folder and request.output.lower().endswith(GZIP_ENDING)
    if is_gzip and file_format not in _PACKED:
        packed = ", ".join(_PACKED)
        raise UserError(f"{request.output}: {file_format} is not gzipped as a whole; {packed} are")
    if request.is_sparse and file_format != FileFormat.RECORDIO:
        raise UserError(f"--sparse is for recordio; {request.output} becomes {file_format}")
    wanted = Wanted(
        format=file_format,
        is_sparse=request.is_sparse,
        rows_per_file=request.rows_per_file,
        is_gzip=is_gzip,
        overwrite=request.overwrite,
        first_index=request.reading.first_index,
    )
    place = _place(request.output, store, is_folder=is_folder)
    return Plan(find_inputs(request.inputs, store), place, wanted)


def _is_folder(request: Request) -> bool:
    """Whether the output takes several files: a folder, or a name without any ending."""
    name = request.output
    is_there = not name.startswith(SCHEME) and Path(name).is_dir()
    within = S3Uri.parse(name).key if name.startswith(SCHEME) else name
    is_folder = is_there or "." not in within.rpartition("/")[2]
    if request.rows_per_file is not None and not is_folder:
        raise UserError(f"--rows-per-file makes several files; {name} is to be one: write {name}/")
    if not is_folder and name.lower().endswith(ZSTD_ENDINGS):
        raise UserError(f"{name}: zstd is read, not written; plain files and {GZIP_ENDING} are")
    if not is_folder and request.to is None and format_of_name(name) is None:
        known = ", ".join(one.ending for one in FileFormat)
        raise UserError(
            f"{name}: the name tells no format; known endings are {known}, and {GZIP_ENDING} "
            "behind them. --to tells another name's format, and a / at its end makes it a folder"
        )
    return is_folder


def _place(name: str, store: Callable[[], Store], *, is_folder: bool) -> Place:
    if name.startswith(SCHEME):
        return S3Place(S3Uri.parse(name), store(), is_folder=is_folder)
    return LocalPlace(Path(name), is_folder=is_folder)


def _once(make: Callable[[], Store]) -> Callable[[], Store]:
    """Make a store when it is asked for, and only one."""
    made: list[Store] = []

    def store() -> Store:
        if not made:
            made.append(make())
        return made[0]

    return store
