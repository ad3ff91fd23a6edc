"""`KMeans`: the one-pass algorithm told as a story.

    rows -> batches -> summary (weighted centers) and reservoir (sample) -> finish -> centers

The story's middle, what is kept between two batches, is `onepass.cluster.stream.Stream`. What
it answers once there are centers, and what scikit-learn expects of it, stands in
`onepass.cluster.estimator`. What makes this module long is the documentation of the one class that
users of Python meet.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Rows, Weighted
from onepass.cluster.batches import Batch, Given, Samples, WeightedSamples, as_pair, check_weighted
from onepass.cluster.core_set import Msd, weigh_clusters
from onepass.cluster.deadline import NEVER, Deadline
from onepass.cluster.device_plan import find_gpu_for
from onepass.cluster.devices import Device
from onepass.cluster.elbow import Elbow, ElbowPoint, few_trials, sweep
from onepass.cluster.elsewhere import collections, is_elsewhere
from onepass.cluster.epoch import LloydStep, sum_shard, take_step
from onepass.cluster.estimator import Estimator
from onepass.cluster.model import KMeansModel
from onepass.cluster.numbering import numbered_like
from onepass.cluster.parameters import Auto, Parameters, check_seed
from onepass.cluster.record_intake import RecordIntake
from onepass.cluster.scaled import ScaledStream
from onepass.cluster.seeding import Seeding
from onepass.cluster.state import State, refuse_unless
from onepass.cluster.trials import TrialSettings
from onepass.cluster.workers import one_blas_thread
from onepass.errors import UserError
from onepass.resources import available_cpus
from onepass.sparse import SparseRows

DEFAULT_RESERVOIR_BYTES = 256 * 2**20


class KMeans(Estimator):
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
    batch_size : int or "auto"
        Rows between two moves of the centers; "auto" is 5,000, and up to 16,000 of few features,
        unless a half-life lets them fade.
    half_life : float
        Rows until a row counts half as much as a new one; 0 lets nothing fade.
    local_init : {"k-means++", "random"}
        How each trial of the last step chooses its start among the summary's centers.
    n_init : int or "auto"
        Trials of the last step at most, the best of which is taken: the first ten, or twenty of at
        most 20 clusters, from starts of their own, and others from the best of those crossed, until
        that is no use. "auto" is 60, and fewer, 4 at least, where they would cost more than a
        quarter of the pass.
    max_iter : int
        Lloyd's iterations at most, in each trial of the last step.
    tol : float
        A trial stops when an iteration lowers the inertia by no more than this share of it.
    reservoir_bytes : int
        What the sample that refines the result may take: 1,024 rows a cluster, or 20,000 where that
        is more, as far as they fit, and never less than two a cluster. While all rows fit, the
        result is k-means on the data itself.
    device : {"auto", "cpu", "gpu"} or "gpu:0", "gpu:1", ...
        Where dense rows are taken: "auto" is a GPU where there is one that CuPy can use and there
        are enough rows, several batches of a few ten thousand; "gpu" fails without one.
    random_state : int, None, numpy.random.RandomState or numpy.random.Generator
        Seed. The same seed and the same rows in the same order give the same centers, in whatever
        pieces the rows arrive before `finalize`, unless their scale leaps by twelve orders of
        magnitude; None, and a generator of random numbers, draws a new seed for each fit.

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
    feature_names_in_ : ndarray of shape (n_features,), object
        Only where the first rows came as a data frame whose columns are all named by texts.
    n_iter_ : int
        Passes over all rows: one, and one more for each `refine`.
    n_samples_seen_ : int
    n_moved_ : int
        Centers that the last further epoch has moved; with none, more epochs change nothing.
    n_centers_ : int
        Weighted centers that stand for the rows absorbed.
    n_opened_ : int
        Rows that were far enough from all of these to become one.
    short_term_msd_, long_term_msd_ : float
        Mean squared distance of rows to the summary's centers when they arrived: of about the
        last ten batches, and of all. The first rising above the second tells of drift.
    trial_msds_ : tuple of float
        What each trial of the last step that was made reached on the summary's centers.

    Notes
    -----
    Memory beside the caller's rows, in bytes, with K = n_clusters * center_factor, d features,
    m rows in the sample and b = max(rows of a batch, 3 K): at most about ``m (10 d + 80) + 40 K d +
    4 b d + 2 MiB``, and ``4 K^2`` while K is not above 2,304. Time: one search among at most
    1.125 K centers a row, 2 K d operations each.

    Of sparse rows with z values each: at most ``m (10 z + 80) + 18 K d + 64 k d + 16 b z + 48 MiB``
    bytes, and 2 K z operations a row; ``2 K^2 d`` now and then, to unite centers. The sample is
    smaller where its values would take more than `reservoir_bytes`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0, 0], [0, 1], [10, 0], [10, 1]])
    >>> kmeans = KMeans(n_clusters=2).fit(X)
    >>> np.sort(kmeans.cluster_centers_, axis=0)
    array([[ 0. ,  0.5],
           [10. ,  0.5]], dtype=float32)
    """

    inertia_: float
    msd_: float
    msd_error_: float
    n_iter_: int
    trial_msds_: tuple[float, ...]

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Seeding = "k-means++",
        center_factor: int | Auto = "auto",
        batch_size: int | Auto = "auto",
        half_life: float = 0,
        local_init: Seeding = "k-means++",
        n_init: int | Auto = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        reservoir_bytes: int = DEFAULT_RESERVOIR_BYTES,
        device: Device = "auto",
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
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
        self.device = device
        self.random_state = random_state
        self._stream: ScaledStream | None = None
        self._share = 1.0

    @one_blas_thread
    def fit(self, X: Given, y: object = None, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Cluster `X` from scratch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or sparse matrix
            Finite numbers, taken as float32. A matrix of `scipy.sparse` stays sparse. An array or
            data frame of Dask is learnt from where its blocks are, block by block; `labels_` is a
            collection then, too.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Not negative; a row of weight 2 counts as two rows, one of weight 0 not at all.

        Returns
        -------
        KMeans
            Itself.
        """
        del y
        if is_elsewhere(X):
            return self._fit_elsewhere(X, sample_weight)
        data = check_weighted(X, sample_weight)
        self._check_names(X, first=True)
        self._forget()
        self._begun_with(data.rows).push(data)
        self.finalize()
        self.leave_device()
        self.labels_ = self._model().predict(data.rows)
        return self

    @one_blas_thread
    def partial_fit(
        self, X: Given, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Take more rows of the stream. `finalize` gives the centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or sparse matrix
            All rows are kept as the first ones were: sparse or dense.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
        """
        del y
        self._check_names(X, first=self._stream is None)
        data = check_weighted(X, sample_weight, self._stream.n_features if self._stream else None)
        self._begun_with(data.rows).push(data)
        return self

    def record_intake(self, n_rows: int) -> RecordIntake | None:
        """Return what takes the next rows on a GPU as they stand in records, unread.

        Parameters
        ----------
        n_rows : int
            About how many rows are to come.

        Returns
        -------
        RecordIntake or None
            Good for one use. None where rows are to be given to `partial_fit`: on a processor, as
            long as the first batch is not complete, and where less than a batch is to come.
        """
        return self._stream.record_intake(n_rows) if self._stream else None

    def shard(self, n_shards: int) -> Self:
        """Return an instance with the same parameters for one of several shards of a stream.

        Each shard is taken by `partial_fit` in a thread, process or machine of its own. All are
        then given to `merge` of this instance, in their order.

        Parameters
        ----------
        n_shards : int
            All together; each keeps its share of the sample.
        """
        return self._part(1 / n_shards)

    def united(self, other: KMeans) -> Self:
        """Return what two shards have seen together, which is a shard of their size.

        Unlike `merge`, it changes neither: what failed halfway may be done again.

        Parameters
        ----------
        other : KMeans
            See `merge`; its rows follow.
        """
        union = self._part(self._share + other._share).set_params(device="cpu")
        return union.merge(copy.deepcopy(self)).merge(copy.deepcopy(other))

    def _fit_elsewhere(self, X: Given, sample_weight: npt.ArrayLike | None) -> Self:
        learnt = collections().learn(self, X, sample_weight)
        self._check_names(X, first=True)
        self._forget()
        self.merge(learnt)
        self.finalize()
        self.labels_ = collections().predict(self._model(), X)
        return self.leave_device()

    def _forget(self) -> None:
        """Begin from scratch."""
        self._stream = None
        for name in ("cluster_centers_", "labels_"):
            if hasattr(self, name):
                delattr(self, name)

    def _part(self, share: float) -> Self:
        """Return an instance that keeps a share of the sample."""
        part = type(self)(**self.get_params())
        part._share = min(share, 1.0)  # noqa: SLF001 - one of us
        return part

    @one_blas_thread
    def flush(self) -> Self:
        """Absorb the rows that are held back until they are a batch: the last one ends here.

        `finalize` and `merge` do so themselves. A shard does it best where it is, before it goes to
        where all are merged.
        """
        if self._stream is not None:
            self._stream.flush()
        return self

    def leave_device(self) -> Self:
        """Take everything back from a GPU: its memory is free for other things then.

        `fit` does so itself. After `finalize` a stream stays there, as more rows may follow.
        """
        if self._stream is not None:
            self._stream.land()
        return self

    @one_blas_thread
    def merge(self, other: KMeans) -> Self:
        """Take what another instance has seen, as if its rows had followed.

        Parameters
        ----------
        other : KMeans
            Of the same number of features and half-life, and of sparse rows where these are. Its
            last batch ends here, complete or not, as does this one's. One that has seen nothing
            changes nothing. It is not to be used any more: beside far larger values, its own may
            have been rounded off.

        Returns
        -------
        KMeans
            Itself; call `finalize` for the centers of the union.
        """
        if other is self:
            raise UserError("a KMeans cannot be merged into itself: its rows would count twice")
        if other._stream is not None and other.n_samples_seen_:
            self._merge_names(other, first=self._stream is None)
            self._begun(other._stream.n_features, sparse=other._stream.sparse).merge(other._stream)
        return self

    def state(self) -> State:
        """Return all that has been learnt of the rows taken so far, to be kept elsewhere.

        Returns
        -------
        State
            Facts that JSON can hold, and arrays: views, which are to be used before anything else
            is done. `onepass.artifact.state_file` writes and reads it.

        Raises
        ------
        UserError
            When no rows have been taken.
        """
        if self._stream is None:
            raise UserError("no rows have been taken: there is no state to be kept")
        facts, arrays = self._stream.state()
        names = getattr(self, "feature_names_in_", None)
        kept = ("n_clusters", "center_factor", "batch_size", "half_life", "reservoir_bytes")
        more = {
            "parameters": {name: getattr(self, name) for name in kept},
            "feature_names": None if names is None else list(names),
        }
        return State(facts | more, arrays)

    @one_blas_thread
    def restore(self, state: State) -> Self:
        """Go on where another instance has left off; what this one has taken is forgotten.

        Parameters
        ----------
        state : State
            From `state`. With the parameters of that instance, all that follows is what would have
            followed there, bit for bit where rows are taken on a processor. With other ones, such
            as another `n_clusters`, what has been learnt is gone on with by these.

        Raises
        ------
        DecodeError
            When it is no state, or a damaged one.
        """
        n_features, share = state.count("n_features"), state.number("share")
        refuse_unless(n_features, "its n_features is 0")
        refuse_unless(0 < share <= 1, f"its share is {share}")
        sparse = bool(state.fact("is_sparse", bool))
        names = state.facts.get("feature_names")
        are_names = isinstance(names, list) and len(names) == n_features
        refuse_unless(names is None or are_names, "its feature_names are not those of its features")
        self._forget()
        self._share = share
        self._begun(n_features, sparse=sparse).restore(state)
        if names is not None:
            self.feature_names_in_ = np.array([str(name) for name in names], object)
        return self

    @one_blas_thread
    def cluster_sizes(self) -> Doubles:
        """Estimate what the rows of each cluster weigh, without reading any again.

        Returns
        -------
        ndarray of shape (n_clusters,), float64
            Of all rows taken, as far as they have not faded; exact as long as all of them are kept.
        """
        centers = self._model().centers
        return weigh_clusters(self._begun(centers.shape[1]).rows_kept(), centers)

    @one_blas_thread
    def rows_kept(self) -> Weighted[Samples]:
        """Return rows that stand for all that have been taken.

        Returns
        -------
        Weighted
            ``rows``, of the kind that was taken, and ``weights``: all rows as long as they are
            kept, else some 20,000 of the sample, moved and weighted so that what the summary knows
            exactly is so.
        """
        return self._begun_already().rows_kept()

    @one_blas_thread
    def sweep(
        self, n_clusters: Iterable[int], deadline: Deadline = NEVER, *, thorough: int | None = None
    ) -> Elbow:
        """Make clusters of several numbers from the rows taken so far, without reading any again.

        Parameters
        ----------
        n_clusters : iterable of int
            ``range(2, 13)``, say. Up to `n_clusters` of this instance they are as good as a model
            of that number alone; beyond, the summary and the sample may be too small for them.
        deadline : Deadline
            See `finalize`.
        thorough : int, optional
            The number of which as many trials are made as `finalize` would make, that of this
            instance by default; of all others, sixteen quick ones (six of few rows), and one from
            each of its neighbours.

        Returns
        -------
        Elbow
            With the msd, which never rises with the number of clusters, the silhouette, the sizes
            and the knee; `choose` makes one of them the model.

        Raises
        ------
        UserError
            When fewer rows have been taken than one of them.

        Examples
        --------
        >>> rows = [[x + y] for x in (0, 100, 200) for y in range(9)]
        >>> KMeans(6).partial_fit(rows).sweep(range(2, 7)).knee.n_clusters
        3
        """
        parameters = self.checked_parameters()
        ks = sorted({operator.index(k) for k in n_clusters})
        if not ks or ks[0] < 1:
            raise UserError(f"n_clusters={ks} must be numbers of 1 at least")
        settings = [self._trial_settings(parameters, k, deadline) for k in ks]
        most = self.n_clusters if thorough is None else thorough
        stream = self._begun_already()
        each = [s if s.n_clusters == most else few_trials(s, stream.n_rows) for s in settings]
        return sweep(stream, each, check_seed(self.random_state))

    def choose(self, point: ElbowPoint, like: Rows | None = None) -> Self:
        """Make clusters that `sweep` has made the model, and their number that of this instance.

        Parameters
        ----------
        point : ElbowPoint
        like : ndarray of shape (n, n_features), float32, optional
            See `finalize`.
        """
        self.n_clusters = point.n_clusters
        self.trial_msds_, self.n_iter_ = point.trial_msds, 1
        centers = point.centers
        if like is not None:
            centers = centers[numbered_like(centers, like)]
        return self._keep(centers, Msd(point.msd, point.msd_error), self._begun_already())

    def begin_with(self, centers: npt.ArrayLike, n_rows: int) -> Self:
        """Go on from final centers of rows of which nothing else is known.

        Parameters
        ----------
        centers : array-like of shape (n_centers, n_features)
        n_rows : int
            How many rows they stand for together: what they weigh beside those that follow. Each
            stands for as many as the others. How far these rows were from them counts as 0 in the
            msd.
        """
        rows = check_weighted(centers, None).rows
        if n_rows < 1 or isinstance(rows, SparseRows) or not len(rows):
            raise UserError(f"n_rows={n_rows} of {len(rows)} centers must be a whole number from 1")
        self._forget()
        self._begun(rows.shape[1]).begin_with(rows, n_rows)
        return self

    @one_blas_thread
    def finalize(self, deadline: Deadline = NEVER, like: Rows | None = None) -> Self:
        """Make the final centers of all rows taken so far.

        More rows may follow, in a new batch: the last one ends here, complete or not.

        Parameters
        ----------
        deadline : Deadline
            When somebody waits: as good as they get until then. It may be set meanwhile.
        like : ndarray of shape (n, n_features), float32, optional
            Former centers, of any number: a cluster goes on under the number of the one that is
            closest to it.

        Returns
        -------
        KMeans
            Itself, with `cluster_centers_` and `inertia_` set.

        Raises
        ------
        UserError
            When fewer rows than clusters have been taken.
        """
        parameters = self.checked_parameters()
        settings = self._trial_settings(parameters, parameters.n_clusters, deadline)
        stream = self._begun_already()
        finished = stream.finish(settings)
        self.trial_msds_ = finished.trial_msds
        self.n_iter_ = 1
        centers = finished.centers
        if like is not None:
            centers = centers[numbered_like(centers, like)]
        return self._adopt(centers, stream)

    def _trial_settings(
        self, parameters: Parameters, n_clusters: int, deadline: Deadline
    ) -> TrialSettings:
        stream = self._stream
        if stream is None or stream.n_rows < n_clusters:
            raise UserError(
                f"{self.n_samples_seen_} rows of a weight above zero cannot make "
                f"n_clusters={n_clusters} clusters"
            )
        n_trials = replace(parameters, n_clusters=n_clusters).n_trials(
            stream.n_rows_in_time, stream.n_features, stream.n_values_a_row
        )
        how = parameters.local_init, n_trials, parameters.max_iter, parameters.tol
        return TrialSettings(n_clusters, *how, available_cpus(), deadline)

    def _begun_already(self) -> ScaledStream:
        if self._stream is None:
            raise UserError("no rows have been taken yet")
        return self._stream

    @one_blas_thread
    def resume_with(self, centers: Rows, n_iter: int) -> Self:
        """Have the final centers that another instance has made of the same rows.

        Parameters
        ----------
        centers : ndarray of shape (n_clusters, n_features), float32
        n_iter : int
            Passes that were made for them.
        """
        if self._stream is None:
            raise UserError("no rows have been taken: there is nothing to be gone on with")
        self._adopt(centers, self._stream)
        self.n_iter_ = n_iter
        return self

    @one_blas_thread
    def refine(self, batches: Iterable[Batch]) -> float:
        """Make one exact step of Lloyd's algorithm over all the data: a further epoch.

        Parameters
        ----------
        batches : iterable of array-like of shape (n, n_features), or of tuples
            All rows once more. A tuple holds rows and their weights, which are array-like of shape
            (n,); rows without weights count once each, however they were weighted before.

        Returns
        -------
        float
            The exact mean squared distance of the rows to the centers as they were before; that of
            the centers after the step is not larger.
        """
        return self.take_step([sum_shard(self._model(), map(self._weighted, batches))])

    @one_blas_thread
    def take_step(self, steps: Sequence[LloydStep]) -> float:
        """Make the step of `refine` from the parts that shards have summed.

        Parameters
        ----------
        steps : sequence of LloydStep
            From `onepass.cluster.epoch.sum_shard` with the model of this instance.

        Returns
        -------
        float
            As `refine`.
        """
        centers = self._model().centers
        refined = take_step(centers, steps)
        self._adopt(refined.centers, self._begun(centers.shape[1]))
        self.n_moved_ = refined.n_moved
        self.n_iter_ += 1
        return refined.msd_before

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
        return self._stream.n_centers if self._stream else 0

    @property
    def short_term_msd_(self) -> float:
        """Mean squared distance of the latest rows to the centers that absorbed them."""
        return self._stream.short_term_msd if self._stream else 0.0

    @property
    def n_opened_(self) -> int:
        """Rows that were far enough from all centers of the summary to become one."""
        return self._stream.n_opened if self._stream else 0

    @property
    def long_term_msd_(self) -> float:
        """Mean squared distance of all rows to the centers that absorbed them."""
        return self._stream.long_term_msd if self._stream else 0.0

    def checked_parameters(self) -> Parameters:
        """Return the parameters, refused where they are not what is accepted."""
        given = {field.name: getattr(self, field.name) for field in fields(Parameters)}
        return Parameters(**given)

    def _begun_with(self, first: Samples) -> ScaledStream:
        return self._begun(first.shape[1], sparse=isinstance(first, SparseRows))

    def _begun(self, n_features: int, *, sparse: bool = False) -> ScaledStream:
        """Return the stream, a new one if none has begun."""
        if self._stream is None:
            parameters = self.checked_parameters()
            if parameters.device.startswith("gpu"):
                find_gpu_for(
                    parameters, n_features
                )  # now, and not when there is enough to do for it
            self._stream = ScaledStream(
                parameters,
                n_features,
                check_seed(self.random_state),
                share=self._share,
                sparse=sparse,
            )
            self.n_features_in_ = n_features
        return self._stream

    def _weighted(self, batch: Batch) -> WeightedSamples:
        """Check one batch of `refine`."""
        X, sample_weight = as_pair(batch)
        self._check_names(X)
        return check_weighted(X, sample_weight, self.n_features_in_)

    def _adopt(self, centers: Rows, stream: ScaledStream) -> Self:
        """Make `centers` the result, and measure them."""
        return self._keep(centers, stream.measure(centers), stream)

    def _keep(self, centers: Rows, msd: Msd, stream: ScaledStream) -> Self:
        self.cluster_centers_ = centers
        self.msd_, self.msd_error_ = msd
        if hasattr(self, "labels_"):
            del self.labels_
        self.inertia_ = self.msd_ * stream.total_weight
        return self
