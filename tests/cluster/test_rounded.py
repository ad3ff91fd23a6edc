"""A search that looks at rounded centers first finds the closest ones, whatever rounding loses."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.cluster.kernels import compiled, cpu, native, rounded
from onepass.cluster.kernels.prepared import PreparedCenters
from onepass.cluster.kernels.results import doubt_of
from onepass.cluster.pivots import Pivots

ROUNDS = rounded.rounds(1000, 100)
needs_rounding = pytest.mark.skipif(
    not ROUNDS, reason="this processor does not add up products of bytes, or C was not compiled"
)


def drawn(kind, n, k, d, seed=0):
    """Rows and centers of which rounding loses little, much, or what tells them apart."""
    rng = np.random.default_rng([n, k, d, seed])
    centers = rng.normal(size=(k, d))
    rows = {
        "noise": lambda: rng.normal(size=(n, d)),
        "near": lambda: 9 * centers[rng.integers(k, size=n)] + rng.normal(size=(n, d)),
        "between": lambda: (
            (centers[rng.integers(k, size=n)] + centers[rng.integers(k, size=n)]) / 2
        ),
        "on": lambda: centers[rng.integers(k, size=n)],
        "far": lambda: rng.normal(size=(n, d)) * 1000,
        "heavy": lambda: rng.standard_cauchy((n, d)),
        "blobs": lambda: rng.normal(size=(n, d)) + 1000 * rng.integers(2, size=(n, 1)),
        "off": lambda: rng.normal(size=(n, d)) + 1e6,
    }[kind]()
    if kind == "near":
        centers = 9 * centers
    elif kind == "heavy":
        centers = rng.standard_cauchy((k, d))
    elif kind == "blobs":
        centers = centers + 1000 * rng.integers(2, size=(k, 1))
    elif kind == "off":
        centers = centers + 1e6
    return rows.astype(np.float32), centers.astype(np.float32)


KINDS = ["noise", "near", "between", "on", "far", "heavy", "blobs", "off"]


def sq_distances(rows, centers):
    given, among = rows.astype(np.float64), centers.astype(np.float64)
    return np.stack([((among - row) ** 2).sum(axis=1) for row in given])


def search(rows, centers, *, second=False):
    """Round centers, however few there are."""
    origin = centers.mean(axis=0)
    found = native._nothing_found(len(rows), second=second)
    out = compiled.CResult(*(a.ctypes.data if len(a) else None for a in found))
    native._search_rounded(compiled.problem_of(rows, centers, origin), None, out)
    return found


@needs_rounding
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "k", "d"),
    [
        *((1, 1, 1), (5, 2, 3), (6, 31, 4), (7, 32, 5), (100, 33, 15), (131, 64, 16), (40, 65, 17)),
        *((300, 100, 26), (61, 200, 100), (50, 1000, 63), (97, 333, 400)),
    ],
)
def test_the_closest_centers_are_found(n, k, d, kind):
    rows, centers = drawn(kind, n, k, d)
    apart = sq_distances(rows, centers)
    found = search(rows, centers)
    chosen = apart[np.arange(n), found.labels]
    # Those searched in float32 after all may be off by what that loses.
    off = doubt_of(d) * found.squares
    assert (chosen <= apart.min(axis=1) * (1 + 1e-6) + off).all()
    np.testing.assert_allclose(found.sq_distances, chosen, rtol=2e-6)


@needs_rounding
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "k", "d"), [(7, 2, 3), (100, 33, 15), (300, 100, 26), (97, 333, 400)]
)
def test_all_others_are_as_far_as_told(n, k, d, kind):
    rows, centers = drawn(kind, n, k, d, seed=1)
    apart = np.sort(sq_distances(rows, centers), axis=1)
    found = search(rows, centers, second=True)
    others = found.sq_distances.astype(float) + found.ahead - doubt_of(d) * found.squares
    assert (others <= apart[:, 1] * (1 + 1e-7)).all()
    sure = found.squares == 0
    np.testing.assert_allclose(others[sure], apart[sure, 1], rtol=3 * doubt_of(d))
    assert sure.any() or kind in ("off", "blobs", "heavy")


def searched_from_zero(rows, centers):
    found = native._nothing_found(len(rows), second=False)
    out = compiled.CResult(*(a.ctypes.data if len(a) else None for a in found))
    origin = np.zeros(rows.shape[1], np.float32)
    native._search_rounded(compiled.problem_of(rows, centers, origin), None, out)
    assert (found.squares == 0).all()
    return found.labels.tolist()


@needs_rounding
@pytest.mark.parametrize("loses", ["row", "centers"])
@pytest.mark.parametrize("first", [0, 1])
def test_what_rounding_takes_away_may_add_up(loses, first):
    """Rounded, the wrong center seems the closest; without one term of the bound it would be."""
    d = 66
    row, right, wrong = np.zeros((3, d), np.float32)
    row[0] = right[1] = wrong[1] = 127  # of which a step is 1
    wrong[0] = 1
    if loses == "row":
        row[2:], right[2:], wrong[2:] = 0.45, 3, -3
    else:
        row[2:], right[2:], wrong[2:] = 3, 0.45, -0.45
    centers = np.stack([right, wrong] if first == 0 else [wrong, right])
    assert sq_distances(row[None], centers).argmin() == first
    steps = np.abs(centers).max(axis=1, keepdims=True) / 127
    rounded = np.rint(centers / steps) * steps
    scores = (centers**2).sum(axis=1) - 2 * rounded @ np.rint(row)
    assert scores.argmin() != first
    assert searched_from_zero(row[None], centers) == [first]


@needs_rounding
def test_what_float32_takes_away_is_allowed_for():
    """Nothing is lost by rounding here; but squares of 2e7 are told apart by 1 or 2 only."""
    rng, d = np.random.default_rng(5), 4000
    for _ in range(30):
        row = rng.integers(-120, 121, d).astype(np.float32)
        row[0] = 127
        centers = np.repeat(row[None], 2, axis=0)
        for center, n in zip(centers, rng.permutation([8, 9]), strict=True):
            center[rng.choice(np.arange(1, d), n, replace=False)] += rng.choice([-1, 1], n)
        expected = sq_distances(row[None], centers).argmin()
        assert searched_from_zero(row[None], centers) == [expected]


@needs_rounding
def test_of_equal_centers_the_lowest_wins():
    rng = np.random.default_rng(4)
    different = rng.integers(-9, 9, (90, 26)).astype(np.float32)
    centers = different[rng.integers(0, 90, 400)]
    rows = np.concatenate([centers, rng.integers(-9, 9, (100, 26)).astype(np.float32)])
    found = search(rows, centers)
    assert (found.squares == 0).all()
    np.testing.assert_array_equal(found.labels, sq_distances(rows, centers).argmin(axis=1))


@needs_rounding
@pytest.mark.parametrize("scale", [0.0, 1e-37, 1e-30, 1e-18, 1e17, 1e19, 1e30])
def test_any_size_of_values_is_searched(scale):
    """Beyond the range of squares in float32 it is as good as a search in float32."""
    rows, centers = drawn("noise", 50, 100, 30)
    rows, centers = (np.float32(scale) * given for given in (rows, centers))
    found = search(rows, centers)
    plain = native.search(rows, centers, centers.mean(axis=0), lanes=compiled.fastest_lanes())
    if scale in (1e-18, 1e17):
        np.testing.assert_array_equal(found.labels, plain.labels)
    with np.errstate(all="ignore"):
        chosen, least = (
            ((rows.astype(float) - centers[labels]) ** 2).sum(axis=1)
            for labels in (found.labels, plain.labels)
        )
    assert (chosen <= least * (1 + 1e-6)).all()


@needs_rounding
@pytest.mark.parametrize(("kind", "is_enough"), [("near", True), ("noise", True), ("blobs", False)])
def test_rows_that_bytes_do_not_tell_apart_are_searched_in_float32(kind, is_enough):
    rows, centers = drawn(kind, 2000, 300, 100)
    found = search(rows, centers)
    assert (found.squares == 0).mean() == (1 if is_enough else 0)
    plain = native.search(rows, centers, centers.mean(axis=0), lanes=compiled.fastest_lanes())
    assert (found.labels == plain.labels).mean() > 0.999
    layout = native.layout(centers, centers.mean(axis=0))
    assert (layout.lanes == 0) == is_enough


@needs_rounding
def test_an_answer_does_not_depend_on_which_rows_are_left_for_float32():
    rows, centers = drawn("noise", 500, 300, 100)
    centers[:200] = 1 + centers[:200] * np.float32(1e-3)  # a crowd, and others around
    rows[::7] = 1 + rows[::7] * np.float32(1e-3)
    prepared = PreparedCenters(centers, centers.mean(axis=0))
    together = prepared.nearest(rows)
    layout = compiled.layout_of(centers, centers.mean(axis=0), 0)
    left = native.search_among(rows, layout).squares > 0
    assert 0 < left.sum() < len(rows)
    for i in range(0, 500, 7):
        alone = prepared.nearest(rows[i : i + 1])
        assert alone.labels[0] == together.labels[i]
        assert alone.sq_distances.tobytes() == together.sq_distances[i : i + 1].tobytes()
        some = native.search_among(rows[i : i + 3], layout)
        full = native.search_among(rows, layout)
        assert some.labels.tolist() == full.labels[i : i + 3].tolist()
        assert some.sq_distances.tobytes() == full.sq_distances[i : i + 3].tobytes()


@needs_rounding
def test_few_centers_or_features_are_not_rounded():
    assert not rounded.rounds(47, 1000)
    assert not rounded.rounds(1000, 23)
    assert not rounded.rounds(100, 26)
    assert not rounded.rounds(2**16 + 1, 400)
    assert rounded.rounds(48, 100)
    assert rounded.rounds(1000, 26)


@needs_rounding
def test_beside_rounded_centers_pivots_must_pass_over_more(monkeypatch):
    """A third of the time is what looking at all takes, where these are rounded."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, 10, (5, 100))
    rows, centers = (
        (means[rng.integers(5, size=n)] + rng.normal(size=(n, 100))).astype(np.float32)
        for n in (5000, 400)
    )

    def n_used():
        pivots, used = Pivots(400, 100), 0
        for _ in range(8):
            pivots.choose(centers, np.ones(400))
            used += pivots.n_chosen > 0
            pivots.nearest(rows, centers)
        return used

    beside = n_used()
    monkeypatch.setattr("onepass.cluster.pivots.rounds", lambda *_: False)
    monkeypatch.setattr(rounded, "rounds", lambda *_: False)
    assert beside < n_used() == 8


@pytest.mark.skipif(not compiled.is_compiled(), reason="native.c was not compiled: no compiler")
def test_what_kind_of_search_is_used_is_told():
    told = "many centers as bytes first" in cpu.describe()
    assert told == rounded.has_bytes()
