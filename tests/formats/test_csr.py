"""Rows without their zeros."""

import numpy as np
import pytest

from onepass.formats.csr import CsrRows

ROWS = np.float32([[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 6], [0, 0, 7, 0]])


def test_rows_are_taken_apart_and_unfolded():
    rows = CsrRows.from_dense(ROWS)
    assert rows.starts.tolist() == [0, 2, 2, 6, 7]
    assert rows.keys.tolist() == [1, 3, 0, 1, 2, 3, 2]
    assert rows.values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (rows.n_samples, rows.counts.tolist()) == (4, [2, 0, 4, 1])
    np.testing.assert_array_equal(rows.to_dense(), ROWS, strict=True)


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (1, 3), (2, 2), (3, 4)])
def test_a_part_is_a_part(start, stop):
    part = CsrRows.from_dense(ROWS).part(start, stop)
    np.testing.assert_array_equal(part.to_dense(), ROWS[start:stop], strict=True)
