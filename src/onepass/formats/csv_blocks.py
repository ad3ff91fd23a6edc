"""CSV bodies, block by block: fast where they are plain, and as strict as `onepass.formats.csv`.

Where a block is not plain, because of a byte order mark or because something is wrong, the slow
reader takes it, or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onepass.errors import WidthError
from onepass.formats import csv
from onepass.formats.arrays import Rows
from onepass.formats.compiled import Form
from onepass.formats.numbers import NotPlainError, read_rows
from onepass.formats.text_lines import BLOCK_BYTES, blocks_of_lines

_BYTES_A_LINE, _BYTES_A_FIELD, _MOST_LABELS = 2**16, 64, 2**10
"""What a line may have beyond a block: clients say how many labels there are."""


def read_blocks(
    pieces: Iterable[bytes],
    n_features: int,
    *,
    label_size: int = 0,
    block_bytes: int = BLOCK_BYTES,
    only_plain: bool = False,
) -> Iterator[Rows]:
    r"""Decode a CSV body without a header.

    Parameters
    ----------
    pieces : iterable of bytes
        The body, cut anywhere.
    n_features : int
    label_size : int
        How many columns at the left are labels, which are dropped.
    block_bytes : int
        About how much is decoded at once.
    only_plain : bool
        Whether to give up where the slow reader would be needed.

    Yields
    ------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row.

    Raises
    ------
    DecodeError
        As `onepass.formats.csv.read_rows`; a `WidthError` when rows have other columns.
    NotPlainError
        In the place of reading slowly.

    Examples
    --------
    >>> list(read_blocks([b"1.5,16.0\n2,3", b"e1\n"], 2))
    [array([[ 1.5, 16. ],
           [ 2. , 30. ]], dtype=float32)]
    """
    n_columns = label_size + n_features
    n_rows = 0
    limit_bytes = _BYTES_A_LINE + _BYTES_A_FIELD * (n_features + min(label_size, _MOST_LABELS))
    form = Form(b"\n", n_columns, label_size, is_lines=True, is_lax=True, may_end=True)
    for text in blocks_of_lines(pieces, limit_bytes, block_bytes=block_bytes):
        rows = read_rows(text, form)
        if rows is None and only_plain:
            raise NotPlainError
        if rows is None:
            rows = csv.read_rows(
                bytes(text), label_size=label_size, n_before=n_rows, n_columns=n_columns
            )
            _check_width(rows.shape[1], n_features, label_size, n_rows)
        n_rows += len(rows)
        yield rows


def _check_width(n_there: int, n_features: int, label_size: int, n_before: int) -> None:
    if n_there == n_features:
        return
    if not n_before:
        raise WidthError(f"rows have {n_there} features, the model takes {n_features}")
    raise WidthError(
        f"the row has {label_size + n_there} columns, {label_size + n_features} are expected",
        where=f"row {n_before + 1}",
    )
