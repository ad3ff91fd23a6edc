"""Centers, ready to answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Flags, Floats, Labels, Rows
from onepass.cluster.batches import Given, Samples, as_dense, check_weights, checked
from onepass.cluster.elsewhere import models
from onepass.cluster.kernels.cpu import (
    Nearest,
    NearestInDouble,
    nearest_centers,
    nearest_centers_in_double,
    peak,
)
from onepass.cluster.kernels.prepared import PreparedCenters
from onepass.cluster.scale import are_in_range, in_range
from onepass.errors import UserError
from onepass.sparse import SparseRows

_BLOCK_VALUES = 2**22

_GROUP_VALUES = 2**19
"""Of centers that rows are taken from at once: many requests may ask for that at a time."""


class Assignment(NamedTuple):
    """The cluster of each row.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        Index of the closest center, from 0.
    distances : ndarray of shape (n_samples,), float32
        Euclidean distance to it, not squared; infinite where float32 cannot hold it.
    """

    labels: Labels
    distances: Floats


@dataclass(frozen=True, eq=False)
class KMeansModel:
    """The centers of a k-means clustering.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32
        Kept, not copied, and read-only from here on: whoever has made them must not change them.

    Examples
    --------
    >>> import numpy as np
    >>> model = KMeansModel(np.array([[0, 0], [10, 0]], np.float32))
    >>> model.assign([[3, 4], [10, 1]])
    Assignment(labels=array([0, 1], dtype=int32), distances=array([5., 1.], dtype=float32))
    """

    centers: Rows

    def __post_init__(self) -> None:
        if self.centers.ndim != 2 or not self.centers.size:
            raise UserError(f"centers must be a matrix, got shape {self.centers.shape}")
        fixed = self.centers.view()
        fixed.flags.writeable = False  # as what is made of them once is used ever after
        object.__setattr__(self, "centers", fixed)

    @classmethod
    def load(cls, path: Path | str) -> KMeansModel:
        """Read a model, whoever wrote it: Onepass, Amazon's k-means image or ``mxnet.nd.save``.

        Parameters
        ----------
        path : Path or str
            A ``model_algo-1``, a ``model.tar.gz``, a directory that holds either, or the address of
            one of these files in S3, ``s3://bucket/key``.

        Raises
        ------
        UserError
            Saying what was found when there is no model, or why it cannot be read.
        """
        model: KMeansModel = models().load(path)
        return model

    def save_npz(self, path: Path | str) -> Path:
        """Write the centers for NumPy: ``numpy.load(path)["centers"]``.

        Returns
        -------
        Path
            The file, written atomically.
        """
        written: Path = models().save_npz(self, path)
        return written

    def to_sklearn(self) -> Any:
        """Return a fitted `sklearn.cluster.KMeans` with these centers."""
        return models().to_sklearn(self)

    def to_onnx(self) -> Any:
        """Return an `onnx.ModelProto`: rows ``X``, float32, to ``labels`` and ``distances``.

        Distances are Euclidean, not squared, as those of `assign`; where two centers are about as
        close to a row, the label may be the other one's, as products are rounded.
        """
        return models().to_onnx(self)

    def __getstate__(self) -> dict[str, Rows]:
        """Leave out what another process makes of the centers for itself."""
        return {"centers": self.centers}

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return len(self.centers)

    @property
    def n_features(self) -> int:
        """How many features a row must have."""
        return int(self.centers.shape[1])

    def prepare(self) -> None:
        """Lay out the centers for searches, as the first of them does otherwise.

        Processes that are forked afterwards share that memory. Nothing here starts a thread.
        """
        _ = self._prepared, self._peak

    def assign(self, X: Given) -> Assignment:
        """Find the closest center of each row, and how far it is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or sparse matrix
            Finite numbers, taken as float32.

        Returns
        -------
        Assignment
            In the order of the rows.

        Notes
        -----
        Costs 2 * n_clusters * n_features operations a row, and memory for a block of rows beside
        the answer, however many there are.
        """
        rows, largest = checked(X, self.n_features)
        labels = np.empty(len(rows), np.int32)
        distances = np.empty(len(rows), np.float32)
        for part, nearest in self._search(rows, largest):
            labels[part] = nearest.labels
            with np.errstate(over="ignore"):  # a distance beyond float32 is infinite
                np.sqrt(nearest.sq_distances, out=distances[part])
        return Assignment(labels, distances)

    def inertia(self, X: Given, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the weighted sum of squared distances of the rows to their closest center."""
        rows = self._check(X)
        weights = check_weights(sample_weight, len(rows))
        blocks = self.search(rows)
        return sum(float((near.sq_distances * weights[part]).sum()) for part, near in blocks)

    def distances(self, X: Given) -> Floats:
        """Return the Euclidean distance of each row to each center, (n_samples, n_clusters)."""
        rows = self._check(X)
        table = np.empty((len(rows), self.n_clusters), np.float32)
        for part in _blocks(rows):
            some = as_dense(rows[part])
            usual = self._are_usual(some)
            for group in _blocks(self.centers, _GROUP_VALUES):
                _measure(some, self.centers[group], usual, table[part, group])
        return table

    def predict(self, X: Given) -> Labels:
        """Return the index of the closest center of each row, shape (n_samples,)."""
        return self.assign(X).labels

    def _check(self, X: Given) -> Samples:
        return checked(X, self.n_features).rows

    def search(self, rows: Samples) -> Iterator[tuple[slice, Nearest | NearestInDouble]]:
        """Search clean rows block by block; yields each block's place and what was found.

        From one origin: no row's answer depends on the rows beside it. Those of one block of sparse
        rows share a copy of the centers in float64.
        """
        return self._search(rows, peak(rows))

    def _search(
        self, rows: Samples, largest: float
    ) -> Iterator[tuple[slice, Nearest | NearestInDouble]]:
        all_usual = self.fits(largest)
        for part in _blocks(rows):
            some = rows[part]
            if not (all_usual or self.fits(peak(some))):
                yield part, self._search_extreme(as_dense(some))
            elif isinstance(some, SparseRows):
                yield part, nearest_centers(some, self.centers)
            else:
                yield part, self._prepared.nearest(some)

    @cached_property
    def _prepared(self) -> PreparedCenters:
        """The centers as a search reads them, from a point amid them."""
        origin = self.centers.mean(axis=0, dtype=np.float64).astype(np.float32)
        return PreparedCenters(self.centers, origin)

    @cached_property
    def _peak(self) -> float:
        """The largest absolute value of the centers."""
        return peak(self.centers)

    def fits(self, largest: float) -> bool:
        """Whether float32 can hold the squared distances of rows none of which is larger."""
        return bool(self._peak) and in_range(self._peak) and in_range(max(self._peak, largest))

    def _are_usual(self, rows: Rows) -> Flags:
        """Tell the same of each row by itself: what stands beside it must not matter."""
        if self.fits(peak(rows)):
            return np.ones(len(rows), bool)
        return are_in_range(np.maximum(np.abs(rows).max(axis=1), np.float32(self._peak)))

    def _search_extreme(self, rows: Rows) -> NearestInDouble:
        """Search in float64 where squares would leave the range of float32, row by row."""
        usual = self._are_usual(rows)
        labels = np.empty(len(rows), np.int32)
        sq_distances = np.empty(len(rows))
        found = self._prepared.nearest(rows[usual])
        labels[usual], sq_distances[usual] = found
        labels[~usual], sq_distances[~usual] = nearest_centers_in_double(rows[~usual], self.centers)
        return NearestInDouble(labels, sq_distances)


def _measure(rows: Rows, centers: Rows, usual: Flags, out: Floats) -> None:
    """Measure clean rows, those that are not usual in float64."""
    if usual.all():
        _measure_all(rows, centers, out)
        return
    for chosen, dtype in ((usual, np.float32), (~usual, np.float64)):
        some = np.empty((int(chosen.sum()), len(centers)), np.float32)
        _measure_all(rows[chosen].astype(dtype), centers.astype(dtype, copy=False), some)
        out[chosen] = some


def _measure_all(
    rows: npt.NDArray[np.floating], centers: npt.NDArray[np.floating], out: Floats
) -> None:
    """Measure clean rows in the precision they have, going by whichever there are fewer of.

    Each distance is the same to the last bit either way.
    """
    if len(rows) < len(centers):
        rows, centers, out = centers, rows, out.T
    with np.errstate(over="ignore"):  # a distance beyond float32 is infinite
        for j, center in enumerate(centers):
            gap = rows - center
            np.sqrt(np.einsum("ij,ij->i", gap, gap), out=out[:, j])


def _blocks(rows: Samples, n_values: int = _BLOCK_VALUES) -> Iterator[slice]:
    """Cut rows into blocks that are searched at once: of as many values, given or zero."""
    step = max(1, n_values // rows.shape[1])
    for start in range(0, len(rows), step):
        yield slice(start, min(start + step, len(rows)))
