"""``model_algo-1`` on disk: written once, found in every form it may come in."""

from __future__ import annotations

import os
import struct
import tarfile

import numpy as np
import pytest

from onepass.artifact.archive import pack
from onepass.artifact.model_file import MODEL_FILE, load_model, model_bytes, save_model
from onepass.cluster.model import KMeansModel
from onepass.errors import DecodeError, PlatformError, UserError

CENTERS = np.array([[0, 1, 2], [3, 4, 5]], np.float32)

# The very bytes MXNet 1.9.1 writes for nd.save(path, [nd.array([[0, 1, 2], [3, 4, 5]])]).
MXNET_BYTES = bytes.fromhex(
    "12010000000000000000000000000000"
    "0100000000000000c9fa93f900000000"
    "02000000020000000000000003000000"
    "00000000010000000000000000000000"
    "000000000000803f0000004000004040"
    "000080400000a0400000000000000000"
)


@pytest.fixture
def model_directory(tmp_path):
    save_model(KMeansModel(CENTERS), tmp_path / "model")
    return tmp_path / "model"


def refusal(path):
    with pytest.raises(UserError) as caught:
        load_model(path)
    return str(caught.value)


def test_a_model_is_written_as_mxnet_would(tmp_path):
    path = save_model(KMeansModel(CENTERS), tmp_path / "made/on/the/way")
    assert path == tmp_path / "made/on/the/way/model_algo-1"
    assert path.read_bytes() == MXNET_BYTES


def test_a_model_replaces_an_older_one(model_directory):
    save_model(KMeansModel(CENTERS + 1), model_directory)
    assert load_model(model_directory).centers.tolist() == (CENTERS + 1).tolist()


def test_a_model_that_cannot_be_written_is_an_error_of_the_platform(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PlatformError, match="cannot write"):
        save_model(KMeansModel(CENTERS), tmp_path / "file")


def test_a_model_is_found_by_its_file(model_directory):
    assert load_model(model_directory / "model_algo-1").centers.tolist() == CENTERS.tolist()


def test_a_model_is_found_by_its_directory_among_other_files(model_directory):
    (model_directory / "state_ac4243fa-9838-41d2-b8d0-29601c73fdc3").write_bytes(b"?")
    (model_directory / "code").mkdir()
    model = load_model(str(model_directory))
    assert model.centers.tolist() == CENTERS.tolist()
    assert (model.n_clusters, model.n_features) == (2, 3)


def test_a_model_is_found_in_an_archive(model_directory, tmp_path):
    pack(model_directory, tmp_path / "model.tar.gz")
    assert load_model(tmp_path / "model.tar.gz").centers.tolist() == CENTERS.tolist()


def test_a_model_is_found_in_an_archive_in_a_directory(model_directory, tmp_path):
    pack(model_directory, tmp_path / "other/model.tar.gz")
    assert load_model(tmp_path / "other").centers.tolist() == CENTERS.tolist()


def test_a_model_is_found_in_an_archive_packed_by_tar(model_directory, tmp_path):
    with tarfile.open(tmp_path / "model.tgz", "w:gz") as tar:
        tar.add(model_directory, ".")
    assert load_model(tmp_path / "model.tgz").centers.tolist() == CENTERS.tolist()


def test_the_file_goes_before_the_archive(model_directory, tmp_path):
    save_model(KMeansModel(CENTERS + 1), tmp_path / "other")
    pack(tmp_path / "other", model_directory / "model.tar.gz")
    assert load_model(model_directory).centers.tolist() == CENTERS.tolist()


def test_an_array_saved_under_a_name_is_a_model_too(tmp_path):
    named = MXNET_BYTES[:-8] + struct.pack("<QQ", 1, 9) + b"centroids"
    (tmp_path / "model_algo-1").write_bytes(named)
    assert load_model(tmp_path).centers.tolist() == CENTERS.tolist()


def test_a_model_trained_on_a_gpu_is_read(tmp_path):
    on_gpu = bytearray(MXNET_BYTES)
    on_gpu[0x34] = 2  # the device type, after the two extents
    (tmp_path / "model_algo-1").write_bytes(on_gpu)
    assert load_model(tmp_path).centers.tolist() == CENTERS.tolist()


def test_a_link_within_the_directory_is_followed(model_directory):
    (model_directory / "model_algo-1").rename(model_directory / "real")
    (model_directory / "model_algo-1").symlink_to("real")
    assert load_model(model_directory).centers.tolist() == CENTERS.tolist()


@pytest.mark.parametrize("name", ["model_algo-1", "model.tar.gz"])
def test_a_link_that_leads_out_of_the_directory_is_refused(model_directory, tmp_path, name):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).symlink_to(model_directory / "model_algo-1")
    assert "is a link that leads out of its directory" in refusal(tmp_path / "other")


def test_a_linked_directory_is_a_directory(model_directory, tmp_path):
    (tmp_path / "link").symlink_to(model_directory)
    assert load_model(tmp_path / "link").centers.tolist() == CENTERS.tolist()


def test_where_there_is_no_model_the_message_lists_what_was_found(tmp_path):
    (tmp_path / "kmeans-model").write_bytes(b"")
    (tmp_path / "code").mkdir()
    text = refusal(tmp_path)
    assert text == (
        f"there is no model in {tmp_path}: expected a file model_algo-1 or model.tar.gz, "
        "found code/, kmeans-model"
    )


def test_an_empty_directory_holds_nothing(tmp_path):
    assert refusal(tmp_path).endswith("found nothing")


def test_a_directory_of_the_models_name_is_no_model(tmp_path):
    (tmp_path / "model_algo-1").mkdir()
    assert refusal(tmp_path).endswith("found model_algo-1/")


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    text = refusal(tmp_path / "nowhere")
    assert text == f"cannot read the model {tmp_path}/nowhere: No such file or directory"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for ask in (load_model, model_bytes):
        with pytest.raises(UserError, match="pipe: it is no regular file"):
            ask(tmp_path / "pipe")


def test_how_large_a_model_is_is_told_without_reading_it(model_directory, tmp_path):
    size = len((model_directory / MODEL_FILE).read_bytes())
    pack(model_directory, tmp_path / "model.tar.gz")
    for path in (model_directory, model_directory / MODEL_FILE, tmp_path / "model.tar.gz"):
        assert model_bytes(path) == size
    (tmp_path / "broken.tar.gz").write_bytes((tmp_path / "model.tar.gz").read_bytes()[:40])
    with pytest.raises(DecodeError, match=r"broken\.tar\.gz"):
        model_bytes(tmp_path / "broken.tar.gz")
    with pytest.raises(UserError, match="No such file"):
        model_bytes(tmp_path / "none")


@pytest.mark.parametrize("length", [0, 1, 8, 24, 60, 95])
def test_a_file_cut_short_is_refused_by_name(tmp_path, length):
    path = tmp_path / "model_algo-1"
    path.write_bytes(MXNET_BYTES[:length])
    assert refusal(tmp_path).startswith(f"{path}, byte ")


def test_centers_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "model_algo-1"
    path.write_bytes(MXNET_BYTES[:-12] + struct.pack("<fQ", np.nan, 0))
    assert "center 1, feature 2 is NaN or infinite" in refusal(tmp_path)
