"""What a summary knows after any sequence of steps, beside a bookkeeping of all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.kernels.cpu import nearest_centers
from onepass.cluster.summary import Summary

STEPS = st.lists(
    st.sampled_from(["absorb", "absorb", "consolidate", "decay", "append", "rescale"]), max_size=9
)


class Books:
    """Every row with its weight and the center that holds it now."""

    def __init__(self, capacity, d, seed, spread):
        self.rng = np.random.default_rng(seed)
        self.summary = Summary(capacity, d)
        self.d, self.spread, self.unit = d, spread, 1.0
        self.rows, self.weights = np.empty((0, d)), np.empty(0)
        self.labels = np.empty(0, np.intp)

    def batch(self):
        n = int(self.rng.integers(1, 120))
        rows = self.rng.normal(size=(n, self.d))
        if self.spread == "few":
            rows = np.round(rows)
        if self.spread == "wide":
            rows *= 10.0 ** self.rng.integers(-2, 4, (n, 1))
        return WeightedRows((rows * self.unit).astype(np.float32), self.rng.uniform(0.1, 9, n))

    def take(self, summary):
        data = self.batch()
        step = summary.absorb if len(summary) else self.start(summary)
        absorbed = step(data, self.rng)
        assert len(absorbed.labels) == len(data.rows)
        return data, absorbed

    @staticmethod
    def start(summary):
        return lambda data, rng: summary.start(data, "k-means++", rng)

    def enter(self, data, labels):
        self.rows = np.concatenate([self.rows, data.rows.astype(np.float64)])
        self.weights = np.concatenate([self.weights, data.weights])
        self.labels = np.concatenate([self.labels, labels])

    def absorb(self):
        before = len(self.summary)
        data, (labels, sq_distances) = self.take(self.summary)
        self.enter(data, labels)
        fresh = labels >= before
        assert not (sq_distances < 0).any()
        assert len(np.unique(labels[fresh])) == len(self.summary) - before

    def consolidate(self):
        if self.summary.overfull():
            self.labels = self.summary.consolidate()[self.labels]
            assert not self.summary.overfull()

    def decay(self):
        self.summary.decay(0.25)
        self.weights *= 0.25

    def append(self):
        other = Summary(self.summary.capacity, self.d)
        data, absorbed = self.take(other)
        self.enter(data, absorbed.labels + len(self.summary))
        self.summary.append(other)

    def rescale(self):
        self.summary.rescale(3)
        self.rows /= 8
        self.unit /= 8

    def check(self):
        summary, k = self.summary, len(self.summary)
        weights = np.bincount(self.labels, self.weights, k)
        np.testing.assert_allclose(summary.weights, weights, rtol=1e-9)
        sums = np.zeros((k, self.d))
        np.add.at(sums, self.labels, self.rows * self.weights[:, None])
        means = sums / weights[:, None]
        gap = self.rows - means[self.labels]
        sq_distances = np.einsum("ij,ij->i", gap, gap)
        size = np.abs(self.rows).max()
        np.testing.assert_allclose(summary.centers, means, rtol=1e-6, atol=1e-6 * size)
        scatter = np.bincount(self.labels, self.weights * sq_distances, k)
        slack = 1e-9 * size**2 * weights + 1e-6 * scatter
        assert (np.abs(summary.scatter - scatter) <= slack + 1e-5 * scatter.sum()).all()


@given(
    steps=STEPS,
    seed=st.integers(0, 2**32),
    capacity=st.integers(1, 40),
    d=st.integers(1, 4),
    spread=st.sampled_from(["even", "few", "wide"]),
)
@settings(deadline=None, max_examples=200)
def test_weights_means_and_scatter_are_those_of_the_rows_held(steps, seed, capacity, d, spread):
    books = Books(capacity, d, seed, spread)
    for step in ["absorb", *steps]:
        getattr(books, step)()
    books.check()


@pytest.mark.parametrize("seed", range(5))
def test_no_row_is_left_by_a_center_opened_closer(seed):
    """Rows spared the search among fresh centers have no closer one there."""
    rng = np.random.default_rng(seed)
    summary = Summary(60, 3)
    first = rng.normal(0, 5, (300, 3)).astype(np.float32)
    summary.start(WeightedRows(first, np.ones(300)), "k-means++", rng)
    rows = rng.normal([6, 0, 0], 5, (500, 3)).astype(np.float32)
    before = nearest_centers(rows, summary.centers)
    opened = np.sort(rng.choice(500, 40, replace=False))
    summary_centers = np.concatenate([summary.centers, rows[opened]])
    labels, sq_distances = summary._open(rows, before, opened)
    expected = nearest_centers(rows, summary_centers)
    assert np.array_equal(labels, expected.labels)
    np.testing.assert_allclose(sq_distances, expected.sq_distances, rtol=1e-5)


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_scatter_stays_exact_over_many_batches_far_from_the_origin(offset):
    """Centers are kept in float32; what that rounds off may not add up from batch to batch."""
    rng = np.random.default_rng(1)
    summary, rows, labels = Summary(20, 2), [], np.empty(0, np.intp)
    for i in range(400):
        batch = (rng.normal(size=(50, 2)) + offset).astype(np.float32)
        data = WeightedRows(batch, np.ones(50))
        own = summary.absorb(data, rng) if i else summary.start(data, "k-means++", rng)
        labels = np.concatenate([labels, own.labels])
        rows.append(batch)
        if summary.overfull():
            labels = summary.consolidate()[labels]
    rows = np.concatenate(rows).astype(np.float64)
    for j in range(len(summary)):
        own = rows[labels == j]
        expected = ((own - own.mean(axis=0)) ** 2).sum()
        assert summary.scatter[j] == pytest.approx(expected, rel=1e-3)


def test_a_center_moves_however_slowly_while_the_old_fades():
    """Each batch moves the mean by less than float32 shows; many move it all the way."""
    rng = np.random.default_rng(0)
    summary = Summary(1, 1)
    rows = np.full((1000, 1), 1000, np.float32)
    summary.start(WeightedRows(rows, np.full(1000, 1e6)), "random", rng)
    summary.service_cost = 1e300  # no row opens a center
    for _ in range(5000):
        summary.decay(1 - 1e-6)
        summary.absorb(WeightedRows(np.float32([[1010]]), np.array([1e3])), rng)
    assert summary.weights[0] < 1.001e9
    left = (1 - 1e-6) ** 5000 * 1e9
    expected = 1010 - 10 * left / summary.weights[0]
    assert summary.centers[0, 0] == pytest.approx(expected, abs=2e-3)
