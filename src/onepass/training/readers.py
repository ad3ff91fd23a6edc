"""Who reads which part of a channel, and in what batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from onepass.cluster.parameters import auto_batch_size
from onepass.data.batches import Auto, BatchReader, most_rows
from onepass.data.channels import list_files
from onepass.data.shards import cut, share
from onepass.data.sources import Pipe, Source, n_bytes_of, whole_files
from onepass.data.table_format import RECORDS, format_of
from onepass.errors import UserError
from onepass.resources import available_cpus
from onepass.sagemaker.hyperparameters import DEFAULT_MINI_BATCH, Hyperparameters
from onepass.sagemaker.inputs import Channel, InputMode

_log = logging.getLogger(__name__)

_BYTES_A_WORKER = 64 * 2**20
_LEAST_BYTES = 4096


def check_channel(channel: Channel) -> None:
    """Refuse a channel of which nothing can be read, before anything is."""
    format_of(channel.content_type, channel.name)
    if channel.mode != InputMode.PIPE:
        list_files(channel.directory, channel.name)


def peek_at(channel: Channel, wanted: Hyperparameters) -> None:
    """Refuse data of another width, and fewer rows than clusters, now and not after hours.

    Only what is a file and may be opened twice tells that beforehand.
    """
    if channel.mode != InputMode.FILE:
        return
    sources = whole_files(list_files(channel.directory, channel.name))
    table_format = format_of(channel.content_type, channel.name)
    BatchReader(sources, wanted.feature_dim, 1, table_format).peek()
    if channel.name == "train" and wanted.k > most_rows(sources, table_format):
        raise UserError(
            f"channel 'train' has {n_bytes_of(sources)} bytes, fewer rows than k={wanted.k} "
            "clusters"
        )


def readers_of(channel: Channel, wanted: Hyperparameters, epoch: int = 0) -> list[BatchReader]:
    """Return a reader for each worker's shard of a channel.

    Parameters
    ----------
    channel : Channel
    wanted : Hyperparameters
    epoch : int
        Which pass over the data this is, from 0: each has a pipe of its own.

    Notes
    -----
    A pipe is read by one. Files that are downloaded while they are read (FastFile) are shared out
    whole, as each is best opened once and read forward; others are cut between records.
    """
    if channel.mode == InputMode.PIPE:
        where = channel.directory
        _log.info("The channel %r is in pipe input mode under %s.", channel.name, where)
        return [reader_of([Pipe(channel.pipe(epoch), channel.wrapped)], channel, wanted)]
    files = list_files(channel.directory, channel.name)
    n_workers = _n_workers(wanted, n_bytes_of(whole_files(files)))
    if channel.mode == InputMode.FAST_FILE:
        shards = share(files, n_workers)
    else:
        shards = cut(files, n_workers, format_of(channel.content_type, channel.name).boundary)
    # A worker without data would still take its share of the sample from the others.
    return [reader_of(spans, channel, wanted) for spans in shards if spans]


def reader_of(sources: Sequence[Source], channel: Channel, wanted: Hyperparameters) -> BatchReader:
    """Return a reader of some sources of a channel."""
    table_format = format_of(channel.content_type, channel.name)
    return BatchReader(
        sources,
        wanted.feature_dim,
        rows_at_once(wanted),
        table_format,
        keep_sparse=_keep_sparse(wanted) if table_format is RECORDS else False,
    )


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
