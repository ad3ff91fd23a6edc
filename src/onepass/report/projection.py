"""Rows of many features on a plane."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from onepass.cluster.arrays import Doubles, Rows

Method: TypeAlias = Literal["pca", "tsne"]

_ROUNDS = 40


def project(rows: Rows, centers: Rows, method: Method, seed: int) -> tuple[Doubles, Doubles, str]:
    """Place rows and centers on a plane.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features), float32
    centers : ndarray of shape (n_clusters, n_features), float32
    method : "pca" or "tsne"
    seed : int

    Returns
    -------
    rows, centers : ndarray of shape (n, 2) and (n_clusters, 2), float64
    words : str
        What the plane is.
    """
    if method == "tsne" and len(rows) > 3:
        return _tsne(rows, centers, seed)
    return _pca(rows, centers, seed)


def _pca(rows: Rows, centers: Rows, seed: int) -> tuple[Doubles, Doubles, str]:
    """Project on the first two principal components, by subspace iteration."""
    mean = rows.mean(axis=0, dtype=np.float64)
    moved = rows - mean
    axes = np.random.default_rng(seed).normal(size=(rows.shape[1], 2))
    for _ in range(_ROUNDS):
        axes = np.linalg.qr(moved.T @ (moved @ axes))[0]
    turned = np.linalg.svd(moved @ axes, full_matrices=False)[2]
    axes = axes @ turned.T
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1, 1)
    placed, total = moved @ axes, float((moved**2).sum())
    share = float((placed**2).sum()) / total if total else 1.0
    words = f"the first two principal components, which hold {share:.0%} of the variance"
    return _two(placed), _two((centers - mean) @ axes), words


def _tsne(rows: Rows, centers: Rows, seed: int) -> tuple[Doubles, Doubles, str]:
    from sklearn.manifold import TSNE

    both = np.concatenate([rows, centers])
    perplexity = min(30.0, (len(both) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(both)
    words = "t-SNE: rows that are close stay close, other distances mean little"
    return placed[: len(rows)].astype(float), placed[len(rows) :].astype(float), words


def _two(placed: Doubles) -> Doubles:
    """Give rows of one feature a second coordinate."""
    return np.pad(placed, ((0, 0), (0, 2 - placed.shape[1])))
