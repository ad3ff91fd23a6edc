"""What a job tells as it goes: the lines that people read and metric filters look for.

The same facts go to its metrics, which programs read.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Sequence

from onepass.cluster.kernels import cpu
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kmeans import KMeans
from onepass.data.bad_records import SHOWN
from onepass.data.batches import BatchReader
from onepass.distributed.passes import Seen
from onepass.formats.media import MediaType
from onepass.sagemaker.inputs import Channel, JobInput
from onepass.sagemaker.metrics import metrics_line, quality_line, throughput_line
from onepass.training.progress import REPORT_EVERY_S
from onepass.training.telling import Metrics

_log = logging.getLogger(__name__)

_REPORTED_BATCHES = [10**i for i in range(1, 12)]


def log_setup(job: JobInput, gpus: Sequence[Gpu]) -> None:
    """Tell how the channels are read and on what is computed."""
    for channel in (job.train, job.test):
        if channel is not None:
            media = MediaType.parse(channel.content_type)
            kind = (media.name, media.parameters.get("version", "1.0"))
            _log.info("Loaded iterator creator %s for content type %s", media.name, kind)
    _log.info("Number of GPUs being used: %d", len(gpus))
    for gpu in gpus:
        _log.info("Using %s, of %.0f GiB", gpu.name, gpu.n_bytes / 2**30)
    _log.info("Computing with %s", cpu.describe())
    wanted = job.hyperparameters.num_gpus
    if wanted != "auto" and wanted > len(gpus):
        _log.warning("_num_gpus=%d: %d can be used", wanted, len(gpus))


class JobLog:
    """Writes the log lines of one job, and keeps the time of its stages.

    Parameters
    ----------
    host : str
    metrics : Metrics, optional
        Is told the same.

    Attributes
    ----------
    seconds : dict of str to float
        What each stage has taken so far.
    """

    def __init__(self, host: str, metrics: Metrics | None = None) -> None:
        self._host = host
        self._metrics = metrics or Metrics()
        self._started = time.time()
        self._since = time.perf_counter()
        self._last = 0.0
        self._n_reported = 0
        self._reported_at = self._since
        self._told: set[str] = set()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage."""
        now = time.perf_counter()
        self._last, self._since = now - self._since, now
        self.seconds[stage] = self.seconds.get(stage, 0.0) + self._last
        self._metrics.tell("stage", stage=stage, seconds=self._last)

    def batches(self, seen: Seen, epoch: int = 0) -> None:
        """Tell, after the 10th, 100th, ... batch, how near rows are to the summary's centers."""
        reached = _REPORTED_BATCHES[: bisect_right(_REPORTED_BATCHES, seen.n_batches)]
        is_due = len(reached) > self._n_reported and seen.long_term_msd > 0
        self._report_progress(seen, epoch, is_due=is_due)
        if is_due:
            self._n_reported = len(reached)
            _log.info(
                "Iter %d: Short term msd %f. Long term msd %f",
                reached[-1],
                seen.short_term_msd,
                seen.long_term_msd,
            )

    def _report_progress(self, seen: Seen, epoch: int, *, is_due: bool) -> None:
        """Metrics how far a pass is, when the log tells it, and every ten seconds."""
        now = time.perf_counter()
        if is_due or now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._metrics.tell("progress", **_facts(seen, epoch, now - self._since))

    def epoch(self, epoch: int, seen: Seen) -> None:
        """Tell what the pass that has just ended has read, and how fast."""
        self._metrics.tell("epoch", **_facts(seen, epoch, self._last))
        _log.info("processed a total of %d examples", seen.n_rows)
        counters = {
            "Total Records Seen": (epoch + 1) * seen.n_rows,
            "Total Batches Seen": (epoch + 1) * seen.n_batches,
            "Max Records Seen Between Resets": seen.n_rows,
            "Max Batches Seen Between Resets": seen.n_batches,
            "Reset Count": epoch,
            "Number of Records Since Last Reset": seen.n_rows,
            "Number of Batches Since Last Reset": seen.n_batches,
        }
        dimensions: dict[str, str | int] = {"epoch": epoch, "Meta": "training_data_iter"}
        span = (self._started, time.time())
        _log.info(metrics_line(self._host, span, counters, dimensions))
        _log.info(throughput_line(self._host, seen.n_rows / max(self._last, 1e-9)))

    def exact_msd(self, epoch: int, msd: float) -> None:
        """Tell the msd of all rows to the centers as they were before a further epoch."""
        _log.info("epoch %d: exact train msd %r before this step", epoch + 1, msd)
        self._metrics.tell("exact msd", epoch=epoch, msd=msd)

    def bad_records(self, channel: Channel, readers: Sequence[BatchReader]) -> int:
        """Tell what a pass has passed over, the first few once and by name; return how many."""
        n = sum(reader.bad.n for reader in readers)
        first = [line for reader in readers for line in reader.bad.first][:SHOWN]
        for line in first:
            if line not in self._told:
                _log.warning("passed over: %s", line)
        self._told.update(first)
        if n:
            _log.warning("channel %r: bad records passed over: %d", channel.name, n)
            self._metrics.tell("bad records", channel=channel.name, n_bad_records=n)
        return n

    def trials(self, kmeans: KMeans) -> None:
        """Tell what each trial of the last step reached on the summary."""
        _log.info("shrinking %d centers into %d", kmeans.n_centers_, kmeans.n_clusters)
        for i, msd in enumerate(kmeans.trial_msds_):
            _log.info("local kmeans attempt #%d. Current mean square distance %f", i, msd)
        best = min(kmeans.trial_msds_)
        self._metrics.tell("trials", n_trials=len(kmeans.trial_msds_), msd=best)
        _log.info("finished shrinking process. Mean Square Distance = %f", best)

    def train_msd(self, kmeans: KMeans) -> None:
        """Tell the msd of the training data, and its standard error where it is estimated."""
        if kmeans.msd_error_:
            _log.info(
                "train msd %g is an estimate from a sample; its standard error is %.2g",
                kmeans.msd_,
                kmeans.msd_error_,
            )
        _log.info(quality_line(self._host, "train msd", kmeans.msd_))
        error = kmeans.msd_error_
        self._metrics.tell("score", name="train msd", value=kmeans.msd_, standard_error=error)

    def test_score(self, name: str, value: float) -> None:
        """Tell a score of the test data."""
        _log.info(quality_line(self._host, f"test {name}", value))
        self._metrics.tell("score", name=f"test {name}", value=value)

    def times(self) -> None:
        """Tell what each stage took, in milliseconds."""
        milliseconds = {
            f"{stage.replace(' ', '_')}.time": 1000 * seconds
            for stage, seconds in self.seconds.items()
        }
        milliseconds["totaltime"] = 1000 * (time.time() - self._started)
        _log.info(metrics_line(self._host, (self._started, time.time()), milliseconds))
        self._metrics.tell("end", seconds=time.time() - self._started)


def _facts(seen: Seen, epoch: int, seconds: float) -> dict[str, float]:
    """Return how far a pass has come, and how fast; no msd of rows where none is made."""
    facts = seen._asdict()
    if not seen.long_term_msd:
        del facts["short_term_msd"], facts["long_term_msd"]
    return {
        "epoch": epoch,
        **facts,
        "seconds": seconds,
        "rows_per_s": seen.n_rows / max(seconds, 1e-9),
    }
