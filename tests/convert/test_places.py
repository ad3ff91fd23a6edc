"""Where rows are put: in one file or in several, whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.errors import DecodeError, PlatformError, UserError

ROWS = np.random.default_rng(0).normal(size=(1_000, 3)).astype(np.float32)


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "in.npy", ROWS)
    return tmp_path / "in.npy"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(run, *args, kind=UserError, **options):
    with pytest.raises(kind) as caught:
        run(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("rows_per_file", [1, 300, 333, 500, 999, 1_000, 5_000])
@pytest.mark.parametrize("to", ["recordio", "csv", "parquet", "npy", "libsvm"])
def test_shards_hold_all_rows_once_in_order(tables, run, source, to, rows_per_file):
    folder = source.parent / "out"
    if rows_per_file == 1:
        np.save(source, ROWS[:30])
    rows = np.load(source)
    done = run([source], f"{folder}/", to=to, rows_per_file=rows_per_file)
    assert names(folder) == [f"part-{i:05d}{tables.ENDINGS[to]}" for i in range(done.n_files)]
    shards = [tables.read(folder / name, to, 0, 3).rows for name in names(folder)]
    assert all(len(shard) == rows_per_file for shard in shards[:-1])
    assert 0 < len(shards[-1]) <= rows_per_file
    np.testing.assert_array_equal(np.concatenate(shards), rows, strict=True)
    assert done.n_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_a_folder_is_read_in_the_order_of_its_names(run, tmp_path):
    for name, row in [("b/1.csv", "3,3"), ("a.csv", "1,1"), ("b.csv", "4,4"), ("b/0.csv", "2,2")]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(row)
    for name in ("_SUCCESS", ".part-0.csv.1.tmp", "b/empty.csv"):
        (tmp_path / "in" / name).write_text("")
    run([tmp_path / "in"], tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy")[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["out/", "out", "a/b/out", "a.b/out", "out.csv/"])
def test_a_name_without_ending_is_a_folder_of_recordio(run, source, name):
    run([source], f"{source.parent}/{name}")
    assert names(source.parent / name) == ["part-00000.pbr"]


def test_a_folder_that_is_there_and_empty_is_filled(run, source):
    folder = source.parent / "rows.csv"
    folder.mkdir()
    run([source], folder)
    assert names(folder) == ["part-00000.pbr"]


def test_what_is_there_is_not_replaced_unasked(run, source):
    out, folder = source.parent / "out.csv", source.parent / "out"
    out.write_text("old")
    assert refused(run, [source], out) == f"{out} is there already; --overwrite replaces it"
    run([source], folder, rows_per_file=300)
    told = f"{folder} holds 4 files already, part-00000.pbr among them; --overwrite replaces them"
    assert refused(run, [source], folder) == told
    assert (out.read_text(), len(names(folder))) == ("old", 4)


def test_what_is_there_is_replaced_where_that_is_asked_for(tables, run, source):
    out, folder = source.parent / "out.csv", source.parent / "out"
    out.write_text("old")
    run([source], out, overwrite=True)
    assert tables.read(out, "csv", 0, 3).rows.tobytes() == ROWS.tobytes()
    run([source], folder, to="csv", rows_per_file=300)
    run([source], folder, rows_per_file=600, overwrite=True)
    assert names(folder) == ["part-00000.pbr", "part-00001.pbr"]


def test_files_of_others_are_never_replaced(run, source):
    folder = source.parent / "out"
    run([source], folder)
    (folder / "notes.txt").write_text("mine")
    told = refused(run, [source], folder, overwrite=True)
    assert told.startswith(f"{folder} holds notes.txt, which is not replaced")
    assert names(folder) == ["notes.txt", "part-00000.pbr"]


def test_a_file_may_replace_itself(tables, run, source):
    run([source], source, overwrite=True, label_size=1)
    assert tables.read(source, "npy", 1, 2).rows.tobytes() == ROWS[:, 1:].tobytes()


def test_several_files_are_not_put_into_one(run, source):
    told = refused(run, [source], "out.csv", rows_per_file=9)
    assert told == "--rows-per-file makes several files; out.csv is to be one: write out.csv/"


def test_a_folder_and_a_file_do_not_replace_one_another(run, source):
    assert (
        refused(run, [source], f"{source}/") == f"{source} is a file; a directory is to be written"
    )


def broken(tmp_path, n_good=400_000):
    lines = [b"1,2,3\n"] * n_good
    (tmp_path / "in.csv").write_bytes(b"".join([*lines, b"1,x,3\n", *lines[:100]]))
    return tmp_path / "in.csv"


@pytest.mark.parametrize("to", ["recordio", "csv", "parquet", "npy", "libsvm"])
def test_an_error_in_the_middle_leaves_nothing(run, tmp_path, to):
    path = broken(tmp_path)
    told = refused(run, [path], tmp_path / "new" / "out", to=to, rows_per_file=100_000,
                   kind=DecodeError)  # fmt: skip
    where = f"{path}, row 400001 at byte 2400000, column 2"
    assert told == f"{where}: 'x' is no number; mend or remove it"
    assert names(tmp_path) == ["in.csv"]


@pytest.mark.parametrize("name", ["out.pbr", "out.parquet", "out.csv.gz"])
def test_an_error_in_the_middle_leaves_what_was_there(run, tmp_path, name):
    (tmp_path / name).write_text("old")
    refused(run, [broken(tmp_path)], tmp_path / name, overwrite=True, kind=DecodeError)
    assert ((tmp_path / name).read_text(), len(names(tmp_path))) == ("old", 2)


@pytest.mark.parametrize("to", ["recordio", "parquet"])
@pytest.mark.parametrize("n_rows", [0, 1, 600])
def test_ctrl_c_leaves_nothing(run, source, to, n_rows):
    def interrupt(_, n_rows_written):
        if n_rows_written >= n_rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([source], source.parent / "out", to=to, rows_per_file=500, tell=interrupt)
    assert names(source.parent) == ["in.npy"]


def test_a_name_that_cannot_be_given_is_told_and_leaves_nothing(run, tmp_path, source):
    folder = tmp_path / "out"
    folder.mkdir()
    blocked = folder / "part-00001.pbr"  # a directory that cannot be replaced by a file
    (blocked / ".x").mkdir(parents=True)
    told = refused(run, [source], folder, rows_per_file=600, kind=PlatformError)
    assert told == f"cannot write {blocked}: Is a directory"
    assert names(folder) == ["part-00001.pbr"]


def test_a_tale_of_progress_counts_all(run, source):
    told = []
    run([source, source], source.parent / "out.pbr", tell=lambda *done: told.append(done))
    assert told[-1] == (2 * source.stat().st_size, 2 * len(ROWS))
    assert told == sorted(told)
