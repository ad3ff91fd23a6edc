"""Passes of several shards are told when they have read enough."""

from functools import partial

import numpy as np
import pytest

from onepass.data.batches import BatchReader
from onepass.data.shards import cut
from onepass.distributed.passes import EnoughError, Seen, run_in_threads, run_pass
from onepass.formats.record_writer import write_rows


def read(reader, tell):
    """Read until that is enough; slowly, so that others are heard meanwhile."""
    n = 0
    try:
        for i, batch in enumerate(reader, start=1):
            n += len(batch)
            tell(Seen(reader.n_rows, reader.n_bytes, i))
            np.linalg.eigvals(np.eye(200))
    except EnoughError:
        return n, "enough"
    return n, "all"


def readers(tmp_path, n_shards, n_rows=60_000):
    path = tmp_path / "rows"
    path.write_bytes(write_rows(np.arange(n_rows, dtype=np.float32)[:, None]))
    return [BatchReader(spans, 1, 10) for spans in cut([path], n_shards)]


def in_threads(task, shards, tell):
    return run_in_threads([task] * len(shards), shards, tell)


@pytest.mark.parametrize("run", [run_pass, in_threads])
@pytest.mark.parametrize("n_shards", [1, 3])
def test_all_end_when_it_is_enough(tmp_path, run, n_shards):
    def tell(seen):
        if seen.n_rows > 500:
            raise EnoughError

    shards = readers(tmp_path, n_shards)
    done = run(read, shards, tell)
    assert [why for _, why in done] == ["enough"] * n_shards
    assert [n for n, _ in done] == [shard.n_rows for shard in shards]
    assert 500 < sum(n for n, _ in done) < 60_000


@pytest.mark.parametrize("run", [run_pass, in_threads])
def test_what_has_been_read_is_known_of_every_shard(tmp_path, run):
    shards = readers(tmp_path, 3, 900)
    size = sum(span.stop - span.start for shard in shards for span in shard.sources)
    told = []
    assert sum(n for n, _ in run(read, shards, told.append)) == 900
    assert sum(shard.n_rows for shard in shards) == told[-1].n_rows == 900
    assert sum(shard.n_bytes for shard in shards) == told[-1].n_bytes == size


def give_up(reader, tell):
    for _ in reader:
        tell(Seen(reader.n_rows))
        np.linalg.eigvals(np.eye(200))


@pytest.mark.parametrize("run", [run_pass, in_threads])
@pytest.mark.parametrize("n_shards", [1, 3])
def test_a_task_that_needs_all_rows_fails(tmp_path, run, n_shards):
    def tell(_):
        raise EnoughError

    with pytest.raises(EnoughError):
        run(partial(give_up), readers(tmp_path, n_shards), tell)
