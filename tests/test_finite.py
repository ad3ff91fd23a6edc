"""The test for NaN and infinity."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.finite import first_non_finite


def test_finite_rows_have_none():
    assert first_non_finite(np.ones((3, 2), np.float32)) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_one_is_named_by_row_and_column(value):
    rows = np.zeros((4, 3), np.float32)
    rows[2, 1] = value
    rows[3, 0] = np.nan
    assert first_non_finite(rows) == (2, 1)


def test_infinities_of_both_signs_do_not_hide_each_other():
    rows = np.array([[0, np.inf], [-np.inf, 0]], np.float32)
    assert first_non_finite(rows) == (0, 1)


def test_large_finite_values_whose_sum_overflows_are_finite():
    rows = np.full((4, 2), np.finfo(np.float32).max, np.float32)
    assert first_non_finite(rows) is None


def test_one_infinity_among_values_whose_sum_overflows_is_found():
    rows = np.full((4, 2), np.finfo(np.float32).max, np.float32)
    rows[3, 1] = np.inf
    assert first_non_finite(rows) == (3, 1)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (100_003, 7), (2, 600_000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_value_of_any_shape_is_looked_at(shape, dtype):
    rows = np.zeros(shape, dtype)
    assert first_non_finite(rows) is None
    if rows.size:
        rows[-1, -1] = np.nan
        assert first_non_finite(rows) == (shape[0] - 1, shape[1] - 1)


def test_a_view_with_strides_is_looked_at_in_its_own_order():
    rows = np.zeros((6, 4), np.float32)
    rows[3, 2] = np.nan
    assert first_non_finite(rows.T) == (2, 3)
    assert first_non_finite(rows[::2]) is None
