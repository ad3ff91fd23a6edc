"""What a job has learnt so far, kept so that it goes on from there when it is begun again.

Each shard of the pass keeps its own: its stream's state and how far it has read, at its own time,
as no shard depends on another. When all have been read, the whole is kept, and the centers after
each further epoch. Of each, two generations are there, so that one is whole whenever a job is
killed.

A checkpoint is found by what it was made of: the same data, cut alike, and the same hyperparameters
as far as they matter. Others in the same directory are left alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from onepass.artifact.state_file import load_state, save_state
from onepass.cluster.kmeans import KMeans
from onepass.cluster.state import State
from onepass.data.batches import BatchReader
from onepass.data.position import Position
from onepass.data.sources import Span
from onepass.distributed.passes import Seen
from onepass.errors import DecodeError, OnepassError
from onepass.sagemaker.inputs import JobInput

_log = logging.getLogger(__name__)

_SUFFIX = ".checkpoint"
_GENERATIONS = 2
_MOST_OF_THE_TIME = 1 / 20
_NO_MATTER = (
    *("local_lloyd_init_method", "local_lloyd_num_trials", "local_lloyd_max_iter"),
    *("local_lloyd_tol", "epochs", "eval_metrics", "device", "num_gpus", "num_workers"),
    *("log_level", "host_timeout_s", "tls_ca_file", "tls_cert_file", "tls_key_file"),
    *("dashboard", "state_sample_mib", "whole_state", "checkpoint_interval_s"),
    "output_labels",
    *("tuning_objective_metric", "kvstore", "num_kv_servers", "num_slices"),
    *("enable_profiler", "disable_wait_to_read"),
    *("report", "report_map", "feature_names"),
)
"""Hyperparameters that what is read makes no difference by, or that say how it is cut."""


class Checkpoints:
    """The checkpoints of one job on one host.

    Parameters
    ----------
    folder : Path
        Nothing is kept where it does not exist.
    job : JobInput
        Known by its data, wherever its directory lies, by the place of this host among all, and by
        its hyperparameters.
    """

    def __init__(self, folder: Path, job: JobInput) -> None:
        self._folder = folder if folder.is_dir() else None
        self._base, self._host = folder.parent, job.host_index
        wanted = job.hyperparameters
        self._wanted = {
            field.name: getattr(wanted, field.name)
            for field in dataclasses.fields(wanted)
            if field.name not in _NO_MATTER
        }
        self._interval_s = wanted.checkpoint_interval_s

    def of_shard(self, kmeans: KMeans, reader: BatchReader) -> Keeper:
        """Return what keeps the checkpoints of a shard, which `kmeans` has not begun to take."""
        return self._keeper("shard", kmeans, [reader])

    def of_job(self, kmeans: KMeans, readers: Sequence[BatchReader]) -> Keeper:
        """Return what keeps the checkpoints of a job that has read all of its data."""
        return self._keeper("job", kmeans, readers)

    def tell_of_others(self, kmeans: KMeans, readers: Sequence[BatchReader]) -> None:
        """Tell that there are checkpoints, if none of them is of this job or of its shards."""
        part = kmeans.shard(len(readers)) if len(readers) > 1 else kmeans
        keepers = [self.of_shard(part, reader) for reader in readers]
        if self._folder is None or any(keeper.is_there for keeper in keepers):
            return
        if any(self._folder.glob(f"*{_SUFFIX}.*")):
            _log.warning(
                "the checkpoints in %s are of other data, other hyperparameters or another number "
                "of processes: this job begins anew",
                self._folder,
            )

    def _keeper(self, what: str, kmeans: KMeans, readers: Sequence[BatchReader]) -> Keeper:
        if self._folder is None:
            return Keeper(None, 0)
        plan = {
            "what": what,
            "host": self._host,
            "hyperparameters": self._wanted,
            "before": [kmeans.n_samples_seen_, kmeans.n_opened_, kmeans.long_term_msd_],
            "readers": [_described(reader, self._base) for reader in readers],
        }
        text = json.dumps(plan, sort_keys=True, default=str)
        stem = f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:24]}{_SUFFIX}"
        return Keeper(self._folder / stem, self._interval_s)


class Kept(NamedTuple):
    """A checkpoint that was read."""

    path: Path
    state: State


class Keeper:
    """Keeps generations of one checkpoint.

    Parameters
    ----------
    path : Path or None
        Of the files, but for the number of their generation; without one nothing is kept.
    interval_s : float
        Between one and the next. It is longer where keeping one takes long: no more than a
        twentieth of the time goes there.
    """

    def __init__(self, path: Path | None, interval_s: float) -> None:
        self._path, self._interval_s = path, interval_s
        self._serial = 0
        self._due = time.monotonic() + interval_s

    @property
    def is_there(self) -> bool:
        """Whether there is any generation."""
        return any(path.exists() for path in self._generations())

    @property
    def is_due(self) -> bool:
        """Whether the last time is long enough ago."""
        return self._path is not None and time.monotonic() >= self._due

    def load(self) -> Kept | None:
        """Read the latest generation that is whole, if there is any."""
        if self._path is None:
            return None
        found = []
        for path in self._generations():
            if path.exists():
                try:
                    state = load_state(path)
                    found.append((state.count("serial"), Kept(path, state)))
                except OnepassError as error:
                    _log.warning("a checkpoint is passed over: %s", error)
        if not found:
            return None
        self._serial, kept = max(found, key=lambda pair: pair[0])
        return kept

    def resume(self, kmeans: KMeans, reader: BatchReader) -> int:
        """Go on from the latest checkpoint of a shard, if there is any; return batches taken."""
        kept = self.load()
        if kept is None:
            return 0
        position = Position.of(kept.state.facts.get("position"))
        kmeans.restore(kept.state)
        reader.resume(position)
        _log.info("going on from checkpoint %s: %d rows read", kept.path, position.n_rows)
        return kept.state.count("n_batches")

    def resume_job(self, kmeans: KMeans) -> tuple[Seen, int]:
        """Go on from a job that has read all of its data, if there is any.

        Returns
        -------
        seen : Seen
            What it has read; nothing, where there is none.
        n_epochs : int
            Further ones it has made: the final centers are there if there are any.
        """
        kept = self.load()
        if kept is None:
            return Seen(), 0
        path, state = kept
        seen, n_epochs = _seen(state), state.count("epoch")
        kmeans.restore(state)
        if n_epochs:
            kmeans.n_clusters = state.count("n_clusters")  # which the elbow may have chosen
            shape = (kmeans.n_clusters, state.count("n_features"))
            centers = state.centers("final_centers", shape)
            kmeans.resume_with(centers, n_epochs + 1)
        _log.info("going on from checkpoint %s: all %d rows read", path, seen.n_rows)
        return seen, n_epochs

    def keep_if_due(self, kmeans: KMeans, reader: BatchReader, n_batches: int) -> None:
        """Keep a shard, if the last time is long enough ago."""
        if self.is_due:
            self.keep(kmeans, reader, n_batches)

    def keep(self, kmeans: KMeans, reader: BatchReader, n_batches: int) -> None:
        """Keep a shard as it is between two batches of its reader."""
        facts = {"position": reader.position._asdict(), "n_batches": n_batches}
        if self._path is not None and kmeans.n_samples_seen_:
            self._save(kmeans.state(), facts)

    def keep_job(self, kmeans: KMeans, seen: Seen, epoch: int) -> None:
        """Keep a job that has read all of its data, so many times beyond the first."""
        if self._path is None:
            return
        facts, arrays = kmeans.state()
        if epoch:
            facts = {**facts, "n_clusters": kmeans.n_clusters}
            arrays = {**arrays, "final_centers": kmeans.cluster_centers_}
        self._save(State(facts, arrays), {"seen": seen._asdict(), "epoch": epoch})

    def _save(self, state: State, about: dict[str, Any]) -> None:
        if self._path is None:
            return
        began = time.monotonic()
        self._serial += 1
        path = self._generations()[self._serial % _GENERATIONS]
        try:
            save_state(state, path, {**about, "serial": self._serial})
        except OnepassError as error:  # what has been learnt is not lost by it
            _log.warning("no checkpoint is kept: %s", error)
        ended = time.monotonic()
        self._due = ended + max(self._interval_s, (ended - began) / _MOST_OF_THE_TIME)

    def _generations(self) -> list[Path]:
        if self._path is None:
            return []
        return [Path(f"{self._path}.{i}") for i in range(_GENERATIONS)]


def _seen(state: State) -> Seen:
    told = state.fact("seen", dict)
    if set(told) != set(Seen._fields) or not all(type(n) in (int, float) for n in told.values()):
        raise DecodeError(f"its seen is {told!r}")
    return Seen(**told)


def _described(reader: BatchReader, base: Path) -> dict[str, Any]:
    """Return what makes a reader read what it does; files are named as from `base`."""
    names = [str(source.path).removeprefix(f"{base}/") for source in reader.sources]
    return {
        "sources": [
            [name, source.start, source.stop] if isinstance(source, Span) else name
            for name, source in zip(names, reader.sources, strict=True)
        ],
        "n_features": reader.n_features,
        "batch_rows": reader.batch_rows,
    }
