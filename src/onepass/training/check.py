"""Reading all the data of a job as training would, without training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from onepass.data.sources import n_bytes_of, whole_files
from onepass.errors import DecodeError, UserError
from onepass.sagemaker.inputs import Channel, Distribution, InputMode, JobInput
from onepass.training.log import JobLog
from onepass.training.readers import files_of, host_of, reader_of
from onepass.training.refusals import explained


@dataclass(frozen=True)
class Checked:
    """What a channel holds.

    Attributes
    ----------
    channel : Channel
    n_files, n_bytes, n_rows, n_bad_records : int
        Rows without those that are bad, which training would pass over. All 0 for a pipe, which is
        not opened: what is read from it would be lost.
    seconds : float
        That reading took.
    """

    channel: Channel
    n_files: int = 0
    n_bytes: int = 0
    n_rows: int = 0
    n_bad_records: int = 0
    seconds: float = 0.0


def check(job: JobInput) -> Iterator[Checked]:
    """Read every channel that training reads, whole.

    Parameters
    ----------
    job : JobInput
        From `onepass.training.job.read_configuration`.

    Yields
    ------
    Checked

    Raises
    ------
    UserError
        For the first thing that training would refuse.
    PlatformError
        When a file cannot be read.
    """
    for channel in (job.train, job.test):
        if channel is None:
            continue
        if channel.mode == InputMode.PIPE:
            yield Checked(channel)
            continue
        checked = _read(channel, job)
        here = len(job.hosts) == 1 or channel.distribution == Distribution.REPLICATED
        if channel.name == "train" and here and checked.n_rows < job.hyperparameters.least_k:
            raise UserError(
                f"channel 'train' has {checked.n_rows} rows, fewer than "
                f"k={job.hyperparameters.least_k} clusters; lower k, or add data"
            )
        yield checked


def _read(channel: Channel, job: JobInput) -> Checked:
    log = JobLog(job.host)
    sources = whole_files(files_of(channel, host_of(job)))
    reader, started = reader_of(sources, channel, job.hyperparameters), time.monotonic()
    try:
        with closing(reader.read()) as batches:
            for _ in batches:
                pass
    except DecodeError as error:
        raise explained(error, job.hyperparameters) from error
    seconds = time.monotonic() - started
    n_bytes, n_bad = n_bytes_of(sources), log.bad_records(channel, [reader])
    return Checked(channel, len(sources), n_bytes, reader.n_rows, n_bad, seconds)
