"""What is done by rooms above this one, for users who ask the classes here for it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from onepass.errors import UserError


def is_elsewhere(X: Any) -> bool:
    """Whether X is a collection of Dask: told without loading Dask."""
    return hasattr(X, "__dask_graph__")


def collections() -> ModuleType:
    """Return what learns from collections.

    This and the next are the only imports from below: whoever gives rows of Dask to `KMeans` asks
    for it.

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


def models() -> ModuleType:
    """Return what reads models, and makes others of them."""
    from onepass.convert import models

    return models
