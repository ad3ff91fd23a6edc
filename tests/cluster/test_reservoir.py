"""What a reservoir promises: all rows while they fit, then a sample with the right weights."""

import pickle

import numpy as np
import pytest

from onepass.cluster.offers import Offer
from onepass.cluster.reservoir import dense_reservoir


def offer(reservoir, rows, rng, chances=None, weights=None):
    n = len(rows)
    reservoir.offer(
        Offer(
            rows.astype(np.float32),
            np.ones(n) if weights is None else weights,
            np.ones(n) if chances is None else chances,
            np.arange(n, dtype=np.int32),
        ),
        rng,
    )


def column(n, first=0.0):
    return np.arange(first, first + n, dtype=np.float32)[:, None]


def test_every_row_is_kept_while_all_fit():
    reservoir = dense_reservoir(100, 1)
    rng = np.random.default_rng(0)
    offer(reservoir, column(60), rng)
    offer(reservoir, column(40, 60), rng)
    assert reservoir.complete
    rows, weights, _ = reservoir.sample(0)
    assert rows[:, 0].tolist() == list(range(100))
    assert set(weights.tolist()) == {1.0}


@pytest.mark.parametrize("extra", [1, 30, 5000])
def test_beyond_that_just_its_capacity_is_kept(extra):
    reservoir = dense_reservoir(100, 1)
    offer(reservoir, column(100 + extra), np.random.default_rng(0))
    assert not reservoir.complete
    assert len(reservoir.sample(0).rows) == 100
    assert len(reservoir) == 100


def test_rows_kept_come_with_their_strata():
    reservoir = dense_reservoir(50, 1)
    offer(reservoir, column(5000), np.random.default_rng(0))
    rows, _, strata = reservoir.sample(0)
    assert rows[:, 0].tolist() == strata.tolist()


def test_weights_add_up_to_the_stream_on_average():
    """Rows of chance 4 are four times as likely to be kept, and stand for a quarter as much."""
    chances = np.tile([1.0, 4.0], 1000)
    totals, odd_totals = [], []
    for seed in range(200):
        reservoir = dense_reservoir(100, 1)
        offer(reservoir, column(2000), np.random.default_rng(seed), chances)
        rows, weights, _ = reservoir.sample(0)
        totals.append(weights.sum())
        odd_totals.append(weights[rows[:, 0] % 2 == 1].sum())
    assert np.mean(totals) == pytest.approx(2000, rel=0.02)
    assert np.mean(odd_totals) == pytest.approx(1000, rel=0.03)


def test_a_row_one_half_life_older_weighs_half():
    reservoir = dense_reservoir(10, 1)
    offer(reservoir, column(2), np.random.default_rng(0), weights=np.array([1.0, 2.0]))
    assert reservoir.sample(1.0).weights.tolist() == [0.5, 1.0]


def test_merging_keeps_what_one_reservoir_of_both_streams_keeps():
    """The same keys in, the same smallest ones kept: merging loses nothing."""
    whole = dense_reservoir(80, 1)
    first, second = dense_reservoir(80, 1), dense_reservoir(80, 1)
    for reservoir, parts in ((whole, (0, 1)), (first, (0,)), (second, (1,))):
        for part in parts:
            offer(reservoir, column(700, 1000 * part), np.random.default_rng(part))
    first.absorb(second, 0, log2_later=0)
    merged, expected = first.sample(0), whole.sample(0)
    assert sorted(merged.rows[:, 0].tolist()) == sorted(expected.rows[:, 0].tolist())
    assert merged.weights.sum() == pytest.approx(expected.weights.sum())


def test_merging_renames_strata():
    first, second = dense_reservoir(10, 1), dense_reservoir(10, 1)
    offer(first, column(2), np.random.default_rng(0))
    offer(second, column(2), np.random.default_rng(1))
    first.absorb(second, 5, log2_later=0)
    rows, _, strata = first.sample(0)
    assert rows[:, 0].tolist() == [0, 1, 0, 1]
    assert strata.tolist() == [0, 1, 5, 6]


def test_strata_follow_merged_centers():
    reservoir = dense_reservoir(10, 1)
    offer(reservoir, column(3), np.random.default_rng(0))
    reservoir.relabel(np.array([2, 0, 0], np.int32))
    assert reservoir.sample(0).strata.tolist() == [2, 0, 0]


@pytest.mark.parametrize("n", [60, 100, 110, 400])
def test_a_copy_from_another_process_goes_on_as_the_original(n):
    reservoir = dense_reservoir(100, 1)
    offer(reservoir, column(n), np.random.default_rng(0))
    sent = pickle.dumps(reservoir)
    assert len(sent) < 100 * 32 + 1500
    copy = pickle.loads(sent)  # noqa: S301 - written two lines above
    for each in (reservoir, copy):
        offer(each, column(500, n), np.random.default_rng(1))
    for ours, theirs in zip(copy.sample(0), reservoir.sample(0), strict=True):
        np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))
