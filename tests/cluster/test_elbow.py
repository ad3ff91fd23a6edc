"""Clusters of many numbers from one pass."""

import math

import numpy as np
import pytest
from scipy import sparse

from onepass import KMeans, KMeansModel
from onepass.cluster.core_set import Msd
from onepass.cluster.elbow import Elbow, ElbowPoint
from onepass.errors import UserError

sklearn = pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def rows():
    """40,000 rows around seven places, two of them close to one another."""
    rng = np.random.default_rng(5)
    places = rng.normal(0, 5, (7, 6))
    places[1] = places[0] + 1
    return (places[rng.integers(0, 7, 40_000)] + rng.normal(size=(40_000, 6))).astype(np.float32)


@pytest.fixture(scope="module")
def taken(rows):
    """Of all rows a part is kept: the msd is an estimate."""
    return KMeans(12, reservoir_bytes=300_000, random_state=3).partial_fit(rows)


@pytest.fixture(scope="module")
def elbow(taken):
    return taken.sweep(range(2, 13))


def test_each_is_as_good_as_many_fits_of_its_own(elbow, rows):
    from sklearn.cluster import KMeans as Peer

    for point in elbow:
        msd = KMeansModel(point.centers).inertia(rows) / len(rows)
        peer = Peer(point.n_clusters, n_init=3, random_state=0).fit(rows)
        assert msd <= 1.01 * peer.inertia_ / len(rows)
        assert point.msd == pytest.approx(msd, abs=5 * point.msd_error + 1e-9)


def test_the_msd_never_rises(elbow):
    msds = [elbow.total.value, *(point.msd for point in elbow)]
    assert msds == sorted(msds, reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_it_never_rises_where_there_is_nothing_to_be_found(seed):
    rows = np.random.default_rng(seed).normal(size=(9000, 8)).astype(np.float32)
    kmeans = KMeans(30, reservoir_bytes=120_000, n_init=1, random_state=seed).partial_fit(rows)
    msds = [point.msd for point in kmeans.sweep(range(1, 31))]
    assert msds == sorted(msds, reverse=True)


def test_where_trials_find_less_the_centers_before_are_gone_on_with(monkeypatch, rows):
    """Every trial of more than four clusters ends in centers that are all far from the rows."""
    from onepass.cluster import finish

    made = finish.from_neighbours

    def misled(found):
        return [
            one
            if one.settings.n_clusters < 5
            else one._replace(
                trials=one.trials._replace(
                    best=[one.trials.best[0]._replace(centers=one.trials.best[0].centers + 1e3)]
                )
            )
            for one in made(found)
        ]

    monkeypatch.setattr(finish, "from_neighbours", misled)
    kmeans = KMeans(8, max_iter=1, random_state=3).partial_fit(rows[:3000])
    msds = [point.msd for point in kmeans.sweep(range(2, 9))]
    assert msds == sorted(msds, reverse=True)
    assert msds[-1] < msds[2]


def test_the_knee_is_told(elbow):
    assert elbow.knee.n_clusters in (6, 7)
    point, reason = elbow.recommended()
    assert point.n_clusters == elbow.knee.n_clusters
    assert reason == elbow.knee.reason


def test_without_a_knee_the_best_silhouette_is_recommended():
    def point(k, silhouette):
        return ElbowPoint(
            np.zeros((k, 1), np.float32), 1 / k, 0.0, silhouette, np.ones(k), (1.0,), 0
        )

    points = [point(2, None), point(3, 0.2), point(4, 0.4), point(5, 0.3)]
    recommended, reason = Elbow(points, Msd(1.0, 0.0)).recommended()
    assert recommended.n_clusters == 4
    assert "the silhouette is best at k=4" in reason


@pytest.mark.parametrize("k", [2, 5, 9])
def test_the_silhouette_is_that_of_sklearn(rows, k):
    """All 900 rows are looked at, so that nothing is drawn."""
    from sklearn.metrics import silhouette_score

    few = rows[:900]
    point = KMeans(k).partial_fit(few).sweep([k])[k]
    labels = KMeansModel(point.centers).assign(few).labels
    assert point.silhouette == pytest.approx(silhouette_score(few, labels), abs=1e-4)


def test_one_cluster_has_no_silhouette(rows):
    elbow = KMeans(3).partial_fit(rows[:900]).sweep([1, 3])
    assert [point.n_clusters for point in elbow] == [1, 3]
    assert elbow[1].silhouette is None
    assert elbow[1].msd == pytest.approx(rows[:900].var(axis=0).sum(), rel=1e-4)


def test_sizes_and_the_spread_of_trials(elbow, rows):
    for point in elbow:
        assert point.sizes.sum() == pytest.approx(len(rows))
        assert len(point.sizes) == point.n_clusters
        assert point.spread == pytest.approx(np.std(point.trial_msds) / np.mean(point.trial_msds))
        assert point.seconds > 0


def test_the_same_seed_makes_the_same(taken, elbow):
    for one, other in zip(elbow, taken.sweep(range(2, 13)), strict=True):
        np.testing.assert_array_equal(one.centers, other.centers)
        np.testing.assert_array_equal(one.sizes, other.sizes)
        assert (one.msd, one.silhouette, one.trial_msds) == (
            other.msd,
            other.silhouette,
            other.trial_msds,
        )


def test_one_of_them_becomes_the_model(rows):
    kmeans = KMeans(8).partial_fit(rows[:2000])
    elbow = kmeans.sweep([3, 8])
    kmeans.choose(elbow[3])
    assert kmeans.n_clusters == 3
    np.testing.assert_array_equal(kmeans.cluster_centers_, elbow[3].centers)
    assert kmeans.msd_ == elbow[3].msd
    assert -kmeans.score(rows[:2000]) / 2000 == pytest.approx(kmeans.msd_)
    kmeans.partial_fit(rows[2000:]).finalize()
    assert kmeans.cluster_centers_.shape == (3, 6)


def test_the_number_that_is_the_models_is_made_as_finalize_makes_it(rows):
    kmeans = KMeans(5, random_state=2).partial_fit(rows)
    alone = kmeans.finalize().cluster_centers_
    np.testing.assert_array_equal(kmeans.sweep([2, 5])[5].centers, alone)


def test_sparse_rows(rows):
    few = np.where(rows[:4000] > 2, rows[:4000], 0)
    dense = KMeans(6).partial_fit(few).sweep(range(2, 7))
    thin = KMeans(6).partial_fit(sparse.csr_array(few)).sweep(range(2, 7))
    for one, other in zip(dense, thin, strict=True):
        assert other.msd == pytest.approx(one.msd, rel=0.02)
        assert math.isclose(one.silhouette, other.silhouette, abs_tol=0.1)


def test_a_state_is_enough(taken, elbow):
    again = KMeans(12, reservoir_bytes=300_000, random_state=3).restore(taken.state())
    for one, other in zip(elbow, again.sweep(range(2, 13)), strict=True):
        np.testing.assert_array_equal(one.centers, other.centers)


def test_in_a_notebook_it_is_a_table(elbow):
    html = elbow._repr_html_()
    assert html.count("<tr") == 12
    assert repr(elbow) == f"Elbow(k=2 to 12, knee={elbow.knee.n_clusters})"
    with pytest.raises(KeyError):
        elbow[99]
    assert len(elbow) == 11


@pytest.mark.parametrize(
    ("ks", "message"),
    [([], "must be numbers of 1 at least"), ([0, 2], "1 at least"), ([2, 99], "n_clusters=99")],
)
def test_what_cannot_be_made_is_refused(rows, ks, message):
    with pytest.raises(UserError, match=message):
        KMeans(3).partial_fit(rows[:50]).sweep(ks)


def test_before_any_row():
    with pytest.raises(UserError, match="0 rows"):
        KMeans(3).sweep([2])
    with pytest.raises(UserError, match="no rows have been taken"):
        KMeans(3).rows_kept()


def test_rows_kept_stand_for_all(taken, rows):
    kept, weights = taken.rows_kept()
    assert len(kept) < len(rows)
    assert weights.sum() == pytest.approx(len(rows))
    np.testing.assert_allclose(
        np.average(kept, axis=0, weights=weights), rows.mean(axis=0), atol=0.01
    )
