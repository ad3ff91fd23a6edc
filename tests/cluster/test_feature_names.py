"""Names of features: taken from the first data frame, compared with those of all others."""

import re
from functools import partial

import numpy as np
import pytest

from onepass import KMeans
from onepass.errors import DataTypeError, UserError

ROWS = np.random.default_rng(0).normal(size=(300, 2))


class Frame:
    """What every library's data frame has: columns with names, and a way to become an array."""

    def __init__(self, columns, rows):
        self.columns = columns
        self._rows = np.asarray(rows)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._rows, dtype, copy=copy)


def test_names_of_features_are_those_of_the_first_frame():
    kmeans = KMeans(3).fit(Frame(["a", "b"], ROWS))
    assert kmeans.feature_names_in_.tolist() == ["a", "b"]
    assert np.array_equal(kmeans.predict(Frame(["a", "b"], ROWS)), kmeans.labels_)
    assert not hasattr(kmeans.fit(ROWS), "feature_names_in_")
    assert not hasattr(kmeans.fit(Frame([0, 1], ROWS)), "feature_names_in_")


@pytest.mark.parametrize(
    ("columns", "difference"),
    [
        (["b", "a"], "Feature names must be in the same order as they were in fit."),
        (["a", "c"], "unseen at fit time:\n- c\n.*yet now missing:\n- b"),
        ([*"cdefgh"], "unseen at fit time:\n- c\n- d\n- e\n- f\n- g\n- \\.\\.\\.\n"),
    ],
)
def test_features_of_other_names_are_refused(columns, difference):
    other = Frame(columns, np.ones((300, len(columns))))
    kmeans = KMeans(3).partial_fit(Frame(["a", "b"], ROWS)).finalize()
    renamed = KMeans(3).partial_fit(other)
    refine = partial(KMeans.refine, kmeans)
    for refused in (kmeans.partial_fit, kmeans.predict, kmeans.transform, kmeans.score):
        with pytest.raises(UserError, match=re.compile(difference, re.DOTALL)):
            refused(other)
    for method, argument in ((kmeans.merge, renamed), (refine, [other])):
        with pytest.raises(UserError, match=re.compile(difference, re.DOTALL)):
            method(argument)


def test_names_on_one_side_only_are_worth_a_warning():
    named, plain = KMeans(3).fit(Frame(["a", "b"], ROWS)), KMeans(3).fit(ROWS)
    with pytest.warns(UserWarning, match="KMeans was fitted with feature names") as found:
        named.predict(ROWS)
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="KMeans was fitted without feature names"):
        plain.score(Frame(["a", "b"], ROWS))


def test_merging_hands_on_the_names_of_features():
    shard = KMeans(2).partial_fit(Frame(["a", "b"], ROWS))
    assert KMeans(2).merge(shard).feature_names_in_.tolist() == ["a", "b"]
    unnamed = KMeans(2).partial_fit(ROWS).merge(shard)
    assert not hasattr(unnamed, "feature_names_in_")


def test_a_frame_names_all_columns_by_texts_or_none():
    with pytest.raises(DataTypeError, match="a column named 1 beside columns named by texts"):
        KMeans(1).fit(Frame(["a", 1], ROWS))


def test_names_of_features_that_are_not_the_fitted_ones_are_refused():
    kmeans = KMeans(3).fit(Frame(["a", "b"], ROWS))
    with pytest.raises(UserError, match=r"length equal to number of features \(2\), got shape"):
        kmeans.get_feature_names_out(["a"])
    with pytest.raises(UserError, match=r"is not equal to feature_names_in_: got .*'c'"):
        kmeans.get_feature_names_out(["a", "c"])
    assert kmeans.get_feature_names_out(["a", "b"]).tolist() == ["kmeans0", "kmeans1", "kmeans2"]
