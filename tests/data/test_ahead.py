"""Reading in a thread: the same things in the same order, and nothing is left behind."""

from __future__ import annotations

import gzip
import os
import signal
import threading
import time
import tracemalloc
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from onepass.data.ahead import ahead
from onepass.data.batches import BatchReader
from onepass.data.sources import Pipe, whole_files
from onepass.errors import DecodeError
from onepass.formats.record_writer import write_rows

PATIENCE_S = 10


def descriptors():
    """What is open: files, pipes and events; connections are those of others in this process."""
    found = list(Path("/proc/self/fd").iterdir())  # one of them is closed by now
    there = (str(path.readlink()) for path in found if path.is_symlink())
    return sorted(name for name in there if not name.startswith("socket:"))


def read_ahead_threads():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def taken(things):
    """What is made before an error, and the error."""
    got = []
    try:
        got.extend(thing.copy() if isinstance(thing, np.ndarray) else thing for thing in things)
    except Exception as error:  # noqa: BLE001 - any, to look at
        return got, error
    return got, None


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """No test here leaves a thread or a descriptor."""
    before = descriptors()
    yield
    assert (read_ahead_threads(), descriptors()) == ([], before)


class InterruptError(Exception):
    """Raised by a signal, as SIGTERM's handler raises one in a job."""


@contextmanager
def interrupted_after(seconds):
    """Interrupt what the main thread does, wherever it is."""

    def interrupt(*_):
        raise InterruptError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    started = time.monotonic()
    try:
        with pytest.raises(InterruptError):
            yield
        assert time.monotonic() - started < PATIENCE_S
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def counting(n, error=None):
    def make(stop):
        del stop
        yield from range(n)
        if error:
            raise error

    return make


@pytest.mark.parametrize("n_items", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
def test_things_come_in_their_order(n, n_items):
    assert list(ahead(counting(n), n_items)) == list(range(n))


def test_an_error_is_raised_as_it_is_behind_what_was_made_before_it():
    error = DecodeError("what", where="here", source="there")
    got, raised = taken(ahead(counting(3, error), 2))
    assert got == [0, 1, 2]
    assert raised is error


def test_the_next_thing_is_made_while_one_is_used_but_no_more_than_there_is_room_for():
    begun = [threading.Event() for _ in range(5)]

    def make(stop):
        del stop
        for event in begun:
            event.set()
            yield

    with closing(ahead(make, 2)) as things:
        next(things)
        assert begun[1].wait(PATIENCE_S)
        assert not begun[2].wait(0.1), "the memory of the first is in use"
        next(things)
        assert begun[2].wait(PATIENCE_S)


def test_nothing_starts_before_the_first_is_asked_for():
    things = ahead(counting(9), 2)
    assert not read_ahead_threads()
    things.close()


def test_who_stops_early_leaves_nothing_and_the_generator_is_closed_in_its_thread():
    closed_in = []

    def make(stop):
        del stop
        try:
            while True:
                yield threading.current_thread().name
        finally:
            closed_in.append(threading.current_thread().name)

    with closing(ahead(make, 2)) as things:
        assert next(things) == "read-ahead"
    assert closed_in == ["read-ahead"]


def test_an_error_of_the_one_who_takes_ends_the_thread():
    things = ahead(counting(10**9), 2)
    assert next(things) == 0
    with pytest.raises(KeyError):
        things.throw(KeyError())


def test_who_waits_for_something_slow_can_be_interrupted():
    def make(stop):
        stop.wait()
        yield

    with interrupted_after(0.2):
        list(ahead(make, 2))


def rows_of(n, n_features=3):
    return np.random.default_rng(0).normal(size=(n, n_features)).astype(np.float32)


def test_batches_are_read_in_a_thread_and_are_the_same_rows(tmp_path):
    rows = rows_of(10_000)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(write_rows(rows)))
    reader = BatchReader(whole_files([path]), 3, 300)
    seen = 0
    for batch in reader:
        assert any(thread.name == "read-ahead" for thread in threading.enumerate()) or (
            seen + len(batch) == len(rows)
        )
        assert np.array_equal(batch, rows[seen : seen + len(batch)])
        seen += len(batch)
        assert reader.n_rows == seen, "what is counted is what has been handed out"
    assert seen == len(rows)
    assert reader.n_bytes == path.stat().st_size


def test_a_batch_stays_as_it_is_until_the_next_one_is_asked_for(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(write_rows(np.arange(1000, dtype=np.float32)[:, None]))
    with closing(iter(BatchReader(whole_files([path]), 1, 10))) as batches:
        first = next(batches)
        kept = first.copy()
        threading.Event().wait(0.05)  # time enough to read all there is
        assert np.array_equal(first, kept)


def test_two_batches_are_all_that_is_kept(tmp_path):
    n_features, batch_rows = 64, 8192
    path = tmp_path / "a"
    path.write_bytes(write_rows(np.ones((8 * batch_rows, n_features), np.float32)))
    tracemalloc.start()
    try:
        places = {
            batch.ctypes.data
            for batch in BatchReader(whole_files([path]), n_features, batch_rows)
        }  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(places) == 2
    assert peak < 4 * 2**20  # beside these, which are mapped and not counted


@pytest.fixture
def stalled(tmp_path):
    """A pipe in some state from which nothing more comes: ``(state) -> path``."""
    path = tmp_path / "train_0"
    writers = []

    def stalled(state):
        if state != "absent":
            os.mkfifo(path)
        if state in ("opened", "stalled"):
            writers.append(os.open(path, os.O_RDWR))
        if state == "stalled":
            os.write(writers[0], write_rows(rows_of(250))[:-1])
        return path

    yield stalled
    for writer in writers:
        os.close(writer)


@pytest.mark.parametrize("state", ["absent", "without a writer", "opened", "stalled"])
def test_a_pipe_from_which_nothing_comes_can_be_left(stalled, state):
    reader = BatchReader([Pipe(stalled(state))], 3, 100)
    n_batches = 0
    with interrupted_after(1.0):
        for _ in reader:
            n_batches += 1
    assert n_batches == (2 if state == "stalled" else 0)


def test_a_pipe_is_left_between_two_batches(stalled):
    with closing(iter(BatchReader([Pipe(stalled("stalled"))], 3, 100))) as batches:
        next(batches)


def test_a_writer_that_comes_and_goes_without_a_word_ends_the_pipe(tmp_path):
    path = tmp_path / "train_0"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.open("wb").close())
    writer.start()
    assert list(BatchReader([Pipe(path)], 3, 100)) == []
    writer.join(PATIENCE_S)


@pytest.mark.parametrize("n_good", [0, 1, 99, 100, 250])
def test_errors_of_reading_come_behind_the_batches_before_them(tmp_path, n_good):
    path = tmp_path / "a"
    bad = np.float32([[1, np.nan, 3]])
    path.write_bytes(write_rows(np.vstack([rows_of(n_good), bad])))
    got, error = taken(BatchReader(whole_files([path]), 3, 100))
    assert str(error).startswith(f"{path}, record {n_good} at byte {36 * n_good}: feature 1 is")
    assert [len(batch) for batch in got] == [100] * (n_good // 100)
