"""How a stream of pieces is cut into batches."""

import pickle
from itertools import chain

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.row_buffer import RowBuffer


def numbered(start, n, weight=1.0):
    rows = np.arange(start, start + n, dtype=np.float32)[:, None].repeat(2, axis=1)
    return WeightedRows(rows, np.full(n, weight))


def numbers(batch):
    assert (batch.rows[:, 0] == batch.rows[:, 1]).all()
    assert len(batch.weights) == len(batch.rows)
    return batch.rows[:, 0].astype(int).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_every_row_comes_once_in_order_in_batches_of_one_size(seed):
    rng = np.random.default_rng(seed)
    buffer, pushed, batches = RowBuffer(10, 2), 0, []
    for n in rng.integers(0, 35, 40).tolist():
        piece = numbered(pushed, n)
        batches += [numbers(batch) for batch in buffer.push(piece)]
        piece.rows[:] = -1  # the caller's memory is used again
        pushed += n
        assert len(buffer) < 10
        assert len(buffer) + 10 * len(batches) == pushed
    assert {len(batch) for batch in batches} == {10}
    rest = buffer.flush()
    assert [*chain(*batches), *(numbers(rest) if rest else [])] == list(range(pushed))
    assert buffer.flush() is None
    assert len(buffer) == 0


def test_a_piece_that_is_a_batch_is_passed_through():
    piece = numbered(0, 10)
    (batch,) = RowBuffer(10, 2).push(piece)
    assert np.shares_memory(batch.rows, piece.rows)


def test_rows_of_weight_zero_are_dropped():
    buffer = RowBuffer(4, 2)
    assert not list(buffer.push(numbered(0, 9, weight=0)))
    data = WeightedRows(numbered(0, 6).rows, np.array([1.0, 0, 2, 3, 0, 4]))
    (batch,) = buffer.push(data)
    assert numbers(batch) == [0, 2, 3, 5]
    assert batch.weights.tolist() == [1, 2, 3, 4]


def test_the_size_may_change_after_the_first_batch():
    buffer, sizes = RowBuffer(20, 2), []
    for batch in buffer.push(numbered(0, 47)):
        sizes.append(len(batch.rows))
        buffer.batch_size = 10
    assert sizes == [20, 10, 10]
    assert numbers(buffer.flush()) == list(range(40, 47))


def test_room_is_not_made_for_a_batch_far_larger_than_the_rows():
    buffer = RowBuffer(2**40, 2)
    assert not list(buffer.push(numbered(0, 10)))
    assert numbers(buffer.flush()) == list(range(10))


@pytest.mark.parametrize("n_more", [0, 1, 30])
def test_what_is_held_goes_to_another_process_and_goes_on_there(n_more):
    buffer = RowBuffer(20, 2)
    list(buffer.push(numbered(0, 25)))
    parts = []
    pickled = pickle.dumps(buffer, protocol=5, buffer_callback=parts.append)
    frozen = [bytes(part.raw()) for part in parts]
    assert sum(map(len, frozen)) == 5 * (2 * 4 + 8), "no more than the rows held"
    arrived = pickle.loads(pickled, buffers=frozen)  # noqa: S301 - our own
    cut = [numbers(batch) for batch in arrived.push(numbered(25, n_more))]
    assert [*chain(*cut), *numbers(arrived.flush())] == list(range(20, 25 + n_more))
    assert [numbers(batch) for batch in arrived.push(numbered(0, 3))] == []
    assert numbers(arrived.flush()) == [0, 1, 2]
