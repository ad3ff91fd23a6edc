"""A training job from its configuration to its model: the story, top to bottom.

read and check the configuration -> find the data -> one pass -> final centers
-> further epochs -> save the model -> score the test data
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from onepass.artifact.archive import pack
from onepass.artifact.model_file import MODEL_ARCHIVE, save_model
from onepass.cluster.kmeans import KMeans
from onepass.cluster.parameters import auto_batch_size, auto_center_factor
from onepass.cluster.seeding import Seeding
from onepass.data.batches import BatchReader, most_rows
from onepass.data.channels import list_files
from onepass.data.shards import Span, cut, n_bytes_of, whole_files
from onepass.errors import AlgorithmError, PlatformError, UserError, WidthError
from onepass.formats.media import RECORDIO_PROTOBUF, MediaType
from onepass.resources import available_cpus
from onepass.sagemaker.hyperparameters import DEFAULT_MINI_BATCH, Hyperparameters
from onepass.sagemaker.inputs import Channel, JobInput, read_job_input
from onepass.sagemaker.paths import Paths
from onepass.training.log import JobLog, log_setup
from onepass.training.passes import Seen, ShardError, Task, run_pass
from onepass.training.progress import Progress
from onepass.training.tasks import score, step, summarise

_log = logging.getLogger(__name__)

_R = TypeVar("_R")
_BYTES_A_WORKER = 64 * 2**20
_LEAST_BYTES = 4096
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
    log_setup(job)
    try:
        for channel in (job.train, job.test):
            _peek_at(channel, job.hyperparameters.feature_dim)
        _check_k(job)
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
        self._log = JobLog(job.host)
        self._kmeans = _make_kmeans(job.hyperparameters)
        self._seen = Seen()

    def run(self) -> Trained:
        self._stream()
        self._finish()
        for epoch in range(1, self._wanted.epochs):
            if not self._refine(epoch):
                break
        self._log.train_msd(self._kmeans)
        model_file, archive = self._save()
        scores = self._score()
        self._log.times()
        return Trained(
            model_file,
            archive,
            self._wanted.k,
            self._wanted.feature_dim,
            self._seen.n_rows,
            self._seen.n_bytes,
            self._kmeans.msd_,
            self._kmeans.msd_error_,
            self._log.seconds,
            scores,
        )

    def _stream(self) -> None:
        """Make the one pass."""
        readers = self._readers(self._job.train)
        what = "one pass over the data"
        if len(readers) == 1:
            self._pass(what, partial(summarise, self._kmeans), readers)
        else:
            _log.info("%d processes share the data", len(readers))
            task = partial(summarise, self._kmeans.shard(len(readers)))
            for shard in self._pass(what, task, readers):
                self._kmeans.merge(shard)
        self._log.lap("read and summarise")
        self._log.epoch(0, self._seen)
        if self._seen.n_rows < self._wanted.k:
            raise UserError(
                f"channel 'train' has {self._seen.n_rows} rows, fewer than k={self._wanted.k} "
                "clusters"
            )

    def _finish(self) -> None:
        """Make the final centers from the summary and the sample."""
        self._kmeans.finalize()
        if self._wanted.extra_center_factor == 1:
            _log.info("No shrinking is required as extra_center_factor is 1.")
        else:
            self._log.trials(self._kmeans)
        self._log.lap("final centers")

    def _refine(self, epoch: int) -> bool:
        """Make a further pass, one exact step of Lloyd's algorithm; returns whether it helps."""
        task = partial(step, self._kmeans.to_model())
        steps = self._pass(f"epoch {epoch + 1}", task, self._readers(self._job.train))
        msd = self._kmeans.take_step(steps)
        _log.info("epoch %d: exact train msd %r before this step", epoch + 1, msd)
        self._log.lap("further epochs")
        self._log.epoch(epoch, self._seen)
        if not self._kmeans.n_moved_:
            _log.info("no center has moved: further epochs would change nothing")
        return self._kmeans.n_moved_ > 0

    def _save(self) -> tuple[Path, Path]:
        model_file = save_model(self._kmeans.to_model(), self._paths.model)
        archive = self._paths.output / MODEL_ARCHIVE
        pack(self._paths.model, archive)
        _log.info("saved %s and %s", model_file, archive)
        self._log.lap("save")
        return model_file, archive

    def _score(self) -> dict[str, float]:
        """Score the test data exactly."""
        if self._job.test is None:
            _log.info("Test data is not provided.")
            return {}
        task = partial(score, self._kmeans.to_model())
        readers = self._readers(self._job.test)
        try:
            scored = run_pass(task, readers, lambda _: None)
        except ShardError as error:
            self._raise(error, readers)
        ssd = math.fsum(part.ssd for part in scored)
        values = {"ssd": ssd, "msd": ssd / sum(part.n_rows for part in scored)}
        scores: dict[str, float] = {name: values[name] for name in self._wanted.eval_metrics}
        for name, value in scores.items():
            self._log.test_score(name, value)
        self._log.lap("score")
        return scores

    def _readers(self, channel: Channel) -> list[BatchReader]:
        """Return a reader for each worker's shard of a channel."""
        files = list_files(channel.directory, channel.name)
        n_workers = _n_workers(self._wanted, n_bytes_of(whole_files(files)))
        return [self._reader(spans) for spans in cut(files, n_workers)]

    def _reader(self, spans: Sequence[Span]) -> BatchReader:
        return BatchReader(spans, self._wanted.feature_dim, _rows_at_once(self._wanted))

    def _pass(self, what: str, task: Task[_R], readers: Sequence[BatchReader]) -> list[_R]:
        """Do a task for all shards and tell how far it is."""
        self._progress.start(what, sum(n_bytes_of(reader.spans) for reader in readers))
        try:
            done = run_pass(task, readers, self._tell)
        except ShardError as error:
            self._progress.abandon()
            self._raise(error, readers)
        except BaseException:
            self._progress.abandon()
            raise
        self._progress.finish()
        return done

    def _tell(self, seen: Seen) -> None:
        self._seen = seen
        self._log.batches(seen)
        self._progress.advance(seen.n_bytes, seen.n_rows)

    def _raise(self, error: ShardError, readers: Sequence[BatchReader]) -> NoReturn:
        """Raise what went wrong in a process; where it is a record, with its number."""
        if error.kind == "DecodeError":
            # A shard has not counted the records before its own. One reader for all does.
            paths = dict.fromkeys(span.path for reader in readers for span in reader.spans)
            for _ in self._reader(whole_files(list(paths))):
                pass
        kinds = {"PlatformError": PlatformError, "AlgorithmError": AlgorithmError}
        raise kinds.get(error.kind, UserError)(error.message) from error


def _n_workers(wanted: Hyperparameters, n_bytes: int) -> int:
    """Return how many processes share so much data."""
    if wanted.num_workers != "auto":
        return max(1, min(wanted.num_workers, n_bytes // _LEAST_BYTES))
    return max(1, min(available_cpus(), n_bytes // _BYTES_A_WORKER))


def _rows_at_once(wanted: Hyperparameters) -> int:
    """Return the rows of a batch; the default, which SDKs send unasked, leaves them to us."""
    if wanted.mini_batch_size != DEFAULT_MINI_BATCH:
        return wanted.mini_batch_size
    return auto_batch_size(wanted.feature_dim, wanted.half_life_time_size)


def _make_kmeans(wanted: Hyperparameters) -> KMeans:
    if wanted.extra_center_factor == "auto":
        factor = auto_center_factor(wanted.k)
        _log.info("'extra_center_factor' was set to 'auto', evaluated to %d.", factor)
    if _rows_at_once(wanted) != wanted.mini_batch_size:
        _log.info(
            "'mini_batch_size' is %d, the default: %d rows of %d features are taken at a time.",
            wanted.mini_batch_size,
            _rows_at_once(wanted),
            wanted.feature_dim,
        )
    return KMeans(
        wanted.k,
        init=_SEEDING[wanted.init_method],
        center_factor=wanted.extra_center_factor,
        batch_size=_rows_at_once(wanted),
        half_life=wanted.half_life_time_size,
        local_init=_SEEDING[wanted.local_lloyd_init_method],
        n_init=wanted.local_lloyd_num_trials,
        max_iter=wanted.local_lloyd_max_iter,
        tol=wanted.local_lloyd_tol,
        reservoir_bytes=wanted.reservoir_mib * 2**20,
        random_state=wanted.seed,
    )


def _check_k(job: JobInput) -> None:
    """Refuse more clusters than rows where that is plain, before memory is taken for them."""
    k, files = job.hyperparameters.k, list_files(job.train.directory, job.train.name)
    if k > most_rows(whole_files(files)):
        n_bytes = n_bytes_of(whole_files(files))
        raise UserError(f"channel 'train' has {n_bytes} bytes, fewer rows than k={k} clusters")


def _peek_at(channel: Channel | None, n_features: int) -> None:
    """Refuse data of another width now, not after hours of training."""
    if channel is not None:
        files = list_files(channel.directory, channel.name)
        BatchReader(whole_files(files), n_features, 1).peek()


def _check_content_type(channel: Channel) -> None:
    media = MediaType.parse(channel.content_type)
    if media.name != RECORDIO_PROTOBUF:
        raise UserError(
            f"channel {channel.name!r}: No iterator has been registered for ContentType "
            f"{channel.content_type!r}; this version reads {RECORDIO_PROTOBUF}"
        )
