"""KMeans among scikit-learn's estimators, and without scikit-learn."""

import copy
import pickle
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest

from onepass import KMeans
from onepass.errors import NotFittedError, UserError

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin, clone, is_clusterer
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError as TheirNotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, shuffle
from sklearn.utils.validation import check_is_fitted

STREAMING = {"n_clusters": 3, "center_factor": 2, "batch_size": 10, "reservoir_bytes": 1}


def do_not_apply(kmeans):
    """Say which checks fail, and why; one that passes after all fails the test."""
    if kmeans.reservoir_bytes == 1:
        reason = (
            "the summary depends on the cut into batches of so many rows each, and repeated rows "
            "are cut elsewhere than weighted ones"
        )
    else:
        reason = (
            "weighted and repeated rows give the same clusters, as a test below shows; their "
            "numbers follow from the random starts, which are drawn among as many rows as there are"
        )
    return {
        f"check_sample_weight_equivalence_on_{kind}_data": reason for kind in ("dense", "sparse")
    }


def with_checks(*estimators):
    """Parametrise with the checks; that we have no base class of scikit-learn is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Estimator KMeans does not inherit from")
        mark = estimator_checks.parametrize_with_checks(
            estimators, expected_failed_checks=do_not_apply
        )
        names, checks = mark.args
        return pytest.mark.parametrize(names, [*checks], **mark.kwargs)  # 1.7 has a generator


@with_checks(KMeans(), KMeans(**STREAMING))
def test_scikit_learns_checks_of_estimators_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_clusterer_compute_labels_predict,
        estimator_checks.check_clustering,
        partial(estimator_checks.check_clustering, readonly_memmap=True),
        estimator_checks.check_estimators_partial_fit_n_features,
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_transformer_get_feature_names_out_pandas,
        estimator_checks.check_dataframe_column_names_consistency,
    ],
)
def test_checks_that_scikit_learn_runs_for_its_own_classes_only_pass(check):
    check("KMeans", KMeans())


def blobs(n=300, seed=0):
    X, _ = make_blobs(n, centers=[[0, 0], [9, 0], [0, 9]], random_state=seed)
    return X


def by_place(centers):
    """Centers in an order that does not depend on their numbers."""
    return centers[np.lexsort(centers.T)]


def weighted_and_repeated():
    rng = np.random.default_rng(42)
    X, weights = rng.random((15, 30)), rng.integers(0, 5, 15)
    return *shuffle(X, weights, random_state=0), X.repeat(weights, axis=0)


@pytest.mark.parametrize("k", [1, 2, 3, 8])
def test_weights_are_repetition_but_for_the_numbers_of_the_clusters(k):
    X, weights, repeated = weighted_and_repeated()
    one, two = KMeans(k).fit(X, sample_weight=weights), KMeans(k).fit(repeated)
    assert one.inertia_ == pytest.approx(two.inertia_, rel=1e-6)
    centers = [by_place(kmeans.cluster_centers_) for kmeans in (one, two)]
    np.testing.assert_allclose(*centers, rtol=1e-5)


def test_rows_of_weight_zero_are_rows_that_are_not_there():
    X, weights, _ = weighted_and_repeated()
    there = weights > 0
    one = KMeans(3).fit(X, sample_weight=weights)
    two = KMeans(3).fit(X[there], sample_weight=weights[there])
    assert np.array_equal(one.cluster_centers_, two.cluster_centers_)
    assert np.array_equal(one.labels_[there], two.labels_)


def test_a_search_over_a_pipeline_finds_the_number_of_clusters_of_the_best_score():
    X = blobs()
    pipeline = Pipeline([("scale", StandardScaler()), ("kmeans", KMeans())])
    search = GridSearchCV(pipeline, {"kmeans__n_clusters": [1, 2, 3]}, cv=3).fit(X)
    assert search.best_params_ == {"kmeans__n_clusters": 3}
    best = search.best_estimator_
    expected = best["kmeans"].predict(best["scale"].transform(X))
    assert np.array_equal(search.predict(X), expected)
    assert search.transform(X).shape == (300, 3)


def test_weights_reach_the_last_step_of_a_pipeline():
    X = [[0.0], [1.0], [5.0]]
    pipeline = make_pipeline(KMeans(1)).fit(X, kmeans__sample_weight=[1, 1, 0])
    assert pipeline[-1].cluster_centers_.tolist() == [[0.5]]
    assert pipeline.get_feature_names_out().tolist() == ["kmeans0"]
    assert is_clusterer(pipeline)


def test_cross_validation_scores_each_fold_by_what_it_was_not_fitted_on():
    X = blobs(30)
    scores = cross_val_score(KMeans(3), X, cv=2)
    expected = KMeans(3).fit(X[15:]).score(X[:15])
    assert scores[0] == expected < 0


def test_the_score_is_minus_the_inertia_as_that_of_scikit_learn():
    X = blobs()
    kmeans, reference = KMeans(3).fit(X), Reference(3, n_init=10, random_state=0).fit(X)
    assert kmeans.score(X) == pytest.approx(-kmeans.inertia_)
    assert kmeans.score(X) == pytest.approx(reference.score(X), rel=1e-5)
    pair = KMeans(1).fit([[0.0], [2.0]])
    assert pair.score([[0.0], [3.0]]) == -5
    assert pair.score([[0.0], [3.0]], sample_weight=[2, 0.5]) == -4


def test_fitting_and_transforming_at_once_is_one_after_the_other():
    X = blobs()
    assert np.array_equal(KMeans(3).fit_transform(X), KMeans(3).fit(X).transform(X))
    X, weights = [[0.0], [4.0]], [3, 1]
    assert KMeans(1).fit_transform(X, sample_weight=weights).tolist() == [[1], [3]]


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_a_generator_of_random_numbers_draws_the_seed(make):
    X = np.random.default_rng(0).normal(size=(500, 3))
    fitted = [KMeans(20, random_state=make(seed)).fit(X) for seed in (1, 1, 2)]
    one, same, other = (kmeans.cluster_centers_ for kmeans in fitted)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    again = copy.deepcopy(one)
    assert not np.array_equal(fitted[0].fit(X).cluster_centers_, again)
    assert not np.array_equal(clone(fitted[1]).fit(X).cluster_centers_, again)


def test_what_is_no_seed_is_refused_with_all_that_is():
    accepted = "None or a whole number from 0, or a RandomState or Generator of numpy.random"
    with pytest.raises(UserError, match=f"random_state='today': .* must be {accepted}"):
        KMeans(1, random_state="today").fit([[0.0]])


class Named(KMeans):
    def __init__(self, n_clusters=2, *, label="a", **others):
        super().__init__(n_clusters, **others)
        self.label = label


def test_a_subclass_has_the_parameters_of_its_own_constructor():
    named = clone(Named(3, label="b"))
    assert named.get_params() == {"n_clusters": 3, "label": "b"}
    assert repr(named) == "Named(n_clusters=3, label='b')"
    assert named.fit(blobs()).get_feature_names_out().tolist() == ["named0", "named1", "named2"]
    with pytest.raises(UserError, match="Named has no parameter 'tol'"):
        named.set_params(label="c", tol=0)
    assert named.label == "b"


class Mixed(ClusterMixin, TransformerMixin, KMeans, BaseEstimator):
    pass


def test_a_subclass_may_inherit_from_scikit_learn_as_well():
    X = blobs()
    mixed = clone(Mixed(n_clusters=3))
    assert np.array_equal(mixed.fit_predict(X), KMeans(3).fit_predict(X))
    assert is_clusterer(mixed)


def test_a_pickled_stream_goes_on_where_it_was():
    X = blobs(3000)
    kmeans = KMeans(**STREAMING).partial_fit(X[:1995])
    restored = pickle.loads(pickle.dumps(kmeans))  # noqa: S301 - users may, we never do
    one, two = (k.partial_fit(X[1995:]).finalize().cluster_centers_ for k in (kmeans, restored))
    assert np.array_equal(one, two)


def test_passes_over_the_data_are_counted():
    X = blobs()
    kmeans = KMeans(3).fit(X)
    assert kmeans.n_iter_ == 1
    kmeans.refine([X])
    kmeans.refine([X])
    assert kmeans.n_iter_ == 3
    assert kmeans.fit(X).n_iter_ == 1


def test_it_is_fitted_when_it_has_centers():
    kmeans = KMeans(2).partial_fit([[0.0], [1.0]])
    with pytest.raises(TheirNotFittedError):
        check_is_fitted(kmeans)
    check_is_fitted(kmeans.finalize())


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_without_centers_the_error_is_ours_and_theirs(method):
    with pytest.raises(NotFittedError, match="call fit, or partial_fit and finalize") as ours:
        getattr(KMeans(), method)([[0.0]])
    assert isinstance(ours.value, TheirNotFittedError)
    copied = pickle.loads(pickle.dumps(ours.value))  # noqa: S301 - as parallel searches do
    assert (type(copied), copied.args) == (type(ours.value), ours.value.args)


def test_without_scikit_learn_everything_else_is_there():
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None  # an import of it fails\n"
        "from onepass import KMeans\n"
        "from onepass.errors import NotFittedError\n"
        "kmeans = KMeans(1)\n"
        "try:\n    kmeans.predict([[0.0]])\n"
        "except NotFittedError as error:\n    assert type(error) is NotFittedError\n"
        "kmeans.set_params(tol=0.5).fit([[0.0], [2.0]])\n"
        "print(kmeans.score([[1.0]]), kmeans.get_feature_names_out(), kmeans.get_params()['tol'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("-0.0 ['kmeans0'] 0.5\n", "")


def test_fitting_does_not_import_scikit_learn():
    code = (
        "import sys\n"
        "from onepass import KMeans\n"
        "kmeans = KMeans(1).fit([[0.0]])\n"
        "print(kmeans, kmeans.predict([[0.0]]), 'sklearn' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" [0] False\n")
