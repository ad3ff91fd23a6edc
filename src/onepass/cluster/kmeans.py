"""`KMeans`: the one-pass algorithm told as a story.

rows -> batches -> summary (weighted centers) and reservoir (sample) -> finish -> centers
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Floats, Labels, Rows, WeightedRows
from onepass.cluster.finish import (
    Finished,
    FinishSettings,
    calibrate,
    finish,
    measure_msd,
)
from onepass.cluster.kernels.cpu import accumulate, nearest_centers
from onepass.cluster.model import KMeansModel
from onepass.cluster.parameters import Auto, Parameters
from onepass.cluster.reservoir import Offer, Reservoir
from onepass.cluster.seeding import Seeding
from onepass.cluster.stream import RowBuffer, check_rows, check_weights
from onepass.cluster.summary import Summary
from onepass.errors import NotFittedError, UserError

DEFAULT_RESERVOIR_BYTES = 256 * 2**20


class KMeans:
    """K-means in one pass over the data, in memory that does not grow with it.

    Parameters
    ----------
    n_clusters : int
        Clusters to find.
    init : {"k-means++", "random"}
        How the first centers are chosen among the first rows.
    center_factor : int or "auto"
        The stream is summarised by ``n_clusters * center_factor`` centers; "auto" gives about 500
        and never fewer than 4 a cluster.
    batch_size : int
        Rows between two moves of the centers.
    half_life : float
        Rows until a row counts half as much as a new one; 0 lets nothing fade.
    local_init : {"k-means++", "random"}
        How each trial of the last step chooses its start among the summary's centers.
    n_init : int or "auto"
        Trials of the last step, the best of which is taken; "auto" is 10.
    max_iter : int
        Lloyd's iterations at most, in each trial of the last step.
    tol : float
        A trial stops when an iteration lowers the inertia by no more than this share of it.
    reservoir_bytes : int
        What the sample that refines the result may take; at most 1,024 rows a cluster, and 20,000
        rows where these are more, are kept within it. While all rows fit, the result is k-means on
        the data itself.
    random_state : int or None
        Seed. The same seed and the same rows in the same order give the same centers, in whatever
        pieces the rows arrive; None draws a new seed for each fit.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), float32
    inertia_ : float
        Sum of weighted squared distances of the rows to their closest center; from a sample when
        not every row was kept, see `msd_error_`.
    msd_, msd_error_ : float
        Mean squared distance, and the standard error of its estimate, 0 when exact.
    labels_ : ndarray of shape (n_samples,), int32
        After `fit` only.
    n_features_in_ : int
    n_samples_seen_ : int

    Notes
    -----
    Memory beside the caller's rows, in bytes, with K = n_clusters * center_factor, d features and
    m rows in the sample: ``15 K (d + 1) + 1.25 m (4 d + 28) + 4 max(batch_size, 3 K) (2 d + 4)``,
    and about the sample once more while finishing. Time: one search among at most 1.125 K centers a
    row, 2 K d operations each.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0, 0], [0, 1], [10, 0], [10, 1]])
    >>> kmeans = KMeans(n_clusters=2).fit(X)
    >>> np.sort(kmeans.cluster_centers_, axis=0)
    array([[ 0. ,  0.5],
           [10. ,  0.5]], dtype=float32)
    """

    cluster_centers_: Rows
    inertia_: float
    msd_: float
    msd_error_: float
    labels_: Labels
    n_features_in_: int
    finished_: Finished

    _rng: np.random.Generator
    _summary: Summary
    _reservoir: Reservoir
    _buffer: RowBuffer
    _origin: Rows
    _n_taken: int
    _total_weight: float

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Seeding = "k-means++",
        center_factor: int | Auto = "auto",
        batch_size: int = 5000,
        half_life: float = 0,
        local_init: Seeding = "k-means++",
        n_init: int | Auto = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        reservoir_bytes: int = DEFAULT_RESERVOIR_BYTES,
        random_state: int | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.center_factor = center_factor
        self.batch_size = batch_size
        self.half_life = half_life
        self.local_init = local_init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.reservoir_bytes = reservoir_bytes
        self.random_state = random_state

    def fit(
        self, X: npt.ArrayLike, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> KMeans:
        """Cluster `X` from scratch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers, taken as float32.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Not negative; a row of weight 2 counts as two rows, one of weight 0 not at all.

        Returns
        -------
        KMeans
            Itself.
        """
        del y
        rows = check_rows(X)
        self._forget()
        self.partial_fit(rows, sample_weight=sample_weight).finalize()
        self.labels_ = self.predict(rows)
        return self

    def partial_fit(
        self, X: npt.ArrayLike, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> KMeans:
        """Take more rows of the stream. `finalize` gives the centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
        """
        del y
        rows = check_rows(X, getattr(self, "n_features_in_", None))
        weights = check_weights(sample_weight, len(rows))
        if not hasattr(self, "n_features_in_"):
            self._begin(rows.shape[1])
        for batch in self._buffer.push(WeightedRows(rows, weights)):
            self._take(batch)
        return self

    def merge(self, other: KMeans) -> KMeans:
        """Take what another instance has seen, as if its rows had followed.

        Parameters
        ----------
        other : KMeans
            Of the same number of features; the rows it still held back as an incomplete batch are
            counted, otherwise it is not changed. One that has seen nothing changes nothing.

        Returns
        -------
        KMeans
            Itself; call `finalize` for the centers of the union.
        """
        if not other.n_samples_seen_:
            return self
        if not hasattr(self, "n_features_in_"):
            self._begin(other.n_features_in_)
        if other.n_features_in_ != self.n_features_in_:
            raise UserError(
                f"cannot merge {other.n_features_in_} features into {self.n_features_in_}"
            )
        self._flush()
        other._flush()
        if not self._n_taken:
            self._origin = other._origin.copy()
            self._buffer.batch_size = self.batch_size
        shift = (other._origin.astype(np.float64) - self._origin).astype(np.float32)
        self._reservoir.absorb(
            other._reservoir, shift, len(self._summary), log2_later=self._half_lives()
        )
        self._fade(other._n_taken)
        self._summary.append(other._summary, shift)
        self._n_taken += other._n_taken
        self._total_weight += other._total_weight
        self._consolidate()
        return self

    def finalize(self) -> KMeans:
        """Make the final centers of all rows taken so far. More rows may follow.

        Returns
        -------
        KMeans
            Itself, with `cluster_centers_` and `inertia_` set.

        Raises
        ------
        UserError
            When fewer rows than clusters have been taken.
        """
        parameters = self._checked()
        if self.n_samples_seen_ < parameters.n_clusters:
            raise UserError(
                f"{self.n_samples_seen_} rows of positive weight cannot make "
                f"n_clusters={parameters.n_clusters} clusters"
            )
        self._flush()
        settings = FinishSettings(
            parameters.n_clusters,
            parameters.local_init,
            parameters.n_trials,
            parameters.max_iter,
            parameters.tol,
        )
        data = self._core_set()
        self.finished_ = finish(self._summary.as_rows(), data, settings, self._rng)
        self._adopt(self.finished_.centers, data)
        return self

    def refine(self, batches: Iterable[Rows]) -> float:
        """Make one exact step of Lloyd's algorithm over all the data: a further epoch.

        Parameters
        ----------
        batches : iterable of ndarray of shape (n, n_features), float32
            All rows once more.

        Returns
        -------
        float
            The exact mean squared distance of the rows to the centers as they were before; that of
            the centers after the step is not larger.
        """
        centers = self._model().centers - self._origin
        sums = np.zeros(centers.shape)
        weights = np.zeros(len(centers))
        inertia = 0.0
        for batch in batches:
            rows = batch - self._origin
            nearest = nearest_centers(rows, centers)
            share = accumulate(rows, nearest.labels, len(centers))
            sums += share.sums
            weights += share.weights
            inertia += float(nearest.sq_distances.sum(dtype=np.float64))
        filled = weights > 0
        centers[filled] = sums[filled] / weights[filled, None]
        self._adopt(centers, self._core_set())
        return inertia / max(float(weights.sum()), 1.0)

    def predict(self, X: npt.ArrayLike) -> Labels:
        """Return the index of the closest center of each row, shape (n_samples,)."""
        return self._model().predict(check_rows(X, self.n_features_in_))

    def fit_predict(
        self, X: npt.ArrayLike, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> Labels:
        """Cluster `X` and return the cluster of each row."""
        return self.fit(X, y, sample_weight).labels_

    def transform(self, X: npt.ArrayLike) -> Floats:
        """Return the Euclidean distance of each row to each center, (n_samples, n_clusters)."""
        rows = check_rows(X, self.n_features_in_)
        return self._model().distances(rows)

    def to_model(self) -> KMeansModel:
        """Return the final centers as a model that can be saved and served."""
        return KMeansModel(self._model().centers.copy())

    @property
    def n_samples_seen_(self) -> int:
        """Rows of positive weight taken so far."""
        return self._n_taken + len(self._buffer) if hasattr(self, "n_features_in_") else 0

    @property
    def n_centers_(self) -> int:
        """How many weighted centers stand for the rows absorbed so far."""
        return len(self._summary) if hasattr(self, "n_features_in_") else 0

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn asks for them."""
        del deep
        return {name: getattr(self, name) for name in inspect.signature(KMeans).parameters}

    def set_params(self, **parameters: Any) -> KMeans:
        """Set parameters by name."""
        for name, value in parameters.items():
            if name not in self.get_params():
                raise UserError(f"KMeans has no parameter {name!r}; it has {[*self.get_params()]}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"KMeans({shown})"

    def _checked(self) -> Parameters:
        values = self.get_params()
        del values["random_state"]
        return Parameters(**values)

    def _forget(self) -> None:
        for name in ("n_features_in_", "cluster_centers_", "labels_"):
            if hasattr(self, name):
                delattr(self, name)

    def _begin(self, n_features: int) -> None:
        parameters = self._checked()
        self._rng = np.random.default_rng(self.random_state)
        self._summary = Summary(parameters.n_centers, n_features)
        self._reservoir = Reservoir(parameters.n_sampled(n_features), n_features)
        self._buffer = RowBuffer(max(parameters.batch_size, 3 * parameters.n_centers))
        self._origin = np.zeros(n_features, np.float32)
        self._n_taken = 0
        self._total_weight = 0.0
        self.n_features_in_ = n_features

    def _take(self, batch: WeightedRows) -> None:
        """One batch: let the old fade, absorb the rows, sample them, make room."""
        if not self._n_taken:
            self._origin = batch.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            self._buffer.batch_size = self.batch_size
        data = WeightedRows(batch.rows - self._origin, batch.weights)
        self._fade(len(data.rows))
        if len(self._summary):
            labels, sq_distances = self._summary.absorb(data, self._rng)
        else:
            labels, sq_distances = self._summary.start(data, self.init, self._rng)
        self._n_taken += len(data.rows)
        self._total_weight += float(data.weights.sum())
        self._sample(data, labels, sq_distances)
        self._consolidate()

    def _fade(self, n_rows: int) -> None:
        """Let everything taken so far weigh less because `n_rows` follow it."""
        if self.half_life:
            share = 0.5 ** (n_rows / self.half_life)
            self._summary.decay(share)
            self._total_weight *= share

    def _sample(self, data: WeightedRows, labels: Labels, sq_distances: Floats) -> None:
        """Offer the rows to the reservoir: half by weight, half by their share of the cost."""
        mean_cost = self._summary.service_cost / self._total_weight
        distance_share = sq_distances / mean_cost if mean_cost > 0 else np.ones_like(sq_distances)
        log2_weights = np.log2(data.weights) + self._half_lives()
        log2_chances = log2_weights + np.log2(0.5 + 0.5 * distance_share.astype(np.float64))
        self._reservoir.offer(Offer(data.rows, log2_weights, log2_chances, labels), self._rng)

    def _consolidate(self) -> None:
        if self._summary.overfull():
            self._reservoir.relabel(self._summary.consolidate())

    def _flush(self) -> None:
        rest = self._buffer.flush()
        if rest is not None:
            self._take(rest)

    def _half_lives(self) -> float:
        return self._n_taken / self.half_life if self.half_life else 0.0

    def _core_set(self) -> WeightedRows:
        """Return all rows while they are kept, else the sample, corrected by the summary."""
        sample = self._reservoir.sample(self._half_lives())
        if self._reservoir.complete:
            return WeightedRows(sample.rows, sample.weights)
        return calibrate(self._summary.as_rows(), sample)

    def _adopt(self, centers: Rows, data: WeightedRows) -> None:
        """Make `centers` the result, and measure them."""
        self.cluster_centers_ = centers + self._origin
        self.msd_, error = measure_msd(data, centers)
        self.msd_error_ = 0.0 if self._reservoir.complete else error
        self.inertia_ = self.msd_ * self._total_weight

    def _model(self) -> KMeansModel:
        if not hasattr(self, "cluster_centers_"):
            raise NotFittedError("there are no centers yet: call fit, or partial_fit and finalize")
        return KMeansModel(self.cluster_centers_)
