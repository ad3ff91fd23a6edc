"""Named arrays and a text beside them in one file, as ``numpy.load`` reads them (``.npz``).

A zip archive whose members are stored as they are: each has a CRC-32, so that a file that is torn,
or damaged, is known by it, and no member is larger than the file. Nothing is ever unpickled.

Source: "NPY format" in NumPy's documentation (``numpy.lib.format``); PKWARE's APPNOTE for zip.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.errors import DecodeError

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]

ABOUT = "about.json"
_SUFFIX = ".npy"
_MOST_MEMBERS = 64
_MOST_ABOUT_BYTES = 2**26
_LONGEST_HEADER = 2**12
_TYPES = {np.dtype(kind) for kind in ("<f4", "<f8", "<i4", "<i8")}
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    *(RuntimeError, ValueError, TypeError, OverflowError, SyntaxError, LookupError, MemoryError),
)
"""What `zipfile` and NumPy raise for what they cannot read."""


def write_arrays(file: BinaryIO, about: bytes, arrays: Arrays) -> None:
    """Write arrays, one at a time, without a copy of all.

    Parameters
    ----------
    file : file
        Where they go.
    about : bytes
        What stands in the member ``about.json``.
    arrays : mapping of str to ndarray
        Of float32, float64, int32 or int64.

    Notes
    -----
    The same arrays give the same bytes, whenever they are written.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(ABOUT, _LONG_AGO), about)
        for name, array in arrays.items():
            member = zipfile.ZipInfo(name + _SUFFIX, _LONG_AGO)
            with archive.open(member, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=False)


def read_arrays(file: BinaryIO) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """Read what `write_arrays` has written.

    Parameters
    ----------
    file : file
        That can be read from any place. No more memory is taken than it is long.

    Returns
    -------
    about : bytes
    arrays : dict of str to ndarray
        Which may not be written to.

    Raises
    ------
    DecodeError
        When it is torn or damaged, or something else.
    """
    try:
        n_bytes = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check(members, n_bytes)
            arrays = {
                member.filename.removesuffix(_SUFFIX): _array(archive.read(member))
                for member in members
                if member.filename != ABOUT
            }
            return archive.read(ABOUT), arrays
    except DecodeError:
        raise
    except _BROKEN as error:
        raise DecodeError(f"it is torn or damaged, or another kind of file: {error}") from error


def _check(members: list[zipfile.ZipInfo], n_bytes: int) -> None:
    """Refuse what is not to be read, before any memory is taken for it."""
    names = [member.filename for member in members]
    if len(members) > _MOST_MEMBERS or len(set(names)) < len(names) or ABOUT not in names:
        raise DecodeError(f"it has {len(names)} members: {names[:5]}")
    for member in members:
        is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not is_plain or member.file_size != member.compress_size:
            raise DecodeError(f"its member {member.filename!r} is packed")
        if member.filename == ABOUT and member.file_size > _MOST_ABOUT_BYTES:
            raise DecodeError(f"its member {ABOUT} has {member.file_size} bytes")
    if sum(member.file_size for member in members) > n_bytes:
        raise DecodeError("its members are longer than it is")


def _array(data: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise DecodeError(f"an array of version {version}")
    header = np.lib.format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    shape, by_columns, dtype = header
    if dtype not in _TYPES or any(n < 0 for n in shape) or len(shape) > 2:
        raise DecodeError(f"an array of shape {shape} and type {dtype}")
    n = 1
    for length in shape:
        n *= length
    if n * dtype.itemsize != len(data) - file.tell():
        raise DecodeError(f"an array of shape {shape} in {len(data) - file.tell()} bytes")
    array = np.frombuffer(data, dtype, n, file.tell())
    return array.reshape(shape, order="F" if by_columns else "C")
