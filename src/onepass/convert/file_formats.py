"""The formats of files, and how they are told from names and from the first bytes."""

from __future__ import annotations

from enum import StrEnum

from onepass.errors import UserError
from onepass.formats.recordio import MAGIC_BYTES


class FileFormat(StrEnum):
    """How a file holds a table."""

    RECORDIO = "recordio"
    CSV = "csv"
    PARQUET = "parquet"
    NPY = "npy"
    LIBSVM = "libsvm"

    @property
    def ending(self) -> str:
        """What the names of files end with that are written here."""
        return ".pbr" if self is FileFormat.RECORDIO else f".{self}"


HEAD_BYTES = 4096
"""Of a file, unfolded, are looked at."""

GZIP_ENDING = ".gz"
ZSTD_ENDINGS = (".zst", ".zstd")
_ENDINGS = {
    ".pbr": FileFormat.RECORDIO,
    ".rec": FileFormat.RECORDIO,
    ".recordio": FileFormat.RECORDIO,
    ".protobuf": FileFormat.RECORDIO,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".npy": FileFormat.NPY,
    ".libsvm": FileFormat.LIBSVM,
    ".svmlight": FileFormat.LIBSVM,
    ".svm": FileFormat.LIBSVM,
}
_BEGINNINGS = {
    MAGIC_BYTES: FileFormat.RECORDIO,
    b"PAR1": FileFormat.PARQUET,
    b"\x93NUMPY": FileFormat.NPY,
}


def format_of_name(name: str) -> FileFormat | None:
    """Tell the format from the end of a name; None where it says nothing.

    Examples
    --------
    >>> format_of_name("train/DATA.CSV.gz"), format_of_name("part-0")
    (<FileFormat.CSV: 'csv'>, None)
    """
    plain = name.lower()
    for ending in (GZIP_ENDING, *ZSTD_ENDINGS):
        plain = plain.removesuffix(ending)
    return next((found for end, found in _ENDINGS.items() if plain.endswith(end)), None)


def format_of_head(head: bytes, name: str) -> FileFormat:
    r"""Tell the format from how a file begins.

    Parameters
    ----------
    head : bytes
        Its first `HEAD_BYTES`, unfolded, or all of it.
    name : str
        For messages.

    Raises
    ------
    UserError
        When it can be none of ours.

    Examples
    --------
    >>> format_of_head(b"1 1:0.5 7:2\n", "a"), format_of_head(b"1,0.5,2\n", "a")
    (<FileFormat.LIBSVM: 'libsvm'>, <FileFormat.CSV: 'csv'>)
    """
    for beginning, found in _BEGINNINGS.items():
        if head.startswith(beginning):
            return found
    line = head.lstrip().partition(b"\n")[0]
    fields = line.split()
    if len(fields) > 1 and b":" in fields[1] and b"," not in line:
        return FileFormat.LIBSVM
    if b"\0" not in head and (b"," in line or _is_number(line)):
        return FileFormat.CSV
    accepted = ", ".join(FileFormat)
    raise UserError(
        f"{name}: neither its name nor its first bytes ({head[:8].hex()}) tell its format; "
        f"--from tells it: {accepted}"
    )


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
