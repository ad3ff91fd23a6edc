"""`KMeans`: the one-pass algorithm told as a story.

    rows -> batches -> summary (weighted centers) and reservoir (sample) -> finish -> centers

The story's middle, what is kept between two batches, is `onepass.cluster.stream.Stream`. What makes
this module long is the documentation of the one class that users of Python meet.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from onepass.cluster.arrays import Floats, Labels, Rows, WeightedRows
from onepass.cluster.batches import check_rows, check_weights
from onepass.cluster.finish import FinishSettings
from onepass.cluster.model import KMeansModel
from onepass.cluster.parameters import Auto, Parameters, check_seed
from onepass.cluster.seeding import Seeding
from onepass.cluster.stream import Stream
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
        Trials of the last step, the best of which is taken; "auto" is 20.
    max_iter : int
        Lloyd's iterations at most, in each trial of the last step.
    tol : float
        A trial stops when an iteration lowers the inertia by no more than this share of it.
    reservoir_bytes : int
        What the sample that refines the result may take: 1,024 rows a cluster, or 20,000 where that
        is more, as far as they fit, and never less than two a cluster. While all rows fit, the
        result is k-means on the data itself.
    random_state : int or None
        Seed. The same seed and the same rows in the same order give the same centers, in whatever
        pieces the rows arrive before `finalize`; None draws a new seed for each fit.

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
    n_centers_ : int
        Weighted centers that stand for the rows absorbed.
    short_term_msd_, long_term_msd_ : float
        Mean squared distance of rows to the summary's centers when they arrived: of about the
        last ten batches, and of all. The first rising above the second tells of drift.
    trial_msds_ : tuple of float
        What each trial of the last step reached on the summary's centers.

    Notes
    -----
    Memory beside the caller's rows, in bytes, with K = n_clusters * center_factor, d features,
    m rows in the sample and b = max(batch_size, 3 K): at most about ``25 K d + 2.6 m (4 d + 40) +
    12 b d + 16 MiB``. Time: one search among at most 1.125 K centers a row, 2 K d operations each.

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
    trial_msds_: tuple[float, ...]

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
        self._stream: Stream | None = None

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
        self._stream = None
        for name in ("cluster_centers_", "labels_"):
            if hasattr(self, name):
                delattr(self, name)
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
        rows = check_rows(X, self._stream.n_features if self._stream else None)
        weights = check_weights(sample_weight, len(rows))
        self._begun(rows.shape[1]).push(WeightedRows(rows, weights))
        return self

    def merge(self, other: KMeans) -> KMeans:
        """Take what another instance has seen, as if its rows had followed.

        Parameters
        ----------
        other : KMeans
            Of the same number of features and half-life. Its last batch ends here, complete or
            not, as does this one's. One that has seen nothing changes nothing.

        Returns
        -------
        KMeans
            Itself; call `finalize` for the centers of the union.
        """
        if other._stream is not None and other.n_samples_seen_:
            self._begun(other._stream.n_features).merge(other._stream)
        return self

    def finalize(self) -> KMeans:
        """Make the final centers of all rows taken so far.

        More rows may follow, in a new batch: the last one ends here, complete or not.

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
        if self._stream is None or self._stream.n_rows < parameters.n_clusters:
            raise UserError(
                f"{self.n_samples_seen_} rows of positive weight cannot make "
                f"n_clusters={parameters.n_clusters} clusters"
            )
        finished = self._stream.finish(
            FinishSettings(
                parameters.n_clusters,
                parameters.local_init,
                parameters.n_trials,
                parameters.max_iter,
                parameters.tol,
            )
        )
        self.trial_msds_ = finished.trial_msds
        return self._adopt(finished.centers, self._stream)

    def refine(self, batches: Iterable[Rows]) -> float:
        """Make one exact step of Lloyd's algorithm over all the data: a further epoch.

        Parameters
        ----------
        batches : iterable of array-like of shape (n, n_features)
            All rows once more; each counts once, however it was weighted before.

        Returns
        -------
        float
            The exact mean squared distance of the rows to the centers as they were before; that of
            the centers after the step is not larger.
        """
        centers = self._model().centers
        stream = self._begun(centers.shape[1])
        refined = stream.refine(centers, batches)
        self._adopt(refined.centers, stream)
        return refined.msd_before

    def predict(self, X: npt.ArrayLike) -> Labels:
        """Return the index of the closest center of each row, shape (n_samples,)."""
        model = self._model()
        return model.predict(check_rows(X, model.n_features))

    def fit_predict(
        self, X: npt.ArrayLike, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> Labels:
        """Cluster `X` and return the cluster of each row."""
        return self.fit(X, y, sample_weight).labels_

    def transform(self, X: npt.ArrayLike) -> Floats:
        """Return the Euclidean distance of each row to each center, (n_samples, n_clusters)."""
        model = self._model()
        return model.distances(check_rows(X, model.n_features))

    def to_model(self) -> KMeansModel:
        """Return the final centers as a model that can be saved and served."""
        return KMeansModel(self._model().centers.copy())

    @property
    def n_samples_seen_(self) -> int:
        """Rows of positive weight taken so far."""
        return self._stream.n_rows if self._stream else 0

    @property
    def n_centers_(self) -> int:
        """How many weighted centers stand for the rows absorbed so far."""
        return len(self._stream.summary) if self._stream else 0

    @property
    def short_term_msd_(self) -> float:
        """Mean squared distance of the latest rows to the centers that absorbed them."""
        return self._stream.short_term_msd if self._stream else 0.0

    @property
    def long_term_msd_(self) -> float:
        """Mean squared distance of all rows to the centers that absorbed them."""
        return self._stream.long_term_msd if self._stream else 0.0

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

    def _begun(self, n_features: int) -> Stream:
        """Return the stream, a new one if none has begun."""
        if self._stream is None:
            self._stream = Stream(self._checked(), n_features, check_seed(self.random_state))
            self.n_features_in_ = n_features
        return self._stream

    def _adopt(self, centers: Rows, stream: Stream) -> KMeans:
        """Make `centers` the result, and measure them."""
        self.cluster_centers_ = centers
        self.msd_, self.msd_error_ = stream.measure(centers)
        if hasattr(self, "labels_"):
            del self.labels_
        self.inertia_ = self.msd_ * stream.total_weight
        return self

    def _model(self) -> KMeansModel:
        if not hasattr(self, "cluster_centers_"):
            raise NotFittedError("there are no centers yet: call fit, or partial_fit and finalize")
        return KMeansModel(self.cluster_centers_)
