"""``model.tar.gz``: packed reproducibly, read without trust."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import tarfile
import tracemalloc

import pytest

from onepass.artifact.archive import MAX_MEMBERS, pack, read_member
from onepass.errors import DecodeError, TooLargeError

NAME = "model_algo-1"


def make_archive(path, *members):
    """Write a .tar.gz of (name, bytes), or of ready-made headers."""
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                name, data = member
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    return path


def read(path, limit_bytes=1000):
    return read_member(path, NAME, limit_bytes=limit_bytes)


def refusal(path, limit_bytes=1000):
    with pytest.raises(DecodeError) as caught:
        read(path, limit_bytes)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text


def raw_header(name, size_field, kind=tarfile.REGTYPE):
    """A tar header whose size field is given as it stands."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size_field
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


class TestPack:
    def test_the_files_stand_at_the_root(self, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / NAME).write_bytes(b"centers")
        pack(tmp_path / "model", tmp_path / "output/model.tar.gz")
        with tarfile.open(tmp_path / "output/model.tar.gz") as tar:
            assert tar.getnames() == [NAME]
        assert read(tmp_path / "output/model.tar.gz") == b"centers"

    def test_times_owners_modes_and_order_of_creation_change_no_byte(self, tmp_path):
        for folder, names in (("a", ("x", "y", "z")), ("b", ("z", "y", "x"))):
            for name in names:
                path = tmp_path / folder / "sub" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(name.encode() * 100)
        os.utime(tmp_path / "b/sub/x", (1, 1))
        (tmp_path / "b/sub/y").chmod(0o600)
        pack(tmp_path / "a", tmp_path / "a.tar.gz")
        pack(tmp_path / "b", tmp_path / "b.tar.gz")
        assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
        with tarfile.open(tmp_path / "b.tar.gz") as tar:
            assert tar.getnames() == ["sub/x", "sub/y", "sub/z"]

    def test_the_name_of_the_archive_changes_no_byte(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / NAME).write_bytes(b"centers")
        pack(tmp_path / "a", tmp_path / "one.tar.gz")
        pack(tmp_path / "a", tmp_path / "two.tar.gz")
        assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()

    def test_hidden_files_and_folders_are_left_out(self, tmp_path):
        for name in (NAME, ".gitkeep", ".git/config", "sub/.x"):
            (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "a" / name).write_bytes(b"")
        pack(tmp_path / "a", tmp_path / "a.tar.gz")
        with tarfile.open(tmp_path / "a.tar.gz") as tar:
            assert tar.getnames() == [NAME]

    def test_an_old_archive_is_replaced(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / NAME).write_bytes(b"centers")
        (tmp_path / "a.tar.gz").write_bytes(b"old")
        pack(tmp_path / "a", tmp_path / "a.tar.gz")
        assert read(tmp_path / "a.tar.gz") == b"centers"


class TestReadMember:
    @pytest.mark.parametrize("name", [NAME, f"./{NAME}"])
    def test_a_member_at_the_root_is_read(self, tmp_path, name):
        path = make_archive(tmp_path / "a.tar.gz", ("state_1", b"x"), (name, b"centers"))
        assert read(path) == b"centers"

    def test_an_empty_member_is_empty(self, tmp_path):
        assert read(make_archive(tmp_path / "a.tar.gz", (NAME, b""))) == b""

    def test_nothing_is_extracted(self, tmp_path, monkeypatch):
        (tmp_path / "in").mkdir()
        (tmp_path / "cwd").mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        path = make_archive(tmp_path / "in/a.tar.gz", ("../out", b"x"), ("/out", b"x"), (NAME, b""))
        read(path)
        assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "cwd", "in"]

    def test_a_missing_member_is_refused_with_what_was_found(self, tmp_path):
        path = make_archive(tmp_path / "a.tar.gz", ("kmeans-model", b"x"), (f"export/{NAME}", b"x"))
        text = refusal(path)
        assert NAME in text
        assert "kmeans-model" in text

    def test_an_empty_archive_is_refused(self, tmp_path):
        assert "expected at the root" in refusal(make_archive(tmp_path / "a.tar.gz"))

    @pytest.mark.parametrize("second", [NAME, f"./{NAME}"])
    def test_two_members_of_the_name_are_refused(self, tmp_path, second):
        path = make_archive(tmp_path / "a.tar.gz", (NAME, b"one"), (second, b"two"))
        assert "2 members of that name" in refusal(path)

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
    )
    def test_a_member_that_is_no_regular_file_is_refused(self, tmp_path, kind):
        header = tarfile.TarInfo(NAME)
        header.type, header.linkname = kind, "/etc/passwd"
        assert "a regular file" in refusal(make_archive(tmp_path / "a.tar.gz", header))

    def test_a_sparse_member_is_refused(self, tmp_path):
        header = bytearray(raw_header(NAME, b"00000000000\0"))
        header[156:157] = tarfile.GNUTYPE_SPARSE
        header[483:495] = b"00000001000\0"  # its size once unfolded
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
        assert "a regular file" in refusal(path)

    def test_a_member_over_the_limit_is_refused_by_its_declared_size(self, tmp_path):
        path = make_archive(tmp_path / "a.tar.gz", (NAME, bytes(1001)))
        with pytest.raises(TooLargeError, match="has 1001 bytes, more than 1000"):
            read(path)
        assert read(path, 1001) == bytes(1001)

    def test_a_bomb_is_refused_before_it_is_read(self, tmp_path):
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(raw_header(NAME, b"77777777777\0") + bytes(1024)))
        with pytest.raises(TooLargeError, match="has 8589934591 bytes"):
            read(path, 2**20)

    @pytest.mark.parametrize(
        "size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\x80" + b"\x7f" * 11, b"99999999999\0"]
    )
    def test_a_size_that_cannot_be_is_refused(self, tmp_path, size):
        for first in (NAME, "other"):
            path = tmp_path / "a.tar.gz"
            path.write_bytes(gzip.compress(raw_header(first, size) + bytes(1024)))
            refusal(path)

    def test_a_name_longer_than_memory_is_refused(self, tmp_path):
        header = raw_header("././@LongLink", b"\x80" + b"\x7f" * 11, tarfile.GNUTYPE_LONGNAME)
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(header + bytes(1024)))
        assert "a header of the archive is longer than 1048576 bytes" in refusal(path)

    @pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
    def test_a_long_header_is_refused_before_memory_is_taken_for_it(self, tmp_path, kind):
        header = raw_header("././@LongLink", b"%011o\0" % 2**26, kind)
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(header + b"x" * 2**26, 1))
        assert path.stat().st_size < 2**20
        tracemalloc.start()
        try:
            assert "a header of the archive is longer than 1048576 bytes" in refusal(path, 2**30)
            assert tracemalloc.get_traced_memory()[1] < 2**22
        finally:
            tracemalloc.stop()

    def test_many_long_headers_are_refused(self, tmp_path):
        long = raw_header("././@LongLink", b"%011o\0" % 2**20, tarfile.GNUTYPE_LONGNAME)
        member = long + b"x" * (2**20 - 1) + b"\0" + raw_header("x", b"%011o\0" % 0)
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(member * 9 + bytes(1024), 1))
        assert "headers are longer than 8388608 bytes" in refusal(path, 2**30)

    def test_a_long_name_and_a_long_file_are_read(self, tmp_path):
        data = os.urandom(2**20 + 1)
        path = make_archive(tmp_path / "a.tar.gz", ("x" * 5000, b"x"), (NAME, data))
        assert read(path, len(data)) == data

    def test_other_files_of_any_content_are_not_unfolded_without_end(self, tmp_path):
        for first in (True, False):
            members = [(NAME, b"x"), ("other", bytes(2**25))]
            path = make_archive(tmp_path / "a.tar.gz", *members[:: 1 if first else -1])
            assert "unfolds to more than 16778216 bytes" in refusal(path)

    def test_too_many_members_are_refused(self, tmp_path):
        block = tarfile.TarInfo("x").tobuf()
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(block * (MAX_MEMBERS + 1) + bytes(1024)))
        assert f"more than {MAX_MEMBERS} members" in refusal(path)

    def test_an_archive_cut_anywhere_is_refused(self, tmp_path):
        whole = make_archive(tmp_path / "a.tar.gz", (NAME, os.urandom(2000))).read_bytes()
        for length in range(0, len(whole) - 1, 37):
            (tmp_path / "cut.tar.gz").write_bytes(whole[:length])
            refusal(tmp_path / "cut.tar.gz", 5000)

    def test_every_flipped_bit_is_noticed_or_harmless(self, tmp_path):
        path = make_archive(tmp_path / "a.tar.gz", (NAME, b"centers"))
        whole = path.read_bytes()
        for position in range(len(whole)):
            broken = bytearray(whole)
            broken[position] ^= 1 << position % 8
            path.write_bytes(broken)
            with contextlib.suppress(DecodeError):
                assert read(path) == b"centers"

    def test_endless_zeros_behind_the_archive_are_refused(self, tmp_path):
        whole = gzip.decompress(make_archive(tmp_path / "a.tar.gz", (NAME, b"x")).read_bytes())
        path = tmp_path / "b.tar.gz"
        path.write_bytes(gzip.compress(whole + bytes(2**20), 1))
        assert read(path) == b"x"
        path.write_bytes(gzip.compress(whole + bytes(2**25), 1))
        assert "unfolds to more than" in refusal(path)

    @pytest.mark.parametrize(
        "data",
        [b"", b"model", struct.pack("<QQ", 0x112, 0), gzip.compress(b"not a tar" * 100, mtime=0)],
    )
    def test_what_is_no_archive_is_refused(self, tmp_path, data):
        path = tmp_path / "a.tar.gz"
        path.write_bytes(data)
        refusal(path)
