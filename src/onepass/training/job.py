"""A training job from its configuration to its model: the story, top to bottom.

read and check the configuration -> find the data -> one pass -> final centers
-> further epochs -> save the model -> score the test data
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onepass.artifact.archive import pack
from onepass.artifact.model_file import MODEL_ARCHIVE, save_model
from onepass.cluster.kmeans import KMeans
from onepass.cluster.parameters import auto_center_factor
from onepass.cluster.seeding import Seeding
from onepass.data.batches import BatchReader
from onepass.data.channels import list_files
from onepass.errors import UserError, WidthError
from onepass.formats.arrays import Rows
from onepass.formats.media import RECORDIO_PROTOBUF, MediaType
from onepass.sagemaker.hyperparameters import Hyperparameters
from onepass.sagemaker.inputs import Channel, JobInput, read_job_input
from onepass.sagemaker.metrics import metrics_line, quality_line, throughput_line
from onepass.sagemaker.paths import Paths
from onepass.training.progress import Progress

_log = logging.getLogger(__name__)

_REPORTED_BATCHES = frozenset(10**i for i in range(1, 12))
_SEEDING: dict[str, Seeding] = {"random": "random", "kmeans++": "k-means++"}


@dataclass(frozen=True)
class Trained:
    """What a job has done.

    Attributes
    ----------
    model_file, archive : Path
        ``model_algo-1``, and the ``model.tar.gz`` that holds it.
    n_clusters, n_features, n_rows, n_bytes : int
    msd, msd_error : float
        Mean squared distance of the training data, and its standard error, 0 when exact.
    seconds : dict of str to float
        What each stage took.
    scores : dict of str to float
        Of the test data.
    """

    model_file: Path
    archive: Path
    n_clusters: int
    n_features: int
    n_rows: int
    n_bytes: int
    msd: float
    msd_error: float
    seconds: dict[str, float]
    scores: dict[str, float]


def read_configuration(paths: Paths) -> JobInput:
    """Read the configuration and refuse what can be refused before any data is read."""
    job = read_job_input(paths)
    for channel in (job.train, job.test):
        if channel is not None:
            _check_content_type(channel)
            list_files(channel.directory, channel.name)
    for name in job.ignored:
        _log.warning("channel %r is not used: k-means takes 'train' and 'test'", name)
    return job


def train(job: JobInput, paths: Paths, progress: Progress) -> Trained:
    """Run a job.

    Parameters
    ----------
    job : JobInput
        From `read_configuration`.
    paths : Paths
    progress : Progress

    Raises
    ------
    UserError
        For what the user can mend: bad records, fewer rows than clusters.
    PlatformError
        For what the surroundings do.
    """
    for channel in (job.train, job.test):
        if channel is not None:
            _log_content_type(channel)
    try:
        return _Job(job, paths, progress).run()
    except WidthError as error:
        wanted = job.hyperparameters.feature_dim
        raise UserError(f"feature_dim={wanted} does not fit the data: {error}") from error


class _Job:
    def __init__(self, job: JobInput, paths: Paths, progress: Progress) -> None:
        self._job = job
        self._wanted = job.hyperparameters
        self._paths = paths
        self._progress = progress
        self._started = time.time()
        self._clock = _Stopwatch()
        self._kmeans = _make_kmeans(job.hyperparameters)
        self._n_rows = self._n_bytes = 0

    def run(self) -> Trained:
        self._peek_at_test()
        self._stream()
        self._finish()
        for epoch in range(1, self._wanted.epochs):
            self._refine(epoch)
        _log.info(quality_line(self._job.host, "train msd", self._kmeans.msd_))
        model_file, archive = self._save()
        scores = self._score()
        self._report_times()
        return Trained(
            model_file,
            archive,
            self._wanted.k,
            self._wanted.feature_dim,
            self._n_rows,
            self._n_bytes,
            self._kmeans.msd_,
            self._kmeans.msd_error_,
            self._clock.seconds,
            scores,
        )

    def _peek_at_test(self) -> None:
        """Refuse test data of another width now, not after hours of training."""
        if self._job.test is not None:
            files = list_files(self._job.test.directory, "test")
            next(iter(BatchReader(files, self._wanted.feature_dim, 1)), None)

    def _stream(self) -> None:
        """Make the one pass."""
        reader = self._reader(self._job.train)
        for i, batch in enumerate(self._pass(reader, "one pass over the data"), start=1):
            self._kmeans.partial_fit(batch)
            if i in _REPORTED_BATCHES and self._kmeans.n_centers_:
                _log.info(
                    "Iter %d: Short term msd %f. Long term msd %f",
                    i,
                    self._kmeans.short_term_msd_,
                    self._kmeans.long_term_msd_,
                )
        self._n_rows, self._n_bytes = reader.n_rows, reader.n_bytes
        self._clock.lap("read and summarise")
        self._report_epoch(0, reader)
        if reader.n_rows < self._wanted.k:
            raise UserError(
                f"channel 'train' has {reader.n_rows} rows, fewer than k={self._wanted.k} clusters"
            )

    def _finish(self) -> None:
        """Make the final centers from the summary and the sample."""
        self._kmeans.finalize()
        if self._wanted.extra_center_factor == 1:
            _log.info("No shrinking is required as extra_center_factor is 1.")
        else:
            _log.info("shrinking %d centers into %d", self._kmeans.n_centers_, self._wanted.k)
        msds = self._kmeans.trial_msds_
        for i, msd in enumerate(msds):
            _log.info("local kmeans attempt #%d. Current mean square distance %f", i, msd)
        _log.info("finished shrinking process. Mean Square Distance = %f", min(msds))
        if self._kmeans.msd_error_:
            _log.info(
                "train msd %g is an estimate from a sample; its standard error is %.2g",
                self._kmeans.msd_,
                self._kmeans.msd_error_,
            )
        self._clock.lap("final centers")

    def _refine(self, epoch: int) -> None:
        """Make a further pass: one exact step of Lloyd's algorithm."""
        reader = self._reader(self._job.train)
        msd = self._kmeans.refine(self._pass(reader, f"epoch {epoch + 1}"))
        _log.info("epoch %d: exact train msd %r before this step", epoch + 1, msd)
        self._clock.lap("further epochs")
        self._report_epoch(epoch, reader)

    def _save(self) -> tuple[Path, Path]:
        model_file = save_model(self._kmeans.to_model(), self._paths.model)
        archive = self._paths.output / MODEL_ARCHIVE
        pack(self._paths.model, archive)
        _log.info("saved %s and %s", model_file, archive)
        self._clock.lap("save")
        return model_file, archive

    def _score(self) -> dict[str, float]:
        """Score the test data exactly."""
        if self._job.test is None:
            _log.info("Test data is not provided.")
            return {}
        reader = self._reader(self._job.test)
        model = self._kmeans.to_model()
        ssd = math.fsum(model.inertia(batch) for batch in reader)
        values = {"ssd": ssd, "msd": ssd / reader.n_rows}
        scores: dict[str, float] = {name: values[name] for name in self._wanted.eval_metrics}
        for name, value in scores.items():
            _log.info(quality_line(self._job.host, f"test {name}", value))
        self._clock.lap("score")
        return scores

    def _reader(self, channel: Channel) -> BatchReader:
        files = list_files(channel.directory, channel.name)
        return BatchReader(files, self._wanted.feature_dim, self._wanted.mini_batch_size)

    def _pass(self, reader: BatchReader, what: str) -> Iterator[Rows]:
        """Yield all batches and tell how far they are."""
        self._progress.start(what, sum(path.stat().st_size for path in reader.files))
        for batch in reader:
            yield batch
            self._progress.advance(reader.n_bytes, reader.n_rows)
        self._progress.finish()

    def _report_epoch(self, epoch: int, reader: BatchReader) -> None:
        _log.info("processed a total of %d examples", reader.n_rows)
        counters = {
            "Total Records Seen": (epoch + 1) * reader.n_rows,
            "Total Batches Seen": (epoch + 1) * -(-reader.n_rows // reader.batch_rows),
            "Number of Records Since Last Reset": reader.n_rows,
            "Reset Count": epoch,
        }
        dimensions: dict[str, str | int] = {"epoch": epoch, "Meta": "training_data_iter"}
        span = (self._started, time.time())
        _log.info(metrics_line(self._job.host, span, counters, dimensions))
        speed = reader.n_rows / max(self._clock.last, 1e-9)
        _log.info(throughput_line(self._job.host, speed))

    def _report_times(self) -> None:
        milliseconds = {
            f"{stage.replace(' ', '_')}.time": 1000 * seconds
            for stage, seconds in self._clock.seconds.items()
        }
        milliseconds["totaltime"] = 1000 * (time.time() - self._started)
        _log.info(metrics_line(self._job.host, (self._started, time.time()), milliseconds))


class _Stopwatch:
    """Sums up the time between laps by what was done in it."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.last = 0.0

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.last, self._since = now - self._since, now
        self.seconds[stage] = self.seconds.get(stage, 0.0) + self.last


def _make_kmeans(wanted: Hyperparameters) -> KMeans:
    if wanted.extra_center_factor == "auto":
        factor = auto_center_factor(wanted.k)
        _log.info("'extra_center_factor' was set to 'auto', evaluated to %d.", factor)
    return KMeans(
        wanted.k,
        init=_SEEDING[wanted.init_method],
        center_factor=wanted.extra_center_factor,
        batch_size=wanted.mini_batch_size,
        half_life=wanted.half_life_time_size,
        local_init=_SEEDING[wanted.local_lloyd_init_method],
        n_init=wanted.local_lloyd_num_trials,
        max_iter=wanted.local_lloyd_max_iter,
        tol=wanted.local_lloyd_tol,
        random_state=wanted.seed,
    )


def _check_content_type(channel: Channel) -> None:
    media = MediaType.parse(channel.content_type)
    if media.name != RECORDIO_PROTOBUF:
        raise UserError(
            f"channel {channel.name!r}: No iterator has been registered for ContentType "
            f"{channel.content_type!r}; this version reads {RECORDIO_PROTOBUF}"
        )


def _log_content_type(channel: Channel) -> None:
    media = MediaType.parse(channel.content_type)
    version = media.parameters.get("version", "1.0")
    _log.info("Loaded iterator creator %s for content type %s", media.name, (media.name, version))
