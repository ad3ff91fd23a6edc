"""Others on the rows of the headline job, as far as they are installed.

Rows are decoded once, and copied to the device where the peer takes them there; only the fit is
timed. Starts are random rows, and k-means++ on 64 rows a cluster where a start can be given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

from onepass.data.batches import BatchReader
from onepass.data.sources import Span

SEEDING_ROWS = 64


class Fitted(NamedTuple):
    """What a fit has given."""

    name: str
    seconds: float
    centers: np.ndarray
    note: str = ""


@cache
def rows_of(sources: tuple[Span, ...], n_rows: int, n_features: int) -> np.ndarray:
    """Decode all rows."""
    rows = np.empty((n_rows, n_features), np.float32)
    n = 0
    for batch in BatchReader(sources, n_features, 50_000):
        rows[n : n + len(batch)] = batch
        n += len(batch)
    return rows


def loaded(sources: list[Span], shape: Any) -> np.ndarray:
    return rows_of(tuple(sources), shape.n_rows, shape.n_features)


def starts(rows: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Return starts: random rows, and k-means++ on a part of them."""
    rng = np.random.default_rng(11)
    some = rows[rng.choice(len(rows), min(len(rows), SEEDING_ROWS * k), replace=False)]
    return {
        "random start": rows[rng.choice(len(rows), k, replace=False)],
        "k-means++ start": kmeans_plusplus(some, k, random_state=0)[0],
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def flash(sources: list[Span], shape: Any, n_iterations: int) -> Iterator[Fitted]:
    """Fit by flash-kmeans, on rows that are on the device."""
    import torch
    from flash_kmeans import batch_kmeans_Euclid

    rows = loaded(sources, shape)
    there = torch.from_numpy(rows).cuda()[None]
    k = shape.n_clusters
    batch_kmeans_Euclid(there[:, : 4 * k], k, max_iters=2)  # compiles
    for name, start in starts(rows, k).items():
        given = torch.from_numpy(start).cuda()[None]

        def fit(given: Any = given) -> Any:
            found = batch_kmeans_Euclid(there, k, max_iters=n_iterations, init_centroids=given)
            torch.cuda.synchronize()
            return found

        found, seconds = timed(fit)
        yield Fitted(f"flash-kmeans, {name}", seconds, found[1][0].float().cpu().numpy())


def fast(sources: list[Span], shape: Any, n_iterations: int) -> Iterator[Fitted]:
    """Fit by fastkmeans, which takes rows of the host."""
    from fastkmeans import FastKMeans

    rows = loaded(sources, shape)
    fitted = FastKMeans(shape.n_features, shape.n_clusters, niter=n_iterations)
    _, seconds = timed(lambda: fitted.train(rows))
    yield Fitted("fastkmeans", seconds, np.asarray(fitted.centroids, np.float32))


def torch_lloyd(sources: list[Span], shape: Any, n_iterations: int) -> Iterator[Fitted]:
    """Fit by a few lines of PyTorch, in TF32."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True
    rows = loaded(sources, shape)
    there = torch.from_numpy(rows).cuda()
    for name, start in starts(rows, shape.n_clusters).items():

        def fit(start: np.ndarray = start) -> Any:
            centers = torch.from_numpy(start).cuda()
            for _ in range(n_iterations):
                sums, counts = torch.zeros_like(centers), torch.zeros_like(centers[:, 0])
                for part in there.split(2**18):
                    scores = (centers**2).sum(1) - 2 * part @ centers.T
                    labels = scores.argmin(1)
                    sums.index_add_(0, labels, part)
                    counts.index_add_(0, labels, torch.ones_like(part[:, 0]))
                filled = counts > 0
                centers[filled] = sums[filled] / counts[filled, None]
            torch.cuda.synchronize()
            return centers

        found, seconds = timed(fit)
        yield Fitted(f"PyTorch, {name}", seconds, found.cpu().numpy())


def cuml(sources: list[Span], shape: Any, n_iterations: int) -> Iterator[Fitted]:
    """Fit by cuML."""
    import cupy
    from cuml.cluster import KMeans

    there = cupy.asarray(loaded(sources, shape))
    kmeans = KMeans(shape.n_clusters, max_iter=n_iterations, n_init=1)
    fitted, seconds = timed(lambda: kmeans.fit(there))
    yield Fitted("cuML", seconds, cupy.asnumpy(fitted.cluster_centers_))


def faiss_gpu(sources: list[Span], shape: Any, n_iterations: int) -> Iterator[Fitted]:
    """Fit by faiss, on all rows."""
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        raise ImportError("faiss is installed without GPUs")
    rows = loaded(sources, shape)
    kmeans = faiss.Kmeans(
        shape.n_features,
        shape.n_clusters,
        niter=n_iterations,
        gpu=True,
        max_points_per_centroid=len(rows),
    )
    _, seconds = timed(lambda: kmeans.train(rows))
    yield Fitted("faiss", seconds, kmeans.centroids)


def minibatch(sources: list[Span], shape: Any, n_iterations: int) -> Iterator[Fitted]:
    """Fit by scikit-learn's MiniBatchKMeans on the processor."""
    del n_iterations
    rows = loaded(sources, shape)
    kmeans = MiniBatchKMeans(shape.n_clusters, batch_size=5000, n_init=1, max_iter=1)
    fitted, seconds = timed(lambda: kmeans.fit(rows))
    yield Fitted("scikit-learn, MiniBatchKMeans", seconds, fitted.cluster_centers_)


PEERS: dict[str, Callable[[list[Span], Any, int], Iterator[Fitted]]] = {
    "flash-kmeans": flash,
    "fastkmeans": fast,
    "torch": torch_lloyd,
    "cuml": cuml,
    "faiss": faiss_gpu,
    "minibatch": minibatch,
}
