"""A job that is asked to end makes its final centers soon."""

import logging
import pkgutil

import pytest

from onepass.cluster.deadline import NEVER
from onepass.distributed.passes import EnoughError, Seen
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress
from onepass.training.stopping import Stopping


def test_who_is_asked_twice_hurries_no_less(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    stopping = Stopping()
    assert not stopping.deadline.is_past
    stopping.ask()
    now += 4
    stopping.ask()
    assert stopping.deadline.is_half_past
    now += 2
    assert stopping.deadline.is_past


def test_who_is_asked_tells_at_the_next_moment():
    stopping = Stopping()
    tell = stopping.listening(lambda _: None)
    tell(Seen())
    stopping.ask()
    with pytest.raises(EnoughError):
        tell(Seen())


@pytest.mark.parametrize(
    "when", ["onepass.training.job.Job._stream", "onepass.cluster.stream.finish_each"]
)
def test_a_job_that_is_asked_makes_fewer_trials(opt_ml, blobs, monkeypatch, caplog, when):
    """Asked at the beginning of the pass, and of the last step."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("onepass.training.stopping._FINISH_WITHIN_S", 0)
    stopping = Stopping()
    what = pkgutil.resolve_name(when)

    def asked(*arguments):
        stopping.ask()
        return what(*arguments)

    monkeypatch.setattr(when, asked)
    opt_ml.put(blobs)
    opt_ml.configure(k="2", feature_dim="3", local_lloyd_num_trials="5")
    job = read_configuration(Paths(opt_ml.base))
    train(job, Paths(opt_ml.base), LogProgress(job.host, 1), stopping)
    assert caplog.text.count("local kmeans attempt") == 1
    assert not NEVER.is_past
