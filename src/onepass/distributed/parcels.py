"""What a process hands over to the one that started it: arrays by way of shared memory.

A pipe would copy a sample of a hundred megabytes four times, in pieces of 64 KiB. Here a process
writes its arrays to memory that has a descriptor in both, and the other one maps it: the only copy
is that into the sample of all. No file system is needed, nor `/dev/shm`, which containers have
little of. Both processes are of one program, so that what is unpickled has not come from outside.
"""

from __future__ import annotations

import mmap
import os
import pickle
from typing import Any, NamedTuple

_ALIGNMENT = 64


class Parcel(NamedTuple):
    """What goes by the pipe.

    Attributes
    ----------
    content : bytes
        Everything but arrays.
    sizes : tuple of int
        Bytes of each array in the shared memory, in order.
    """

    content: bytes
    sizes: tuple[int, ...]


def new_memory() -> int:
    """Return the descriptor of memory to share with processes that are forked from now on."""
    return os.memfd_create("onepass")


def wrap(result: object, memory: int) -> Parcel:
    """Write the arrays of a result to shared memory.

    Parameters
    ----------
    result : object
    memory : int
        From `new_memory`; what was written there before is lost.
    """
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    sizes = tuple(array.nbytes for array in arrays)
    os.ftruncate(memory, 0)
    os.ftruncate(memory, _ends(sizes)[-1])
    for array, start in zip(arrays, _ends(sizes), strict=False):
        _write(memory, array, start)
    return Parcel(content, sizes)


def unwrap(parcel: Parcel, memory: int) -> Any:
    """Return the result; its arrays lie in the shared memory, and are copied where changed."""
    ends = _ends(parcel.sizes)
    size = ends[-1]
    mapped = memoryview(mmap.mmap(memory, size, access=mmap.ACCESS_COPY) if size else b"")
    starts = zip(ends, parcel.sizes, strict=False)
    arrays = [mapped[start : start + n_bytes] for start, n_bytes in starts]
    return pickle.loads(parcel.content, buffers=arrays)  # noqa: S301 - a process of ours wrote it


def _ends(sizes: tuple[int, ...]) -> list[int]:
    """Return 0, and where each array ends, so that the next one can begin there."""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size + -size % _ALIGNMENT)
    return ends


def _write(memory: int, array: memoryview, start: int) -> None:
    while array.nbytes:
        n = os.pwrite(memory, array, start)
        array, start = array[n:], start + n
