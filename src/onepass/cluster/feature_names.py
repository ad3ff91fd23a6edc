"""Names of features, which data frames have, by scikit-learn's conventions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.errors import DataTypeError, UserError

Names: TypeAlias = npt.NDArray[np.object_]
"""One text for each feature, shape (n_features,)."""

_SHOWN = 5


def names_of(X: object) -> Names | None:
    """Return the names of the columns of a data frame.

    Parameters
    ----------
    X : object
        A data frame of any library has its columns' names in the attribute ``columns``.

    Returns
    -------
    ndarray of shape (n_features,), object, or None
        None unless every column is named by a text.

    Raises
    ------
    DataTypeError
        When some columns are named by texts and some are not.
    """
    columns = getattr(X, "columns", None)
    names = [*columns] if isinstance(columns, Iterable) else []
    n_texts = sum(isinstance(name, str) for name in names)
    if 0 < n_texts < len(names):
        other = next(name for name in names if not isinstance(name, str))
        raise DataTypeError(
            f"X has a column named {other!r} beside columns named by texts; "
            "name all columns by texts, or none: X.columns = X.columns.astype(str)"
        )
    return np.array(names, object) if n_texts else None


def compare_names(expected: Names | None, found: Names | None, who: str) -> None:
    """Refuse features of other names, or in another order; warn where only one side has names.

    Parameters
    ----------
    expected, found : ndarray of shape (n_features,), object, or None
        As they were first, and as they are now.
    who : str
        The class that was fitted, for the warning.

    Raises
    ------
    UserError
        Naming what differs.
    """
    if expected is not None and found is not None:
        refuse_other_names(expected, found)
    elif expected is not None:
        _warn(f"X does not have valid feature names, but {who} was fitted with feature names")
    elif found is not None:
        _warn(f"X has feature names, but {who} was fitted without feature names")


def refuse_other_names(expected: Names, found: Names) -> None:
    """Refuse features of other names, or in another order."""
    if expected.tolist() == found.tolist():
        return
    unseen, missing = sorted({*found} - {*expected}), sorted({*expected} - {*found})
    reason = "The feature names should match those that were passed during fit.\n"
    if unseen:
        reason += f"Feature names unseen at fit time:\n{_listed(unseen)}"
    if missing:
        reason += f"Feature names seen at fit time, yet now missing:\n{_listed(missing)}"
    if not unseen and not missing:
        reason += "Feature names must be in the same order as they were in fit.\n"
    raise UserError(reason)


def _listed(names: list[str]) -> str:
    lines = [f"- {name}\n" for name in names[:_SHOWN]]
    return "".join(lines + ["- ...\n"] * (len(names) > _SHOWN))


def _warn(message: str) -> None:
    """Warn on behalf of whoever called the estimator's method, which is decorated."""
    warnings.warn(message, stacklevel=6)
