"""KMeans learns from what Dask holds, or would make."""

from __future__ import annotations

import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

from onepass import KMeans
from onepass.errors import UserError


def mixture(n, d=4, seed=0):
    rng = np.random.default_rng([n, d, seed])
    means = rng.normal(0, 8, (6, d))
    return (means[rng.integers(6, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.fixture(params=["threads", "synchronous", "cluster"])
def scheduler(request):
    """What Dask computes with."""
    if request.param != "cluster":
        with dask.config.set(scheduler=request.param):
            yield request.param
        return
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with LocalCluster(dashboard_address=":0", **options) as cluster, Client(cluster):
        yield request.param


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize("chunks", [(3000, 4), (7000, 2), (30_000, 4)])
def test_an_array_is_learnt_from(chunks):
    rows = mixture(30_000)
    X = da.from_array(rows, chunks=chunks)
    ours, theirs = KMeans(6).fit(X), KMeans(6).fit(rows)
    assert ours.n_samples_seen_ == 30_000
    assert ours.msd_ == pytest.approx(theirs.msd_, rel=0.01)
    exact = ((rows[:, None] - ours.cluster_centers_.astype(float)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(ours.labels_.compute(), exact.argmin(axis=1))
    np.testing.assert_array_equal(ours.predict(X[:100]).compute(), exact[:100].argmin(axis=1))
    np.testing.assert_allclose(ours.transform(X).compute(), np.sqrt(exact), rtol=1e-4)
    assert ours.score(X) == pytest.approx(-exact.min(axis=1).sum(), rel=1e-5)
    assert isinstance(ours.fit_predict(X), da.Array)


def test_the_same_blocks_give_the_same_centers():
    X = da.from_array(mixture(20_000), chunks=(1000, 4))
    first, second = (KMeans(6).fit(X).cluster_centers_ for _ in "ab")
    np.testing.assert_array_equal(first, second)


def test_weights_count():
    rows = mixture(6000)
    weights = np.zeros(6000)
    weights[:2000] = 2
    X = da.from_array(rows, chunks=(1500, 4))
    for given in (weights, da.from_array(weights, chunks=500)):
        ours = KMeans(3).fit(X, sample_weight=given)
        assert ours.n_samples_seen_ == 2000
        assert ours.score(X, sample_weight=given) == pytest.approx(-ours.inertia_, rel=1e-5)
    with pytest.raises(UserError, match=r"sample_weight has shape \(5,\), X has 6000 rows"):
        KMeans(3).fit(X, sample_weight=np.ones(5))


def test_a_data_frame_is_learnt_from_and_its_names_are_kept():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    dd = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    frame = pd.DataFrame(mixture(5000, 3), columns=["a", "b", "c"])
    ours = KMeans(6).fit(dd.from_pandas(frame, npartitions=4))
    assert ours.n_samples_seen_ == 5000
    assert list(ours.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(ours.labels_.compute(), ours.predict(frame))


def test_what_is_no_table_is_refused():
    with pytest.raises(UserError, match=r"is no table of rows: a dask\.array of two axes is"):
        KMeans(2).fit(da.ones(10))
    with pytest.raises(UserError, match="a Delayed of Dask is no table of rows"):
        KMeans(2).fit(dask.delayed(np.ones)((3, 3)))


def test_errors_of_blocks_are_ours():
    X = da.from_array(mixture(100), chunks=(50, 4))
    with pytest.raises(UserError, match="NaN"):
        KMeans(2).fit(da.where(X > 3, np.nan, X))
    with pytest.raises(UserError, match="100 rows of a weight above zero cannot make"):
        KMeans(101).fit(X)


def test_without_dask_it_is_named():
    code = (
        "import sys, onepass\n"
        "class Rows:\n    def __dask_graph__(self): pass\n"
        "sys.modules['dask'] = None\n"
        "try:\n    onepass.KMeans(2).fit(Rows())\n"
        "except onepass.errors.UserError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rows of Dask need the package dask")
    assert "install onepass-kmeans[hosts]" in done.stdout


def test_dask_is_not_loaded_for_other_rows():
    code = (
        "import sys, numpy, onepass\n"
        "onepass.KMeans(2).fit(numpy.eye(9)).predict(numpy.eye(9))\n"
        "print([name for name in sys.modules if 'dask' in name or name == 'distributed'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
