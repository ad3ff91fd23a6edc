"""Which columns of a table are labels."""

from __future__ import annotations

from onepass.errors import WidthError


def n_labels(n_columns: int, n_features: int, label_size: int | None) -> int:
    """Return how many leading columns are labels.

    Parameters
    ----------
    n_columns : int
        Of the table.
    n_features : int
        That are expected.
    label_size : int or None
        None: none where there are as many columns as features, one where there is one more.

    Raises
    ------
    WidthError
        Where there are fewer columns, or more; without a place.

    Examples
    --------
    >>> n_labels(5, 5, None), n_labels(6, 5, None), n_labels(7, 5, 2)
    (0, 1, 2)
    """
    if label_size is not None:
        if n_columns == n_features + label_size:
            return label_size
        accepted = f"{n_features} features and label_size={label_size} labels"
    else:
        if n_columns - n_features in (0, 1):
            return n_columns - n_features
        accepted = (
            f"{n_features} features, or one label before them; more labels are told by label_size "
            "in ContentType"
        )
    raise WidthError(f"{n_columns} columns; expected are {accepted}")
