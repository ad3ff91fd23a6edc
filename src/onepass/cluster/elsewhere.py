"""Rows that are not here: what to do with them is known by who knows where they are."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from onepass.errors import UserError


def is_elsewhere(X: Any) -> bool:
    """Whether X is a collection of Dask: told without loading Dask."""
    return hasattr(X, "__dask_graph__")


def collections() -> ModuleType:
    """Return what learns from collections.

    This is the one import from below: whoever gives rows of Dask to `KMeans` asks for it.

    Raises
    ------
    UserError
        When Dask's `distributed` is not installed.
    """
    try:
        from onepass.distributed import collections
    except ModuleNotFoundError as error:
        raise UserError(
            f"rows of Dask need the package {error.name}: install onepass-kmeans[hosts]"
        ) from error
    return collections
