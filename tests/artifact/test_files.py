"""Files that are there whole or not at all."""

from __future__ import annotations

import errno

import pytest

from onepass.artifact.files import Writing, write_atomically, write_together
from onepass.errors import PlatformError


def test_a_file_is_written_whole_and_readable_for_others(tmp_path):
    path = tmp_path / "model"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_missing_directories_are_made(tmp_path):
    write_atomically(tmp_path / "a/b/model", lambda file: file.write(b"new"))
    assert (tmp_path / "a/b/model").read_bytes() == b"new"


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"a longer old one")
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_system_names_the_file_and_the_reason(tmp_path):
    path = tmp_path / "model"

    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(PlatformError, match=f"cannot write {path}: No space left on device"):
        write_atomically(path, fail)
    assert list(tmp_path.iterdir()) == []


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file/model"
    with pytest.raises(PlatformError, match=f"cannot write {path}: "):
        write_atomically(path, lambda file: file.write(b"new"))


def test_a_directory_in_the_place_of_the_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "model"
    (path / "inner").mkdir(parents=True)
    with pytest.raises(PlatformError, match=f"cannot write {path}: "):
        write_atomically(path, lambda file: file.write(b"new"))
    assert [child.name for child in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def disk(small_disk, tmp_path):
    """A file system of 64 KiB."""
    return small_disk(tmp_path / "disk")


def test_a_full_disk_leaves_the_old_file_and_no_other(disk):
    path = disk / "model"
    path.write_bytes(b"old")
    with pytest.raises(PlatformError, match=f"cannot write {path}: No space left on device"):
        write_atomically(path, lambda file: file.write(bytes(2**20)))
    assert path.read_bytes() == b"old"
    assert list(disk.iterdir()) == [path]


class TestTogether:
    def test_all_are_written(self, tmp_path):
        write_together([Writing(tmp_path / n, lambda file: file.write(b"new")) for n in "ab"])
        assert [(tmp_path / n).read_bytes() for n in "ab"] == [b"new"] * 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    @pytest.mark.parametrize("what", ["writing", "checking"])
    def test_none_is_new_where_one_cannot_be_written(self, tmp_path, what):
        for name in "ab":
            (tmp_path / name).write_bytes(b"old")

        def fail(_file):
            raise OSError(errno.ENOSPC, "No space left on device")

        def write(file):
            file.write(b"new")

        last = (fail, None) if what == "writing" else (write, fail)
        with pytest.raises(PlatformError, match=r"cannot write .*/b: No space left"):
            write_together([Writing(tmp_path / "a", write), Writing(tmp_path / "b", *last)])
        assert [(tmp_path / n).read_bytes() for n in "ab"] == [b"old"] * 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    def test_what_was_written_is_looked_at_before_it_takes_its_place(self, tmp_path):
        path, seen = tmp_path / "a", []
        path.write_bytes(b"old")

        def look(file):
            seen.append((file.read(), path.read_bytes()))

        write_together([Writing(path, lambda file: file.write(b"new"), look)])
        assert seen == [(b"new", b"old")]
