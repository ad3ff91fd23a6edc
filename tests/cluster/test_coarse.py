"""Centers from those of a neighbour: one more, one fewer."""

import numpy as np
import pytest

from onepass.cluster.arrays import WeightedRows
from onepass.cluster.coarse import extended, reduced

ROWS = np.float32([[0], [1], [10], [11], [30]])


def weighted(*weights):
    return WeightedRows(ROWS, np.array(weights or [1.0] * len(ROWS)))


def test_the_row_that_costs_most_becomes_a_center():
    centers = np.float32([[0.5], [10.5]])
    assert extended(centers, weighted(), 3)[:, 0].tolist() == [0.5, 10.5, 30]
    heavy = weighted(4000.0, 1, 1, 1, 1)
    assert extended(centers, heavy, 3)[2, 0] == 0, "its weight counts"
    assert extended(centers, weighted(), 2) is centers


def test_more_than_one_is_added_one_after_the_other():
    centers = extended(np.float32([[0]]), weighted(), 3)
    assert centers[:, 0].tolist() == [0, 30, 11]


def test_the_center_that_is_missed_least_goes():
    centers = np.float32([[0], [1], [10.5], [30]])
    assert reduced(centers, weighted(), 3)[:, 0].tolist() in ([1, 10.5, 30], [0, 10.5, 30])
    heavy = weighted(1, 1, 1, 1, 1e-6)
    assert reduced(np.float32([[0], [10.5], [30]]), heavy, 2)[:, 0].tolist() == [0, 10.5]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_so_many_are_left_and_all_are_of_those_before(n):
    centers = np.float32([[0], [1], [10], [30]])
    left = reduced(centers, weighted(), n)
    assert len(left) == n
    assert set(left[:, 0]) <= set(centers[:, 0])
