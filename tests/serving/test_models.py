"""The models of a server: entered, used and let go by many threads."""

from __future__ import annotations

import logging
import shutil
import threading

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import model_bytes, save_model
from onepass.cluster.model import KMeansModel
from onepass.errors import DecodeError, UserError
from onepass.serving.models import (
    ModelAlreadyLoadedError,
    ModelNotLoadedError,
    ModelStore,
    ModelTooLargeError,
)

CENTERS = np.float32([[0, 0], [10, 0], [0, 10]])


@pytest.fixture
def root(tmp_path):
    """A directory of models with one in it."""
    save_model(KMeansModel(CENTERS), tmp_path / "models/one/model")
    return tmp_path / "models"


@pytest.fixture
def url(root):
    return str(root / "one/model")


@pytest.fixture
def store(root):
    return ModelStore(root)


def at_once(n, do):
    """Call a function in many threads that start together; return what each came to."""
    barrier, outcomes = threading.Barrier(n), [None] * n

    def run(i):
        barrier.wait()
        try:
            outcomes[i] = do(i)
        except Exception as error:  # noqa: BLE001 - looked at by the caller
            outcomes[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_model_is_loaded_described_used_and_unloaded(store, url):
    told = store.load("a", url)
    assert told == ("a", url, 3, 2)
    assert store.describe("a") == told
    with store.use("a") as model:
        assert model.predict([[9, 1]]).tolist() == [1]
    store.unload("a")
    for ask in (store.describe, store.unload, lambda name: store.use(name).__enter__()):
        with pytest.raises(ModelNotLoadedError, match="Model not found: a"):
            ask("a")


def test_a_name_is_taken_once(store, url):
    store.load("a", url)
    with pytest.raises(ModelAlreadyLoadedError, match="Model a is already registered"):
        store.load("a", url)


def test_of_many_who_load_a_name_at_once_one_does(store, url):
    outcomes = at_once(16, lambda _: store.load("a", url))
    refused = [one for one in outcomes if isinstance(one, ModelAlreadyLoadedError)]
    assert len(refused) == 15
    assert store.describe("a") in outcomes


def test_a_model_that_cannot_be_read_leaves_its_name_free(store, root, url):
    (root / "bad").mkdir()
    (root / "bad/model_algo-1").write_bytes(b"broken")
    with pytest.raises(DecodeError, match="model_algo-1"):
        store.load("a", str(root / "bad"))
    store.load("a", url)


@pytest.mark.parametrize(
    "name", ["a/b", "../x", "ü", "a b", "%2e%2e", "x" * 1024, "model-ab12cd34ef"]
)
def test_a_name_is_never_a_path(store, url, name):
    store.load(name, url)
    assert store.page().models[0].name == name


@pytest.mark.parametrize("name", ["", "x" * 1025, "a\nb", "\0"])
def test_a_name_that_could_not_stand_in_a_log_is_refused(store, url, name):
    with pytest.raises(UserError, match="must have 1 to 1024 characters"):
        store.load(name, url)


@pytest.mark.parametrize(
    "template",
    [
        "/etc",
        "{root}/../outside",
        "{root}x/model",
        "{root}/link",
        "one/model",
        "file://{root}/one/model",
        "{root}/one\0/model",
        "s3://bucket/model",
        "",
    ],
)
def test_a_url_outside_the_root_is_refused_and_not_looked_at(store, root, template):
    save_model(KMeansModel(CENTERS), root.parent / "outside")
    (root / "link").symlink_to(root.parent / "outside")
    with pytest.raises(UserError, match=f"must be a path under {root}$"):
        store.load("a", template.format(root=root))


def test_a_url_may_be_the_file_its_directory_or_an_archive(store, root, url):
    pack(root / "one/model", root / "model.tar.gz")
    for i, given in enumerate([url, f"{url}/model_algo-1", str(root / "model.tar.gz"), str(root)]):
        assert store.load(str(i), given).n_clusters == 3


def test_models_are_told_a_hundred_at_a_time_in_the_order_of_their_names(store, url):
    for i in range(250):
        store.load(f"{i:03}", url)
    names, token, sizes = [], None, []
    while True:
        page = store.page(token)
        names += [model.name for model in page.models]
        sizes.append(len(page.models))
        token = page.next_token
        if token is None:
            break
        if len(sizes) == 1:  # what comes and goes meanwhile does not disturb the others
            store.unload("000")
            store.unload("100")
    assert sizes == [100, 100, 49]
    assert names == [f"{i:03}" for i in range(250) if i != 100]


def test_there_may_be_no_models(store):
    assert store.page() == ([], None)


def test_unloading_waits_for_the_last_user_and_frees_the_name_at_once(store, url):
    store.load("a", url)
    held, let_go, unloaded = threading.Event(), threading.Event(), threading.Event()

    def hold():
        with store.use("a") as model:
            held.set()
            assert let_go.wait(30)
            assert model.predict([[9, 1]]).tolist() == [1]

    def unload():
        store.unload("a")
        unloaded.set()

    user, remover = threading.Thread(target=hold), threading.Thread(target=unload)
    user.start()
    assert held.wait(30)
    remover.start()
    while store.page().models:
        pass
    assert not unloaded.is_set()
    store.load("a", url)  # another of that name does not wait
    let_go.set()
    remover.join(30)
    user.join(30)
    assert unloaded.is_set()
    assert store.describe("a").n_clusters == 3


def test_a_storm_of_loads_uses_and_unloads_keeps_its_promises(store, url):
    def storm(_):
        seen = 0
        for _ in range(60):
            for ask in (
                lambda: store.load("a", url),
                lambda: store.use("a"),
                lambda: store.unload("a"),
            ):
                try:
                    found = ask()
                    if hasattr(found, "__enter__"):
                        with found as model:
                            seen += int(model.predict([[9, 1]])[0])
                except (ModelAlreadyLoadedError, ModelNotLoadedError):
                    pass
        return seen

    outcomes = at_once(8, storm)
    assert all(isinstance(one, int) for one in outcomes), outcomes
    assert sum(outcomes) > 0
    assert len(store.page().models) <= 1


@pytest.mark.parametrize("archived", [False, True])
def test_a_model_that_does_not_fit_the_memory_is_refused_before_it_is_read(root, archived):
    save_model(KMeansModel(np.zeros((1000, 1000), np.float32)), root / "big")
    path = root / "big"
    if archived:
        pack(path, root / "big.tar.gz")
        path = root / "big.tar.gz"
    assert model_bytes(path) == 72 + 4_000_000
    small = ModelStore(root, limit_bytes=2**20)
    with pytest.raises(ModelTooLargeError, match=r"takes 12000216 bytes of memory, 0 are left"):
        small.load("a", str(path))
    ModelStore(root).load("a", str(path))


def test_models_that_are_being_loaded_count(root, url, monkeypatch):
    from onepass.serving import models

    monkeypatch.setattr(models, "memory_used_bytes", lambda: 0)
    need = 3 * model_bytes(url)
    store = ModelStore(root, limit_bytes=need, reserve_bytes=0)
    with store._room_for("a", need), pytest.raises(ModelTooLargeError, match="0 are left"):
        store.load("b", url)
    store.load("b", url)


def test_another_process_restores_what_was_loaded(root, tmp_path, caplog):
    journal = tmp_path / "journal.json"
    shutil.copytree(root / "one", root / "two")
    first = ModelStore(root, journal=journal)
    first.restore()
    for name, place in (("a", "one"), ("b/ü", "two"), ("c", "one")):
        first.load(name, str(root / place / "model"))
    first.unload("c")
    second = ModelStore(root, journal=journal)
    second.restore()
    assert [model.name for model in second.page().models] == ["a", "b/ü"]
    shutil.rmtree(root / "one")
    third = ModelStore(root, journal=journal)
    with caplog.at_level(logging.ERROR):
        third.restore()
    assert [model.name for model in third.page().models] == ["b/ü"]
    assert "model 'a' is not there any more" in caplog.text
