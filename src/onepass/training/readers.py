"""Who reads which part of a channel, and in what batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

from onepass.cluster.parameters import auto_batch_size
from onepass.data.batches import Auto, BatchReader
from onepass.data.channels import find_files, list_files
from onepass.data.s3_path import S3Path, list_objects
from onepass.data.shards import ALONE, Host, cut, share
from onepass.data.sources import FilePath, Pipe, Source, n_bytes_of, whole_files
from onepass.data.table_format import RECORDS, format_of, most_rows
from onepass.errors import UserError
from onepass.formats.media import CSV, MediaType
from onepass.resources import available_cpus
from onepass.sagemaker.hyperparameters import DEFAULT_MINI_BATCH, Hyperparameters
from onepass.sagemaker.inputs import Channel, Distribution, InputMode, JobInput

_log = logging.getLogger(__name__)

_BYTES_A_WORKER = 64 * 2**20
_LEAST_BYTES = 4096


def host_of(job: JobInput) -> Host:
    """Return which of the job's hosts this is."""
    return Host(job.host_index, len(job.hosts))


def check_channel(channel: Channel, host: Host = ALONE) -> None:
    """Refuse a channel of which nothing can be read, before anything is."""
    format_of(channel.content_type, channel.name)
    if channel.mode != InputMode.PIPE and not (channel.uri and host.place):
        files_of(channel, host)


def files_of(channel: Channel, host: Host = ALONE) -> Sequence[FilePath]:
    """Return the files this host has of a channel, or the objects in S3.

    Objects are dealt out to hosts by their keys (ShardedByS3Key): a host may get none. Those that
    are read from S3 are listed once.
    """
    if channel.uri:
        return _objects_of(channel.uri, channel.name)
    if host.n_hosts > 1 and channel.distribution == Distribution.SHARDED:
        return find_files(channel.directory)
    return list_files(channel.directory, channel.name)


@cache
def _objects_of(uri: str, name: str) -> list[S3Path]:
    """List the objects of a channel once: a job reads what it found first."""
    found = list_objects(uri)
    if not any(path.n_bytes for path in found):
        what = f"its {len(found)} objects are empty" if found else "there is no object below it"
        raise UserError(
            f"channel {name!r} has no data: {what} ({uri}; names starting with '.' or '_' do not "
            "count)"
        )
    return found


def peek_at(channel: Channel, wanted: Hyperparameters, host: Host = ALONE) -> None:
    """Refuse data of another width, and fewer rows than clusters, now and not after hours.

    Only what is a file and may be opened twice tells that beforehand.
    """
    if channel.mode != InputMode.FILE:
        return
    sources = whole_files(files_of(channel, host))
    table_format = format_of(channel.content_type, channel.name)
    reader_of(sources, channel, wanted).peek()
    if host.n_hosts > 1 and channel.distribution == Distribution.SHARDED:
        return  # how many rows there are is known to all hosts together
    if channel.name == "train" and wanted.least_k > most_rows(
        sources, table_format, enough=wanted.least_k
    ):
        raise UserError(
            f"channel 'train' has {n_bytes_of(sources)} bytes, fewer rows than k={wanted.least_k} "
            "clusters; lower k, or add data"
        )


def readers_of(
    channel: Channel, wanted: Hyperparameters, epoch: int = 0, *, host: Host = ALONE
) -> list[BatchReader]:
    """Return a reader for each of this host's shards of a channel.

    Parameters
    ----------
    channel : Channel
    wanted : Hyperparameters
    epoch : int
        Which pass over the data this is, from 0: each has a pipe of its own.
    host : Host
        Which of the job's hosts this is.

    Returns
    -------
    list of BatchReader
        One for each worker that has something to read; none where this host has no data.

    Notes
    -----
    Over all hosts every row has one reader. Hosts that got all objects (FullyReplicated) read a
    share of them each; what a host got for itself (ShardedByS3Key) it reads itself.

    A pipe is read by one, and one that every host has by the first host. Files that are downloaded
    while they are read (FastFile) are shared out whole, as each is best opened once and read
    forward; others are cut between records.
    """
    sharing = ALONE if channel.distribution == Distribution.SHARDED else host
    if channel.mode == InputMode.PIPE:
        return _pipe_readers(channel, wanted, epoch, sharing)
    files = files_of(channel, host)
    n_workers = _n_workers(wanted, n_bytes_of(whole_files(files)) // sharing.n_hosts)
    if channel.mode == InputMode.FAST_FILE:
        shards = share(files, n_workers, host=sharing)
    else:
        boundary = format_of(channel.content_type, channel.name).boundary
        shards = cut(files, n_workers, boundary, host=sharing)
    # A worker without data would still take its share of the sample from the others.
    return [reader_of(spans, channel, wanted) for spans in shards if spans]


def _pipe_readers(
    channel: Channel, wanted: Hyperparameters, epoch: int, sharing: Host
) -> list[BatchReader]:
    where = channel.directory
    _log.info("The channel %r is in pipe input mode under %s.", channel.name, where)
    if sharing.place:
        _log.info("Every host has all of it: the first one reads it.")
        return []
    return [reader_of([Pipe(channel.pipe(epoch), channel.wrapped)], channel, wanted)]


def reader_of(sources: Sequence[Source], channel: Channel, wanted: Hyperparameters) -> BatchReader:
    """Return a reader of some sources of a channel."""
    table_format = format_of(channel.content_type, channel.name)
    return BatchReader(
        sources,
        wanted.feature_dim,
        rows_at_once(wanted),
        table_format,
        max_bad_records=wanted.max_bad_records,
        keep_sparse=_keep_sparse(wanted) if table_format is RECORDS else False,
    )


def recount(readers: Sequence[BatchReader], channel: Channel, wanted: Hyperparameters) -> None:
    """Read the files of some readers as a whole; see `Engine.recount`."""
    paths = dict.fromkeys(source.path for reader in readers for source in reader.sources)
    for _ in reader_of(whole_files(list(paths)), channel, wanted):
        pass


def is_text(channel: Channel) -> bool:
    """Whether the rows of a channel are numbers in texts."""
    return MediaType.parse(channel.content_type).name == CSV


def may_be_taken_raw(channel: Channel, wanted: Hyperparameters) -> bool:
    """Whether a device may take the records of a channel as they lie in its files.

    Files that are downloaded while they are read are best read forward, and so are objects in S3.
    """
    is_records = format_of(channel.content_type, channel.name) is RECORDS and not channel.uri
    return channel.mode == InputMode.FILE and is_records and _keep_sparse(wanted) is not True


def _keep_sparse(wanted: Hyperparameters) -> bool | Auto:
    return "auto" if wanted.force_dense == "auto" else not wanted.force_dense


def rows_at_once(wanted: Hyperparameters) -> int:
    """Return the rows of a batch; the default, which SDKs send unasked, leaves them to us."""
    if wanted.mini_batch_size != DEFAULT_MINI_BATCH:
        return wanted.mini_batch_size
    return auto_batch_size(wanted.feature_dim, wanted.half_life_time_size)


def _n_workers(wanted: Hyperparameters, n_bytes: int) -> int:
    """Return how many processes share so much data."""
    if wanted.num_workers != "auto":
        return max(1, min(wanted.num_workers, n_bytes // _LEAST_BYTES))
    return max(1, min(available_cpus(), n_bytes // _BYTES_A_WORKER))
