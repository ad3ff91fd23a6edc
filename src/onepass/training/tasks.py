"""What is done for each shard of the data; `onepass.distributed.passes` says where."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from onepass.cluster.batches import WeightedSamples, check_weighted
from onepass.cluster.epoch import LloydStep, sum_shard
from onepass.cluster.kmeans import KMeans
from onepass.cluster.model import KMeansModel
from onepass.data.batches import BatchReader
from onepass.distributed.passes import EnoughError, Seen, Tell
from onepass.formats.arrays import Rows
from onepass.sparse import SparseRows
from onepass.training.checkpoints import Checkpoints, Keeper

_FIRST_WAITS = 10


class Score(NamedTuple):
    """The sum of squared distances of some rows, and how many they are."""

    ssd: float
    n_rows: int


def united_scores(one: Score, other: Score) -> Score:
    """Add two scores."""
    return Score(one.ssd + other.ssd, one.n_rows + other.n_rows)


def summarise(
    kmeans: KMeans, reader: BatchReader, tell: Tell, *, checkpoints: Checkpoints | None = None
) -> KMeans:
    """Take one shard's part of the pass, or as much of it as is wanted."""
    keeper = keeper_of(checkpoints, kmeans, reader)
    return go_on(kmeans, reader, tell, keeper, keeper.resume(kmeans, reader))


def keeper_of(checkpoints: Checkpoints | None, kmeans: KMeans, reader: BatchReader) -> Keeper:
    """Return what keeps the checkpoints of a shard, if any are kept."""
    return checkpoints.of_shard(kmeans, reader) if checkpoints else Keeper(None, 0)


def go_on(kmeans: KMeans, reader: BatchReader, tell: Tell, keeper: Keeper, n: int) -> KMeans:
    """Take a shard's part of the pass from where its reader is, behind `n` batches."""
    teller = _Teller(reader, tell)
    try:
        with closing(teller.batches()) as batches:
            for batch in batches:
                kmeans.partial_fit(batch)
                n += 1
                teller.tell(n, kmeans.short_term_msd_, kmeans.long_term_msd_)
                keeper.keep_if_due(kmeans, reader, n)
    except EnoughError:
        keeper.keep(kmeans, reader, n)
    return kmeans.flush()


def step(model: KMeansModel, reader: BatchReader, tell: Tell) -> LloydStep:
    """Take one shard's part of a further epoch."""
    with closing(weighted(reader, tell)) as batches:
        return sum_shard(model, batches)


def score(model: KMeansModel, reader: BatchReader, tell: Tell) -> Score:
    """Score one shard of the test data."""
    with closing(weighted(reader, tell)) as batches:
        ssd = math.fsum(model.inertia(rows) for rows, _ in batches)
    return Score(ssd, reader.n_rows)


def weighted(reader: BatchReader, tell: Tell) -> Generator[WeightedSamples, None, None]:
    """Yield the batches of a shard, and tell how far that is."""
    teller = _Teller(reader, tell)
    with closing(teller.batches()) as batches:
        for i, batch in enumerate(batches, start=1):
            yield check_weighted(batch, None)
            teller.tell(i)


class _Teller:
    """Tells how far a reader is: after each batch, and anew while it waits for data.

    The first batch is waited for some seconds even when no more is wanted: a job that is asked to
    end when it has hardly begun leaves a model, too.
    """

    def __init__(self, reader: BatchReader, tell: Tell) -> None:
        self._reader, self._tell = reader, tell
        self._seen = Seen()
        self._n_waits = 0

    def tell(self, n_batches: int, *msds: float) -> None:
        reader = self._reader
        short_term, long_term = msds or (0.0, 0.0)
        self._seen = Seen(
            reader.n_rows, reader.n_bytes, n_batches, short_term, long_term, reader.bad.n
        )
        self._tell(self._seen)

    def batches(self) -> Generator[Rows | SparseRows, None, None]:
        """Yield the batches; where no more are wanted while one is waited for, raise it."""
        with closing(self._reader.read(self._is_enough)) as batches:
            yield from batches
        if self._reader.is_cut_short:
            raise EnoughError

    def _is_enough(self) -> bool:
        self._n_waits += 1
        if not self._seen.n_batches and self._n_waits < _FIRST_WAITS:
            return False
        try:
            self._tell(self._seen)
        except EnoughError:
            return True
        return False
