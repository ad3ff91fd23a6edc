"""Text to rows of numbers, for text that is written as nearly all of it is.

In C, since this is most of what an answer to CSV or JSON takes. On one core of an AMD EPYC (Zen 4),
1,000 rows of 400, medians of `tests/benchmarks/text_numbers.py`: 11 ns a number that has as many
digits as tell a float32 from others, 17 for a float64. simdjson takes 2.2 to 2.8 times that, its
text not yet rewritten as arrays, orjson and pandas 6 to 8, `pyarrow.csv` 7, `numpy.loadtxt` 17 to
21, `json` 21 to 26.
"""

from __future__ import annotations

import numpy as np

from onepass.formats.arrays import Rows
from onepass.formats.compiled import Form, is_compiled, read_numbers


class NotPlainError(Exception):
    """A text is not written as nearly all are, and whoever asked wants no other."""


def read_rows(text: bytes | bytearray | memoryview, form: Form) -> Rows | None:
    r"""Read a text that is rows of numbers from its first byte to its last.

    Parameters
    ----------
    text : bytes
    form : Form

    Returns
    -------
    ndarray of shape (n_samples, n_columns - n_dropped), float32
        Finite, at least one row: each number rounded to the nearest double, then to float32. None
        where the text is anything else, where a number has more than 512 characters or is larger
        than float32 can hold; and always where nothing was compiled.

    Examples
    --------
    >>> read_rows(b"1,2.5\n3e1", Form(b"\n", 2, is_lines=True)) is None
    True

    Notes
    -----
    Takes memory for a number every two bytes of text, most of which is not touched.
    """
    if not text or not is_compiled():
        return None
    n_rows = len(text) // (2 * form.n_columns) + 1
    rows = np.empty((n_rows, form.n_columns - form.n_dropped), np.float32)
    n_read = read_numbers(np.frombuffer(text, np.uint8), form, rows)
    return rows[:n_read] if n_read > 0 else None
