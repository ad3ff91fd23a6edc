"""Which files of a channel are read, and in which order."""

from __future__ import annotations

import os

import pytest

from onepass.data.channels import find_files, list_files
from onepass.errors import UserError


@pytest.fixture
def channel(tmp_path):
    directory = tmp_path / "train"
    directory.mkdir()
    return directory


def put(directory, *names, content=b"x"):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names(directory):
    return [path.relative_to(directory).as_posix() for path in list_files(directory, "train")]


def refusal(directory):
    with pytest.raises(UserError) as caught:
        list_files(directory, "train")
    return str(caught.value)


def test_files_are_read_in_the_order_of_their_names(channel):
    put(channel, "matrix_1.pbr", "matrix_0.pbr", "matrix_10.pbr", "Z", "a")
    assert names(channel) == ["Z", "a", "matrix_0.pbr", "matrix_1.pbr", "matrix_10.pbr"]


def test_folders_are_read_where_their_name_stands_in_the_order(channel):
    put(channel, "b/2", "b/1", "a", "c", "b/b/0", "b-c")
    assert names(channel) == ["a", "b/1", "b/2", "b/b/0", "b-c", "c"]


def test_names_that_start_with_a_dot_or_an_underscore_are_passed_over(channel):
    put(channel, ".amazon.manifest", "_SUCCESS", "a", "a_b.c", "_temporary/0", ".git/config")
    assert names(channel) == ["a", "a_b.c"]


def test_the_manifest_beside_the_channel_is_not_in_it(channel):
    put(channel.parent, "train-manifest", "train_0", "training/x")
    put(channel, "a")
    assert names(channel) == ["a"]


def test_empty_files_are_listed_beside_files_with_data(channel):
    put(channel, "a", content=b"")
    put(channel, "b")
    assert names(channel) == ["a", "b"]


def test_links_to_files_are_read_and_broken_ones_passed_over(channel, tmp_path):
    put(tmp_path, "elsewhere")
    (channel / "a").symlink_to(tmp_path / "elsewhere")
    (channel / "b").symlink_to(tmp_path / "nowhere")
    (channel / "c").symlink_to(channel / "c")
    assert names(channel) == ["a"]


def test_what_is_no_regular_file_is_passed_over(channel):
    put(channel, "a")
    os.mkfifo(channel / "b")
    assert names(channel) == ["a"]


def test_the_directory_may_be_a_link(channel, tmp_path):
    put(channel, "a")
    (tmp_path / "link").symlink_to(channel)
    assert names(tmp_path / "link") == ["a"]


def test_a_missing_directory_is_refused_by_name(tmp_path):
    assert refusal(tmp_path / "train") == (
        f"channel 'train': there is no directory {tmp_path}/train; give the job one"
    )


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    put(tmp_path, "train")
    assert "there is no directory" in refusal(tmp_path / "train")


def test_an_empty_channel_is_refused(channel):
    text = refusal(channel)
    assert text.startswith("channel 'train' has no data: there is no file in it (")


def test_a_channel_of_hidden_files_is_empty(channel):
    put(channel, "_SUCCESS", ".a", "_b/c")
    text = refusal(channel)
    assert "there is no file in it" in text
    assert "names starting with '.' or '_' do not count" in text


def test_a_channel_of_empty_files_is_refused_with_their_number(channel):
    put(channel, "a", "b/c", content=b"")
    assert "channel 'train' has no data: its 2 files are empty" in refusal(channel)


def test_what_links_lead_to_is_read_once(tmp_path):
    channel, elsewhere = tmp_path / "train", tmp_path / "elsewhere"
    channel.mkdir()
    elsewhere.mkdir()
    (elsewhere / "rows.pbr").write_bytes(b"x")
    (channel / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(elsewhere)
    assert list_files(channel, "train") == [channel / "linked" / "rows.pbr"]


def test_a_host_without_objects_has_no_files(tmp_path):
    assert find_files(tmp_path / "train") == []
    (tmp_path / "train").mkdir()
    assert find_files(tmp_path / "train") == []
    put(tmp_path / "train", "b", "a")
    assert find_files(tmp_path / "train") == list_files(tmp_path / "train", "train")


def test_a_file_in_the_place_of_a_directory_is_not_taken_for_an_empty_one(tmp_path):
    put(tmp_path, "train")
    with pytest.raises(UserError, match=r"cannot read \S+/train: Not a directory"):
        find_files(tmp_path / "train")
