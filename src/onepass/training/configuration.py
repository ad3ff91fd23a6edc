"""The configuration of a job, and what can be refused by it."""

from __future__ import annotations

import logging

from onepass.sagemaker.inputs import JobInput, read_job_input
from onepass.sagemaker.paths import Paths
from onepass.sagemaker.settings import NOTHING, Given
from onepass.training.readers import check_channel, host_of
from onepass.training.showing import check_report

_log = logging.getLogger(__name__)


def read_configuration(paths: Paths, given: Given = NOTHING) -> JobInput:
    """Read the configuration and refuse what can be refused before any data is read.

    Of several hosts, what each of them has is looked at when all have met, so that all are told.
    """
    job = read_job_input(paths, given)
    check_report(job.hyperparameters)
    if len(job.hosts) == 1:
        check_channels(job)
    for name in job.ignored:
        _log.warning(
            "channel %r is not used: k-means takes 'train', 'test' and 'model', where "
            "inputdataconfig.json names them, or there is no such file",
            name,
        )
    return job


def check_channels(job: JobInput) -> None:
    """Refuse channels of which nothing can be read on this host."""
    for channel in job.channels():
        check_channel(channel, host_of(job))
