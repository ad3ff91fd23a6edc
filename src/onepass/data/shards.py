"""Who reads what: files cut into shards of about equal size, over hosts and their workers.

A cut depends on the sizes of the files and on where the first row behind a byte starts, and on
nothing else. So hosts that see the same files agree on who reads what without asking one another,
and each looks only for the cuts of its own shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from onepass.data.boundaries import find_record, uncut
from onepass.data.sources import FilePath, Span, is_compressed, n_bytes_of, whole_files

Boundary: TypeAlias = Callable[[FilePath, int, int], int]


class Host(NamedTuple):
    """One of the hosts that share the same files.

    Attributes
    ----------
    place : int
        From 0.
    n_hosts : int
    """

    place: int
    n_hosts: int


ALONE = Host(0, 1)
"""A host that reads all of the files it has."""


def cut(
    files: Sequence[FilePath],
    n_workers: int,
    boundary: Boundary = find_record,
    *,
    host: Host = ALONE,
) -> list[list[Span]]:
    """Cut files into the shards of one host's workers.

    Over all workers of all hosts every row is in just one shard, and the rows of the shards are in
    the order of the files.

    Parameters
    ----------
    files : sequence of Path or S3Path
        The same on every host that shares them.
    n_workers : int
        Of this host; how many the others have does not matter.
    boundary : callable
        ``(path, at, size) -> int``: where the first row at or behind a byte starts. What it finds
        for a later byte never lies before what it finds for an earlier one.
    host : Host
        Which of the hosts that share the files this is.

    Returns
    -------
    list of list of Span
        One list for each worker, of about the same number of bytes; some may be empty. A file that
        is compressed is not cut.

    Raises
    ------
    PlatformError
        When a file cannot be read.

    Notes
    -----
    At most ``n_workers + 1`` boundaries are looked for, however many hosts and files there are.
    """
    whole = whole_files(files)
    total, before = n_bytes_of(whole), 0
    first, last = (total * i // host.n_hosts for i in (host.place, host.place + 1))
    wanted = [first + (last - first) * i // n_workers for i in range(n_workers + 1)]
    shards: list[list[Span]] = [[] for _ in range(n_workers)]
    for file in whole:
        size = file.stop
        cuts = [_boundary(file.path, at - before, size, boundary) for at in wanted]
        for shard, start, stop in zip(shards, cuts, cuts[1:], strict=False):
            if start < stop:
                shard.append(file if stop - start == size else Span(file.path, start, stop))
        before += size
    return shards


def share(files: Sequence[FilePath], n_workers: int, *, host: Host = ALONE) -> list[list[Span]]:
    """Share files out whole, in their order, so that each shard has about as many bytes.

    Parameters and result are those of `cut`. No file is opened.
    """
    return cut(files, n_workers, uncut, host=host)


def _boundary(path: FilePath, at: int, size: int, boundary: Boundary) -> int:
    if at <= 0 or at >= size:
        return min(max(at, 0), size)
    if boundary is uncut or is_compressed(path):
        return uncut(path, at, size)
    return boundary(path, at, size)
