"""`KMeans.fit` of rows that Dask holds, or would make: on the cluster it has, or in threads here.

The blocks are divided among chains, one for each thread of the workers. In each, what has been
learnt goes from block to block, so that a block need only be there while it is learnt from; at the
end the chains are united as a tree.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import Delayed, delayed
from distributed import get_client

from onepass.distributed.plan import tree
from onepass.errors import UserError
from onepass.resources import available_cpus

if TYPE_CHECKING:
    from onepass.cluster.kmeans import KMeans
    from onepass.cluster.model import KMeansModel


def learn(kmeans: KMeans, X: Any, sample_weight: Any = None) -> KMeans:
    """Return what is learnt of all rows of a collection.

    Parameters
    ----------
    kmeans : KMeans
        Whose parameters are taken; not changed.
    X : dask.array.Array of shape (n_samples, n_features), or dask.dataframe.DataFrame
        Blocks of whole rows are best: others are put together first.
    sample_weight : dask.array.Array or array-like of shape (n_samples,), optional

    Returns
    -------
    KMeans
        Not finalized.

    Raises
    ------
    UserError
        When X is no table of rows, or weights do not fit it.

    Notes
    -----
    Memory of a worker: a block, and what `KMeans` takes, for each of its threads.
    """
    blocks, weights = _blocks(X, sample_weight)
    n_chains = max(1, min(_n_threads(), len(blocks)))
    template = kmeans.shard(n_chains).set_params(device="cpu")
    chains = [
        _chain(template, blocks[part], weights[part]) for part in _parts(len(blocks), n_chains)
    ]
    [learnt] = compute(tree(chains, delayed(type(kmeans).united)))
    learnt_of_all: KMeans = learnt
    return learnt_of_all


def predict(model: KMeansModel, X: Any) -> Any:
    """Return the cluster of each row as a collection of the same blocks, made when it is asked for.

    Parameters
    ----------
    model : KMeansModel
    X : dask.array.Array or dask.dataframe.DataFrame

    Returns
    -------
    dask.array.Array of shape (n_samples,), int32
    """
    return _as_array(X).map_blocks(partial(_predict, model), dtype=np.int32, drop_axis=1)


def transform(model: KMeansModel, X: Any) -> Any:
    """Return the distance of each row to each center as a collection of the same blocks.

    Parameters
    ----------
    model : KMeansModel
    X : dask.array.Array or dask.dataframe.DataFrame

    Returns
    -------
    dask.array.Array of shape (n_samples, n_clusters), float32
    """
    rows = _as_array(X)
    chunks = (rows.chunks[0], (model.n_clusters,))
    return rows.map_blocks(partial(_transform, model), dtype=np.float32, chunks=chunks)


def inertia(model: KMeansModel, X: Any, sample_weight: Any = None) -> float:
    """Return the weighted sum of squared distances of the rows to their closest center."""
    blocks, weights = _blocks(X, sample_weight)
    pairs = zip(blocks, weights, strict=True)
    [parts] = compute([delayed(_inertia, pure=False)(model, *pair) for pair in pairs])
    return math.fsum(parts)


def _chain(template: KMeans, blocks: Sequence[Delayed], weights: Sequence[Any]) -> Delayed:
    """Learn from blocks, one after the other."""
    learnt = delayed(template, pure=True)
    for block, weight in zip(blocks, weights, strict=True):
        learnt = delayed(_learnt, pure=False)(learnt, block, weight)
    end: Delayed = delayed(_flushed, pure=False)(learnt)
    return end


def _learnt(kmeans: KMeans, rows: Any, weights: Any) -> KMeans:
    """Return what is known after some more rows; what was known before is not changed."""
    return copy.deepcopy(kmeans).partial_fit(rows, sample_weight=weights)


def _flushed(kmeans: KMeans) -> KMeans:
    return copy.deepcopy(kmeans).flush()


def _predict(model: KMeansModel, rows: Any) -> Any:
    return model.predict(rows)


def _transform(model: KMeansModel, rows: Any) -> Any:
    return model.distances(rows)


def _inertia(model: KMeansModel, rows: Any, weights: Any) -> float:
    return model.inertia(rows, weights)


def _blocks(X: Any, sample_weight: Any) -> tuple[list[Delayed], list[Any]]:
    """Return blocks of whole rows, and the weights of each, or None."""
    rows = _as_array(X)
    blocks = list(rows.to_delayed()[:, 0])
    if sample_weight is None:
        return blocks, [None] * len(blocks)
    weights = da.asarray(sample_weight)
    if any(np.isnan(rows.chunks[0])):
        raise UserError(
            "sample_weight beside rows that have not been counted: X.compute_chunk_sizes() does so"
        )
    if weights.shape != rows.shape[:1]:
        raise UserError(f"sample_weight has shape {weights.shape}, X has {rows.shape[0]} rows")
    return blocks, list(weights.rechunk((rows.chunks[0],)).to_delayed())


def _as_array(X: Any) -> Any:
    """Return a collection as a matrix whose blocks are of whole rows."""
    array = X.to_dask_array() if hasattr(X, "to_dask_array") else X
    if not isinstance(array, da.Array) or array.ndim != 2:
        raise UserError(
            f"a {type(X).__name__} of Dask is no table of rows: a dask.array of two axes is, and a "
            "dask.dataframe"
        )
    return array.rechunk({1: -1}) if len(array.chunks[1]) > 1 else array


def _n_threads() -> int:
    """Return how many threads compute: of the cluster in use, or of this machine."""
    try:
        return sum(get_client().nthreads().values())
    except ValueError:
        return available_cpus()


def _parts(n: int, n_parts: int) -> Iterable[slice]:
    """Cut blocks into parts of neighbours."""
    for i in range(n_parts):
        yield slice(n * i // n_parts, n * (i + 1) // n_parts)
