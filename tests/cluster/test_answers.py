"""Answers of a model to few rows are those to many, and follow from its centers alone."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

from onepass.cluster.kernels import compiled, cpu, native, reference, rounded
from onepass.cluster.kernels.prepared import PreparedCenters
from onepass.cluster.model import KMeansModel

WIDTHS = compiled.all_lanes() if compiled.is_compiled() else []
SHAPES = [
    (k, d)
    for k in (1, 2, 7, 16, 17, 33, 100, 1000)
    for d in (1, 2, 3, 8, 26, 100, 400)
    if k * d > 7
]


@pytest.fixture(params=[*WIDTHS, "rounded", "numpy"])
def kernels(request, monkeypatch):
    """The kernels in C, for each width of vectors and by way of bytes, and those of NumPy."""
    if request.param == "rounded":
        if not rounded.rounds(1000, 100):
            pytest.skip("this processor does not add up products of bytes, or C was not compiled")
        return native
    used = reference if request.param == "numpy" else native
    monkeypatch.setattr(native, "rounds", lambda *_: False)
    for module in (cpu, "onepass.cluster.kernels.prepared"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.kernels", lambda: used)
    monkeypatch.setattr(native, "fastest_lanes", lambda: request.param)
    return used


def hard_rows(centers, n, seed=0):
    """Rows amid two centers, so that rounding decides; close to one; at one; and anywhere."""
    k, d = centers.shape
    rng = np.random.default_rng([n, k, d, seed])
    one, other = centers[rng.integers(0, k, (2, n))]
    noise = rng.normal(size=(n, d)).astype(np.float32)
    kinds = (one + other) / 2, one + noise * np.float32(1e-5), one, noise
    return np.concatenate([kind[i::4] for i, kind in enumerate(kinds)]).astype(np.float32)


def assert_the_same_alone(model, rows, which):
    """A row's answer alone, or among a few, is to the last bit its answer among all."""
    labels, distances = model.assign(rows)
    table = model.distances(rows)
    for i in which:
        for some in (slice(i, i + 1), slice(i, i + 5)):
            alone = model.assign(rows[some])
            assert alone.labels.tolist() == labels[some].tolist()
            assert alone.distances.tobytes() == distances[some].tobytes()
            assert model.distances(rows[some]).tobytes() == table[some].tobytes()


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("k", "d"), SHAPES)
def test_a_row_is_answered_alone_as_among_a_thousand(k, d):
    centers = np.random.default_rng([k, d]).normal(5, 1, (k, d)).astype(np.float32)
    model = KMeansModel(centers)
    assert_the_same_alone(model, hard_rows(centers, 1000), range(0, 1000, 41))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-19, 1.0, 1e18, 1e35])
@pytest.mark.parametrize("beside", [1e-35, 1.0, 1e14, 1e37])
def test_rows_of_any_size_are_answered_as_if_alone(scale, beside):
    rng = np.random.default_rng(1)
    centers = (rng.normal(size=(33, 100)) * scale).astype(np.float32)
    rows = np.concatenate([hard_rows(centers, 80), rng.normal(size=(3, 100)) * beside])
    assert_the_same_alone(KMeansModel(centers), rows.astype(np.float32), range(0, 83, 2))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("exponent", [-90, 0, 60])
def test_rows_exactly_between_two_centers_fall_to_the_same_one(exponent):
    """Features of many sizes, so that products round in float64 as well."""
    rng = np.random.default_rng(2)
    sizes = 2.0 ** (exponent + rng.integers(-12, 13, 100))
    rows, gaps = (rng.integers(-(2**22), 2**22, (2, 40, 100)) * sizes).astype(np.float32)
    centers = np.concatenate([rows + gaps, rows - gaps])
    assert_the_same_alone(KMeansModel(centers), np.tile(rows, (5, 1)), range(40))


def test_tiny_rows_beside_a_large_one_keep_their_distances():
    model = KMeansModel(np.float32([[1e-25, 0], [0, 1e-25]]))
    rows = np.float32([[0, 2e-25], [1, 1]])
    np.testing.assert_allclose(model.assign(rows).distances, [1e-25, 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(model.distances(rows)[0], [5**0.5 * 1e-25, 1e-25], rtol=1e-6)
    assert KMeansModel(np.zeros((1, 2), np.float32)).assign(rows).distances[0] == np.float32(2e-25)


def test_an_answer_takes_little_memory_however_large_the_model():
    """Of 20 MB here: many requests at once must not each take that much again."""
    centers = np.random.default_rng(3).normal(size=(100_000, 50)).astype(np.float32)
    model = KMeansModel(centers)
    rows = centers[[99_999, 7]]
    far = centers[[99_999, 7]] * np.float32(1e30)
    toward = (centers.astype(np.float64) @ far.T.astype(np.float64)).argmax(axis=0)
    assert model.predict(rows).tolist() == [99_999, 7]
    for answer, given, wanted in (
        (model.predict, rows, [99_999, 7]),
        (model.predict, far, toward.tolist()),
        (lambda given: model.distances(given[:1])[0].argmin(), rows, 99_999),
        (lambda given: model.distances(given[:1])[0].argmin(), far, 0),  # all as far, in float32
    ):
        tracemalloc.start()
        found = answer(given)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.array_equal(found, wanted)
        assert peak < centers.nbytes / 2


def test_what_is_laid_out_once_finds_what_each_search_finds(kernels):
    for k, d in SHAPES:
        centers = np.random.default_rng([k, d]).normal(5, 1, (k, d)).astype(np.float32)
        rows, origin = hard_rows(centers, 40), centers[0]
        once = kernels.search_among(rows, kernels.layout(centers, origin))
        anew = kernels.search(rows, centers, origin)
        if kernels is native:
            assert [a.tobytes() for a in once] == [a.tobytes() for a in anew]
        gaps = (rows[:, None].astype(np.float64) - centers) ** 2
        apart = gaps.sum(axis=2)
        np.testing.assert_allclose(once.sq_distances, apart.min(axis=1), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("lanes", WIDTHS)
def test_few_centers_of_many_features_are_not_filled_up_for_good(lanes, monkeypatch):
    monkeypatch.setattr(native, "fastest_lanes", lambda: lanes)
    centers = np.float32([[1], [-1]]) * np.ones(2**18, np.float32)
    assert native.layout(centers, centers[0]) is None
    assert PreparedCenters(centers, centers[0]).nearest(centers[1:]).labels.tolist() == [1]
    assert native.layout(centers[:, :26], centers[0, :26]) is not None
    many = np.zeros((2 * lanes, 2**16), np.float32)
    [_, _, packed] = native.layout(many, many[0]).arrays
    assert packed.nbytes <= 2 * many.nbytes


@pytest.mark.skipif(not WIDTHS, reason="native.c was not compiled: no compiler")
def test_rows_of_another_width_are_refused_before_c_reads_them():
    laid_out = native.layout(np.ones((3, 4), np.float32), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="several widths"):
        native.search_among(np.ones((2, 3), np.float32), laid_out)


@pytest.mark.usefixtures("kernels")
def test_no_rows_have_no_answers():
    model = KMeansModel(np.ones((3, 4), np.float32))
    assert len(model.assign(np.empty((0, 4), np.float32)).labels) == 0
    assert model.distances(np.empty((0, 4), np.float32)).shape == (0, 3)


def test_rows_that_may_only_be_read_are_answered():
    centers = np.float32([[0, 0], [10, 0]])
    rows = np.frombuffer(np.float32([[9, 0], [1, 0]]).tobytes(), np.float32).reshape(2, 2)
    assert KMeansModel(centers).predict(rows).tolist() == [1, 0]


def test_the_centers_of_a_model_stay_as_they_are():
    """What is made of them at the first answer would not follow."""
    mine = np.float32([[0, 0], [10, 0]])
    model = KMeansModel(mine)
    with pytest.raises(ValueError, match="read-only"):
        model.centers[0] = 7
    mine[0] = 7  # which is not the model's to forbid
    assert mine.flags.writeable


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],  # noqa: S301 - ours
)
def test_a_model_that_has_answered_can_be_copied_and_sent(again):
    model = KMeansModel(np.float32([[0, 0], [10, 0]]))
    sent = len(pickle.dumps(model))
    model.assign([[1, 1]])
    assert len(pickle.dumps(model)) == sent
    assert again(model).predict([[9, 0]]).tolist() == [1]


def test_many_threads_may_ask_a_model_first():
    centers = np.random.default_rng(2).normal(size=(300, 40)).astype(np.float32)
    rows = hard_rows(centers, 50)
    expected = KMeansModel(centers).assign(rows)
    for _ in range(20):
        model, barrier, answers = KMeansModel(centers), threading.Barrier(8), []

        def ask(model=model, barrier=barrier, answers=answers):
            barrier.wait()
            answers.append(model.assign(rows))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8
        for labels, distances in answers:
            assert labels.tolist() == expected.labels.tolist()
            assert distances.tobytes() == expected.distances.tobytes()
