"""What is known of a model, whoever made it."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any

from onepass.artifact.model_file import load_model, model_bytes
from onepass.artifact.state_file import has_state, load_state
from onepass.errors import UserError

_NUMBER = int, float
_KINDS: dict[str, type | tuple[type, ...]] = {
    "n_taken": int,
    "n_opened": int,
    "total_weight": _NUMBER,
    "half_life": _NUMBER,
    "is_sparse": bool,
    "feature_names": (list, NoneType),
    "format": int,
    "written": str,
    "hyperparameters": (dict, NoneType),
    "lineage": (list, NoneType),
    "cluster_sizes": (list, NoneType),
}
_OF_A_JOB: dict[str, type | tuple[type, ...]] = {
    "written": str,
    "version": str,
    "k": int,
    "n_new_rows": int,
    "msd": _NUMBER,
}
"""Of what kind things must be: anyone may have written a state."""


def describe(path: Path | str) -> dict[str, Any]:
    """Return what is known of a model.

    Parameters
    ----------
    path : Path or str
        A ``model_algo-1``, a ``model.tar.gz`` or a directory that holds either; a state that lies
        beside the model is read, too.

    Returns
    -------
    dict
        What JSON can hold: ``k``, ``n_features``, ``n_bytes``, the ``least`` and the ``most`` of
        the centers' values, and of a state ``format``, ``written``, ``hyperparameters``,
        ``lineage``, ``cluster_sizes``, counters, and how many weighted centers and rows it holds;
        no ``state`` where there is none.

    Raises
    ------
    UserError
        When there is no model there, or one that cannot be read.
    """
    path = Path(path)
    model = load_model(path)
    told: dict[str, Any] = {
        "model": str(path),
        "k": model.n_clusters,
        "n_features": model.n_features,
        "n_bytes": model_bytes(path),
        "least": float(model.centers.min()),
        "most": float(model.centers.max()),
    }
    state = _state_of(path)
    if state is not None:
        told["state"] = state
    return told


def _state_of(path: Path) -> dict[str, Any] | None:
    """Return what the state beside a model tells; None where there is none."""
    if path.is_file() and not path.name.endswith((".tar.gz", ".tgz")):
        path = path.parent
    if not has_state(path):
        return None
    facts, arrays = load_state(path)
    told = {name: facts.get(name) for name in _KINDS}
    for name, kind in _KINDS.items():
        if not isinstance(told[name], kind):
            raise UserError(f"the state in {path} has a {name} of {told[name]!r}")
    lineage, sizes = told["lineage"] or [], told["cluster_sizes"] or []
    told["lineage"] = [entry for entry in lineage if _is_of_a_job(entry)]
    told["cluster_sizes"] = [size for size in sizes if isinstance(size, _NUMBER)]
    for name in ("summary_weights", "sample_keys"):
        if name not in arrays:
            raise UserError(f"the state in {path} has no {name}")
    told["n_centers"] = len(arrays["summary_weights"])
    told["n_sampled"] = len(arrays["sample_keys"])
    return told


def _is_of_a_job(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(name), kind) for name, kind in _OF_A_JOB.items()
    )
