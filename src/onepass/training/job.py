"""A training job from its configuration to its model: the story, top to bottom.

read and check the configuration -> find the data -> one pass -> final centers
-> further epochs -> save the model -> score the test data -> label the training data

What makes this module long is that it tells all of the story, with each way that it may end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias, TypeVar

import onepass
from onepass.artifact.archive import pack
from onepass.artifact.model_file import MODEL_ARCHIVE
from onepass.cluster.elbow import Elbow
from onepass.data.batches import BatchReader
from onepass.data.sources import n_bytes_of
from onepass.distributed.passes import EnoughError, Seen, ShardError, Tell
from onepass.distributed.plan import tree
from onepass.errors import DecodeError, OnepassError, UserError
from onepass.sagemaker.inputs import JobInput
from onepass.sagemaker.outcome import StoppedError
from onepass.sagemaker.paths import Paths
from onepass.training.algorithm import make_kmeans, united, usable_gpus
from onepass.training.checkpoints import Checkpoints, Keeper
from onepass.training.engines import LocalEngines
from onepass.training.labels import LabelFiles, files_of
from onepass.training.log import JobLog, log_setup
from onepass.training.progress import Progress
from onepass.training.readers import (
    peek_at,
)
from onepass.training.refusals import explained
from onepass.training.showing import ElbowDrawer, facts_of_job, save_report
from onepass.training.stages import Engine, Engines, LabelEngine
from onepass.training.stopping import Stopping, Told
from onepass.training.sweep import chosen, swept
from onepass.training.telling import Metrics, summary_of
from onepass.training.update import save, take_up, tell_drift

_log = logging.getLogger(__name__)

_R = TypeVar("_R")
Work: TypeAlias = Callable[[Tell], list[_R]]
"""Gives something for each shard, and tells how far it has come."""


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
    n_bad_records, n_bad_test_records : int
        Of each channel, that were passed over.
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
    n_bad_records: int = 0
    n_bad_test_records: int = 0


def train(
    job: JobInput, paths: Paths, progress: Progress, stopping: Stopping | None = None
) -> Trained:
    """Run a job.

    Parameters
    ----------
    job : JobInput
        From `onepass.training.configuration.read_configuration`; of one host.
    paths : Paths
    progress : Progress
    stopping : Stopping, optional
        See `Told`.

    Raises
    ------
    StoppedError
        When it was stopped before there were.
    UserError
        For what the user can mend: bad records, fewer rows than clusters.
    PlatformError
        For what the surroundings do.
    """
    gpus = usable_gpus(job.hyperparameters)
    log_setup(job, gpus)
    try:
        for channel in (job.train, job.test):
            if channel is not None:
                peek_at(channel, job.hyperparameters)
        checkpoints = Checkpoints(paths.checkpoints, job)
        engines = LocalEngines(job.hyperparameters, [gpu.index for gpu in gpus], checkpoints)
        told = Told(progress, stopping or Stopping())
        return Job(job, paths, told, engines, checkpoints).run()
    except DecodeError as error:
        raise explained(error, job.hyperparameters) from error


class Job:
    """A job whose configuration has been read.

    Parameters
    ----------
    job : JobInput
    paths : Paths
    told : Told
    engines : Engines
        Where its stages are done.
    checkpoints : Checkpoints, optional
        Where it keeps what it has learnt.
    """

    def __init__(
        self,
        job: JobInput,
        paths: Paths,
        told: Told,
        engines: Engines,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._job = job
        self._wanted = job.hyperparameters
        self._paths = paths
        self._progress, self._stopping = told
        self._metrics = Metrics(paths.output_data)
        self._log = JobLog(job.host, self._metrics)
        self._kmeans = make_kmeans(job.hyperparameters)
        self._before = take_up(self._kmeans, job)
        self._seen = Seen()
        self._n_bad_test_records = 0
        self._engines, self._checkpoints = engines, checkpoints
        self._keeper = Keeper(None, 0)
        self._elbow: Elbow | None = None
        self._drawer = ElbowDrawer() if self._wanted.sweep else None
        self._epoch = 0

    def run(self) -> Trained:
        """Run it, from the first row to the scores."""
        job, wanted = self._job, self._wanted.as_given()
        self._metrics.begin(job=job.name, version=onepass.__version__, hyperparameters=wanted)
        n_done = self._learn()
        for epoch in range(n_done + 1, self._wanted.epochs):
            if self._stopping.asked or not self._refine(epoch):
                break
        self._log.train_msd(self._kmeans)
        tell_drift(self._kmeans, self._before)
        model_file, archive = self._save()
        scores = self._score()
        self._label()
        if self._wanted.report and not self._stopping.asked:
            self._show(scores)
        self._log.times()
        trained = Trained(
            model_file,
            archive,
            self._kmeans.n_clusters,
            self._wanted.feature_dim,
            self._seen.n_rows,
            self._seen.n_bytes,
            self._kmeans.msd_,
            self._kmeans.msd_error_,
            self._log.seconds,
            scores,
            self._seen.n_bad_records,
            self._n_bad_test_records,
        )
        self._metrics.sum_up(summary_of(trained, job, stopped=self._stopping.asked))
        return trained

    def _learn(self) -> int:
        """Make the pass and the final centers, or take them up; returns the further epochs made."""
        engine = self._engines.of_pass(self._job.train)
        readers = engine.readers()
        if self._checkpoints is not None:
            self._keeper = self._checkpoints.of_job(self._kmeans, readers)
        self._seen, n_done = self._keeper.resume_job(self._kmeans)
        if not self._seen.n_rows:
            if self._checkpoints is not None:
                self._checkpoints.tell_of_others(self._kmeans, readers)
            self._stream(engine, readers)
            if not self._stopping.asked:
                self._keeper.keep_job(self._kmeans, self._seen, 0)
        if not n_done:
            self._finish()
        elif self._wanted.sweep:
            self._elbow = swept(self._kmeans, self._wanted, self._stopping.deadline)
        if self._drawer is not None and self._elbow is not None:
            self._drawer.draw(self._elbow, self._kmeans.n_clusters)
        self._epoch = n_done
        return n_done

    def _stream(self, engine: Engine, readers: Sequence[BatchReader]) -> None:
        """Make the one pass."""
        take = partial(engine.summarise, self._kmeans, readers)
        merged = tree(self._pass("one pass over the data", take, engine, readers), united)
        if merged is not self._kmeans:
            self._kmeans.merge(merged)
        self._log.lap("read and summarise")
        self._log.epoch(0, self._seen)
        n_rows = self._kmeans.n_samples_seen_
        if self._stopping.asked:
            if n_rows < self._wanted.least_k:
                raise StoppedError(
                    f"stopped by SIGTERM when {n_rows} rows had been read, fewer than "
                    f"k={self._wanted.least_k}"
                )
            _log.warning("stopped by SIGTERM: this is the model of the %d rows read", n_rows)
        if n_rows < self._wanted.least_k:
            raise UserError(
                f"channel 'train' has {n_rows} rows, fewer than k={self._wanted.least_k} "
                "clusters; lower k, or add data"
            )

    def _finish(self) -> None:
        """Make the final centers from the summary and the sample."""
        if self._stopping.asked:  # what has been read has been put together since
            self._stopping.hurry()
        before = self._before.model
        like = None if before is None else before.centers
        if self._wanted.sweep:
            self._elbow = swept(self._kmeans, self._wanted, self._stopping.deadline)
            self._kmeans.choose(chosen(self._elbow, self._wanted), like)
        else:
            self._kmeans.finalize(self._stopping.deadline, like)
        if self._wanted.epochs > 1 or self._job.test is not None:
            self._kmeans.leave_device()  # which is searched on
        if self._wanted.extra_center_factor == 1:
            _log.info("No shrinking is required as extra_center_factor is 1.")
        else:
            self._log.trials(self._kmeans)
        self._log.lap("final centers")

    def _refine(self, epoch: int) -> bool:
        """Make a further pass, one exact step of Lloyd's algorithm; returns whether it helps."""
        self._epoch = epoch
        engine = self._engines.of_model(self._job.train)
        readers = engine.readers(epoch)
        step = partial(engine.step, self._kmeans.to_model(), readers)
        try:
            steps = self._pass(f"epoch {epoch + 1}", step, engine, readers)
        except EnoughError:
            _log.warning("stopped by SIGTERM: epoch %d is given up", epoch + 1)
            return False
        msd = self._kmeans.take_step(steps)
        self._log.exact_msd(epoch, msd)
        self._log.lap("further epochs")
        self._log.epoch(epoch, self._seen)
        self._keeper.keep_job(self._kmeans, self._seen, epoch)
        if not self._kmeans.n_moved_:
            _log.info("no center has moved: further epochs would change nothing")
        return self._kmeans.n_moved_ > 0

    def _save(self) -> tuple[Path, Path]:
        model_file = save(self._kmeans, self._before, self._job, self._paths)
        archive = self._paths.output / MODEL_ARCHIVE
        pack(self._paths.model, archive)
        _log.info("saved %s and %s", model_file, archive)
        if self._drawer is not None:
            self._drawer.save(self._paths.output_data)
        self._log.lap("save")
        return model_file, archive

    def _show(self, scores: dict[str, float]) -> None:
        """Write the report."""
        known = self._kmeans, self._job, self._before, self._seen, self._elbow
        facts = facts_of_job(*known)._replace(seconds=dict(self._log.seconds), scores=scores)
        save_report(facts, self._wanted, self._paths.output_data)
        self._log.lap("report")

    def _score(self) -> dict[str, float]:
        """Score the test data exactly."""
        if self._job.test is None:
            _log.info("Test data is not provided.")
            return {}
        engine = self._engines.of_model(self._job.test)
        readers = engine.readers()
        score = partial(engine.score, self._kmeans.to_model(), readers)
        try:
            scored = self._run(score, engine, readers, lambda _: None)
        except EnoughError:
            _log.warning("stopped by SIGTERM: the test data is not scored")
            return {}
        self._n_bad_test_records = self._log.bad_records(self._job.test, readers)
        n_rows = sum(part.n_rows for part in scored)
        if not n_rows:
            raise UserError("channel 'test' has no rows; put some there, or leave it out")
        ssd = math.fsum(part.ssd for part in scored)
        values = {"ssd": ssd, "msd": ssd / n_rows}
        scores: dict[str, float] = {name: values[name] for name in self._wanted.eval_metrics}
        for name, value in scores.items():
            self._log.test_score(name, value)
        self._log.lap("score")
        return scores

    def _label(self) -> None:
        """Write the cluster of each row of the training data, where that is wanted."""
        if self._wanted.output_labels == "false":
            return
        engine, files = self._engines.of_labels(self._job.train), files_of(self._job, self._paths)
        engine.forget(files)  # they are not of this model
        try:
            self._write_labels(engine, files)
        except (EnoughError, StoppedError):
            engine.forget(files)
            _log.warning("stopped by SIGTERM: no labels are written")
        except BaseException:
            with suppress(OnepassError):  # one reason is enough
                engine.forget(files)
            raise

    def _write_labels(self, engine: LabelEngine, files: LabelFiles) -> None:
        if self._stopping.asked:
            raise EnoughError
        readers = engine.readers(self._epoch + 1)
        write = partial(engine.label, files, self._kmeans.to_model(), readers)
        advance = self._progress.advance
        with self._shown("labels", readers):
            staged = self._run(
                write, engine, readers, lambda seen: advance(seen.n_bytes, seen.n_rows)
            )
            engine.place(files, staged)
        n_rows = sum(reader.n_rows for reader in readers)
        _log.info("labels of %d rows are in %s, files: %d", n_rows, files.directory, len(staged))
        self._log.lap("labels")

    def _pass(
        self, what: str, work: Work[_R], engine: Engine, readers: Sequence[BatchReader]
    ) -> list[_R]:
        """Do something for all shards and tell how far it is."""
        with self._shown(what, readers):
            done = self._run(work, engine, readers, self._tell)
        n_bad = self._log.bad_records(self._job.train, readers)
        self._seen = self._seen._replace(n_bad_records=n_bad)
        return done

    @contextmanager
    def _shown(self, what: str, readers: Sequence[BatchReader]) -> Generator[None, None, None]:
        """Show how far a pass is, up to its end."""
        self._progress.start(what, sum(n_bytes_of(reader.sources) for reader in readers))
        try:
            yield
        except BaseException:
            self._progress.abandon()
            raise
        self._progress.finish()

    def _run(
        self,
        work: Work[_R],
        engine: Engine | LabelEngine,
        readers: Sequence[BatchReader],
        tell: Tell,
    ) -> list[_R]:
        """Do something for all shards; they may pass over no more bad records than one would."""

        def check(n_bad_records: int) -> None:
            if n_bad_records > self._wanted.max_bad_records:
                raise ShardError("DecodeError", f"{n_bad_records} bad records")

        def tell_and_check(seen: Seen) -> None:
            tell(seen)
            check(seen.n_bad_records)

        try:
            done = work(self._stopping.listening(tell_and_check))
            check(sum(reader.bad.n for reader in readers))
        except ShardError as error:
            self._raise(error, engine, readers)
        finally:
            self._stopping.done()
        return done

    def _tell(self, seen: Seen) -> None:
        self._seen = seen
        self._log.batches(seen, self._epoch)
        self._progress.advance(seen.n_bytes, seen.n_rows, seen.long_term_msd)

    def _raise(
        self, error: ShardError, engine: Engine | LabelEngine, readers: Sequence[BatchReader]
    ) -> NoReturn:
        """Raise what went wrong in a process; where it is a record, with its number."""
        if error.kind == "DecodeError":
            # A shard has not counted the records before its own.
            engine.recount(readers)
        raise error.original() from error
