"""Onepass: k-means in one pass over the data.

Importing this package does nothing else: the names below are loaded on first use, so that a
command can decide, for instance, how many threads linear algebra gets before NumPy is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onepass.artifact.model_file import load_model, save_model
    from onepass.cluster.kmeans import KMeans
    from onepass.cluster.model import KMeansModel

__version__ = "0.1.0"

__all__ = ["KMeans", "KMeansModel", "__version__", "load_model", "save_model"]

_HOME = {
    "KMeans": "onepass.cluster.kmeans",
    "KMeansModel": "onepass.cluster.model",
    "load_model": "onepass.artifact.model_file",
    "save_model": "onepass.artifact.model_file",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'onepass' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
