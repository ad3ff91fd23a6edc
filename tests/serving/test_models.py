"""The models of a server: entered, used and let go by many threads."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import model_bytes, save_model
from onepass.cluster.model import KMeansModel
from onepass.errors import AlgorithmError, DecodeError, UserError
from onepass.resources import give_back_memory, memory_used_bytes
from onepass.serving.models import (
    ModelAlreadyLoadedError,
    ModelNotLoadedError,
    ModelStore,
    ModelTooLargeError,
    self_test,
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

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
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
        "{root}/loop",
        "{root}/loop/model",
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
    (root / "loop").symlink_to(root / "loop")
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

    user = threading.Thread(target=hold, daemon=True)
    remover = threading.Thread(target=unload, daemon=True)
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


def test_what_is_not_restored_yet_stays_noted(root, url, tmp_path):
    journal = tmp_path / "journal.json"
    first = ModelStore(root, journal=journal)
    for name in ("a", "b", "c"):
        first.load(name, url)
    second = ModelStore(root, journal=journal)
    noted = []
    load = second.load

    def load_and_look(name, place):
        told = load(name, place)
        noted.append(sorted(json.loads(journal.read_bytes())))
        return told

    second.load = load_and_look
    second.restore()
    assert noted == [["a", "b", "c"]] * 3


def test_models_that_could_not_be_loaded_again_in_time_are_told(root, url, tmp_path, caplog):
    journal = tmp_path / "journal.json"
    ModelStore(root, journal=journal).load("a", url)
    second = ModelStore(root, journal=journal)
    with caplog.at_level(logging.ERROR):
        second.restore(patience_s=-1)
    assert second.page().models == []
    assert "model 'a' is not there any more: to load all" in caplog.text


def test_models_come_and_go_where_nothing_can_be_written(root, url, tmp_path, caplog):
    store = ModelStore(root, journal=tmp_path / "none/journal.json")
    with caplog.at_level(logging.ERROR):
        store.load("a", url)
        with store.use("a") as model:
            assert model.n_clusters == 3
        store.unload("a")
    assert store.page().models == []
    assert caplog.text.count("cannot note for another process") == 2


def test_a_load_is_told_even_if_the_model_is_unloaded_at_once(root, url):
    class Hasty(ModelStore):
        def put(self, name, model, url):
            super().put(name, model, url)
            self.unload(name)

    assert Hasty(root).load("a", url) == ("a", url, 3, 2)


def in_time(do, *arguments):
    """Call what must not wait for ever."""
    caller = threading.Thread(target=do, args=arguments, daemon=True)
    caller.start()
    caller.join(30)
    assert not caller.is_alive()


def test_a_user_who_fails_lets_go(store, url):
    store.load("a", url)
    with pytest.raises(KeyError), store.use("a"):
        raise KeyError
    in_time(store.unload, "a")


def test_who_holds_a_model_keeps_it_whatever_has_its_name(store, root, url):
    save_model(KMeansModel(np.float32([[0, 0, 0]])), root / "two")
    store.load("a", url)
    with store.use("a") as old:
        remover = threading.Thread(target=store.unload, args=("a",), daemon=True)
        remover.start()
        while store.page().models:
            pass
        store.load("a", str(root / "two"))
        with store.use("a") as new:
            assert (old.n_features, new.n_features) == (2, 3)
        assert remover.is_alive()
    remover.join(30)
    assert not remover.is_alive()
    assert store.describe("a").n_features == 3


def test_every_model_that_came_has_gone_or_is_there(store, root, url):
    """Of a storm over few names and two models, each told apart by its centers."""
    save_model(KMeansModel(np.zeros((5, 4), np.float32)), root / "two")
    shapes = {url: (3, 2), str(root / "two"): (5, 4)}

    def storm(i):
        rng, balance = np.random.default_rng(i), dict.fromkeys("abc", 0)
        for _ in range(150):
            name = "abc"[rng.integers(3)]
            try:
                if (step := rng.integers(4)) == 0:
                    given = list(shapes)[rng.integers(2)]
                    assert store.load(name, given) == (name, given, *shapes[given])
                    balance[name] += 1
                elif step == 1:
                    store.unload(name)
                    balance[name] -= 1
                else:
                    with store.use(name) as model:
                        assert model.centers.shape in shapes.values()
                        assert model.assign(model.centers).distances.max() == 0
            except (ModelAlreadyLoadedError, ModelNotLoadedError):
                pass
        return balance

    balances = at_once(8, storm)
    assert all(isinstance(one, dict) for one in balances), balances
    left = {name: sum(one[name] for one in balances) for name in "abc"}
    assert left == {name: [m.name for m in store.page().models].count(name) for name in "abc"}
    for model in store.page().models:
        assert model[2:] == shapes[model.url]
        in_time(store.unload, model.name)  # nobody holds any


LOADS_AND_UNLOADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from onepass.serving.models import ModelStore

root = Path(sys.argv[1])
store = ModelStore(root)

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def at_once(work):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: [work(f"{i} {j}") for j in range(25)], range(4)))

store.load("first", str(root / "some"))
store.unload("first")
before = resident_bytes()
at_once(lambda name: store.load(name, str(root / "some")))
loaded = resident_bytes() - before
at_once(store.unload)
print(loaded, resident_bytes() - before)
"""


def test_unloaded_models_leave_no_memory_behind(root):
    """Of a size that the C library would rather keep for later; in a process with no past."""
    save_model(KMeansModel(np.ones((2100, 125), np.float32)), root / "some")
    script = [sys.executable, "-c", LOADS_AND_UNLOADS, root]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    loaded, left = map(int, done.stdout.split())
    assert loaded > 80 * 2**20  # of 100 MiB: what was freed before may be used again
    assert left < loaded / 5


def test_a_thousand_small_models_fit(root, url):
    limit = memory_used_bytes() + 2**25
    store = ModelStore(root, limit_bytes=limit, reserve_bytes=2**24)
    for i in range(1000):
        store.load(f"{i:064}", url)
    assert len(store.page(f"{899:064}").models) == 100


def test_loads_at_once_do_not_take_more_memory_than_there_is(root):
    save_model(KMeansModel(np.zeros((5000, 1000), np.float32)), root / "big")
    need = 3 * model_bytes(root / "big")
    give_back_memory()
    limit = memory_used_bytes() + need + need // 2
    store = ModelStore(root, limit_bytes=limit, reserve_bytes=0)
    outcomes = at_once(6, lambda i: store.load(str(i), str(root / "big")))
    refused = [one for one in outcomes if isinstance(one, ModelTooLargeError)]
    assert 1 <= len(store.page().models) == 6 - len(refused) < 6
    assert memory_used_bytes() <= limit


def test_unloading_makes_room(root):
    """As the platform does it: what is refused is asked for again when others have gone."""
    save_model(KMeansModel(np.zeros((5000, 1000), np.float32)), root / "big")
    give_back_memory()  # else models could take what other tests have left behind
    limit = memory_used_bytes() + 6 * model_bytes(root / "big")
    store = ModelStore(root, limit_bytes=limit, reserve_bytes=0)

    def loaded(name):
        try:
            return store.load(name, str(root / "big"))
        except ModelTooLargeError:
            return None

    n_loaded = len([*itertools.takewhile(loaded, "0123456")])
    assert 2 <= n_loaded < 6
    store.unload("0")
    store.unload("1")
    assert loaded("again")


def test_memory_that_ends_while_a_model_is_loaded_is_no_failure_of_ours(root):
    """The estimate lies where others take memory meanwhile: here the system refuses it."""
    save_model(KMeansModel(np.zeros((10_000, 1000), np.float32)), root / "big")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from onepass.serving.models import ModelStore, ModelTooLargeError\n"
        "store = ModelStore(Path(sys.argv[1]), limit_bytes=2**40)\n"
        "store.load('small', sys.argv[1] + '/one/model')\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, used + 2**24))\n"
        "try:\n    store.load('big', sys.argv[1] + '/big')\n"
        "except ModelTooLargeError as error:\n    print(error)\n"
        "print([model.name for model in store.page().models])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "there is no memory for model 'big'\n['small']\n"


@pytest.mark.parametrize(
    "centers",
    [
        [[1, 1], [1, 1]],
        [[0, 0]],
        [[1e6, 0.125], [1e6, 0]],
        [[3e38, -3e38], [0, 0]],
        [[1e-40, 0], [0, 0]],
    ],
)
def test_a_model_finds_its_own_center_or_its_equal(centers):
    self_test(KMeansModel(np.float32(centers)))


def test_a_model_that_does_not_find_its_own_center_is_not_served():
    class Wrong(KMeansModel):
        def assign(self, X):
            return super().assign(X + 1)

    with pytest.raises(AlgorithmError, match="own centers"):
        self_test(Wrong(CENTERS))
