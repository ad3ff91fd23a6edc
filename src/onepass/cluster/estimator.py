"""What a clusterer answers once it has centers, by the conventions of scikit-learn.

Pipelines, searches over parameters, `clone` and the checks of `sklearn.utils.estimator_checks` need
no common base class, only these methods. scikit-learn is imported in one of them, which nobody but
scikit-learn calls; the rest of Onepass does not know of it.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Floats, Labels, Rows
from onepass.cluster.batches import Given
from onepass.cluster.elsewhere import collections, is_elsewhere
from onepass.cluster.feature_names import Names, compare_names, names_of, refuse_other_names
from onepass.cluster.model import KMeansModel
from onepass.cluster.workers import one_blas_thread
from onepass.errors import NotFittedError, UserError


class Estimator(ABC):
    """A clusterer that takes part in scikit-learn's pipelines and searches.

    Its parameters are those that the ``__init__`` of its class names, each kept unchecked in an
    attribute of the same name.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), float32
        What makes it fitted.
    labels_ : ndarray of shape (n_samples,), int32
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,), object
        Only where the first data came as a data frame whose columns are all named by texts.
    """

    cluster_centers_: Rows
    labels_: Labels
    n_features_in_: int
    feature_names_in_: Names

    @abstractmethod
    def fit(self, X: Given, y: object = None, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Cluster `X` from scratch."""

    @one_blas_thread
    def predict(self, X: Given) -> Labels:
        """Return the index of the closest center of each row, shape (n_samples,).

        Of a collection of Dask, another one, made when it is asked for; so does `transform`.
        """
        model = self._model()
        self._check_names(X)
        if is_elsewhere(X):
            found: Labels = collections().predict(model, X)
            return found
        return model.predict(X)

    @one_blas_thread
    def transform(self, X: Given) -> Floats:
        """Return the Euclidean distance of each row to each center, (n_samples, n_clusters)."""
        model = self._model()
        self._check_names(X)
        if is_elsewhere(X):
            table: Floats = collections().transform(model, X)
            return table
        return model.distances(X)

    @one_blas_thread
    def score(
        self, X: Given, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return minus the inertia: the weighted sum of squared distances of `X`, negated.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
        """
        del y
        model = self._model()
        self._check_names(X)
        if is_elsewhere(X):
            return -float(collections().inertia(model, X, sample_weight))
        return -model.inertia(X, sample_weight)

    def fit_predict(
        self, X: Given, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> Labels:
        """Cluster `X` and return the cluster of each row, shape (n_samples,)."""
        return self.fit(X, y, sample_weight).labels_

    def fit_transform(
        self, X: Given, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> Floats:
        """Cluster `X` and return the distance of each row to each center."""
        return self.fit(X, y, sample_weight).transform(X)

    def get_feature_names_out(self, input_features: npt.ArrayLike | None = None) -> Names:
        """Name the columns that `transform` returns: "kmeans0", "kmeans1" and so on.

        Parameters
        ----------
        input_features : array-like of str, shape (n_features,), optional
            Changes nothing; refused unless it is `feature_names_in_`, where there is one.
        """
        n_clusters = self._model().n_clusters
        if input_features is not None:
            self._check_input_features(np.asarray(input_features, object))
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{j}" for j in range(n_clusters)], object)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` changes nothing, as none is an estimator."""
        del deep
        named = inspect.signature(type(self)).parameters.values()
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {p.name: getattr(self, p.name) for p in named if p.kind not in variable}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name; the next fit checks their values.

        Raises
        ------
        UserError
            When there is no parameter of a name; then none is set.
        """
        known = [*self.get_params()]
        for name in parameters:
            if name not in known:
                raise UserError(f"{type(self).__name__} has no parameter {name!r}; it has {known}")
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({shown})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "cluster_centers_")

    def __sklearn_tags__(self) -> object:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="clusterer",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(sparse=True),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
        )

    def _model(self) -> KMeansModel:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted("there are no centers yet: call fit, or partial_fit and finalize")
        return KMeansModel(self.cluster_centers_)

    def _check_names(self, X: object, *, first: bool = False) -> None:
        """Take the names of the first features; compare those of all others with them."""
        names = names_of(X)
        if not first:
            compare_names(getattr(self, "feature_names_in_", None), names, type(self).__name__)
        elif names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _merge_names(self, other: Estimator, *, first: bool) -> None:
        """Take the names of another's features; refuse others than are known."""
        known, names = (getattr(one, "feature_names_in_", None) for one in (self, other))
        if known is not None and names is not None:
            refuse_other_names(known, names)
        elif names is not None and first:
            self.feature_names_in_ = names

    def _check_input_features(self, given: Names) -> None:
        if given.shape != (self.n_features_in_,):
            raise UserError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got shape {given.shape}"
            )
        if hasattr(self, "feature_names_in_") and given.tolist() != self.feature_names_in_.tolist():
            raise UserError(
                "input_features is not equal to feature_names_in_: "
                f"got {given.tolist()}, expected {self.feature_names_in_.tolist()}"
            )


def _not_fitted(message: str) -> NotFittedError:
    """Return our error, which is scikit-learn's as well where scikit-learn has been imported.

    Its meta-estimators and its users catch `sklearn.exceptions.NotFittedError`; ours alone would
    pass them by. Without scikit-learn nobody can name that class.
    """
    theirs = sys.modules.get("sklearn.exceptions")
    kind = NotFittedError if theirs is None else _also(theirs.NotFittedError)
    return kind(message)


@cache
def _also(theirs: type[Exception]) -> type[NotFittedError]:
    """Derive a class from our error and from theirs, once."""
    members = {
        "__doc__": NotFittedError.__doc__,
        "__module__": __name__,
        "__reduce__": lambda error: (_not_fitted, error.args),  # so that processes may pass it on
    }
    return cast("type[NotFittedError]", type("NotFittedError", (NotFittedError, theirs), members))
