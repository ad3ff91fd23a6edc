"""What one process hands over to another."""

from __future__ import annotations

import os

import numpy as np
import pytest

from onepass import KMeans
from onepass.distributed.parcels import new_memory, unwrap, wrap


@pytest.fixture
def memory():
    descriptor = new_memory()
    yield descriptor
    os.close(descriptor)


def test_arrays_arrive_and_do_not_go_by_the_pipe(memory):
    large = np.arange(1_000_000, dtype=np.float32).reshape(1000, 1000)
    sent = {"large": large, "none": np.empty((0, 3)), "text": "kept", "few": np.arange(3)}
    parcel = wrap(sent, memory)
    assert len(parcel.content) < 1000
    got = unwrap(parcel, memory)
    assert got["text"] == "kept"
    assert np.array_equal(got["large"], large)
    assert got["none"].shape == (0, 3)
    assert got["few"].tolist() == [0, 1, 2]


def test_what_is_changed_is_a_copy(memory):
    parcel = wrap(np.zeros(5000), memory)
    first, second = unwrap(parcel, memory), unwrap(parcel, memory)
    first[:] = 1
    assert not second.any()


def test_results_without_arrays_need_no_memory(memory):
    assert unwrap(wrap((1, "two", None), memory), memory) == (1, "two", None)
    assert os.fstat(memory).st_size == 0


def test_a_smaller_result_may_follow_in_the_same_memory(memory):
    wrap(np.ones(10_000), memory)
    assert unwrap(wrap(np.full(3, 7.0), memory), memory).tolist() == [7, 7, 7]
    assert os.fstat(memory).st_size < 100


def test_an_estimator_can_go_on_where_it_arrives(memory):
    rows = np.random.default_rng(0).normal(size=(30_000, 3)).astype(np.float32)
    here = KMeans(3, reservoir_bytes=1).partial_fit(rows[:20_000])
    there = unwrap(wrap(here, memory), memory)
    expected = here.partial_fit(rows[20_000:]).finalize().cluster_centers_
    assert np.array_equal(there.partial_fit(rows[20_000:]).finalize().cluster_centers_, expected)
