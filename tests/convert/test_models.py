"""Models as others want them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from onepass import KMeansModel, save_model
from onepass.artifact.archive import pack
from onepass.errors import UserError


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(50, 3, (2_000, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def model(rows):
    return KMeansModel(rows[::97].copy())


@pytest.mark.parametrize("where", ["file", "directory", "archive", "text"])
def test_it_is_loaded_from_wherever_it_is(model, tmp_path, where):
    path = save_model(model, tmp_path / "model")
    pack(path.parent, tmp_path / "model.tar.gz")
    places = {"file": path, "directory": path.parent, "archive": tmp_path / "model.tar.gz"}
    loaded = KMeansModel.load(places.get(where, str(path)))
    np.testing.assert_array_equal(loaded.centers, model.centers)


class TestS3:
    @pytest.fixture
    def bucket(self, s3_endpoint, monkeypatch):
        boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
        for name, value in {
            "AWS_ENDPOINT_URL": s3_endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        location = {"LocationConstraint": "eu-west-1"}
        client.create_bucket(Bucket="models-of-mine", CreateBucketConfiguration=location)
        yield client
        for one in client.list_objects_v2(Bucket="models-of-mine").get("Contents", ()):
            client.delete_object(Bucket="models-of-mine", Key=one["Key"])
        client.delete_bucket(Bucket="models-of-mine")

    @pytest.mark.parametrize("name", ["model_algo-1", "model.tar.gz"])
    def test_it_is_loaded_from_there(self, model, tmp_path, bucket, name):
        save_model(model, tmp_path / "model")
        pack(tmp_path / "model", tmp_path / "model/model.tar.gz")
        data = (tmp_path / "model" / name).read_bytes()
        bucket.put_object(Bucket="models-of-mine", Key=f"a/{name}", Body=data)
        loaded = KMeansModel.load(f"s3://models-of-mine/a/{name}")
        np.testing.assert_array_equal(loaded.centers, model.centers)

    def test_what_is_not_there_or_no_model_is_told_by_its_address(self, bucket):
        bucket.put_object(Bucket="models-of-mine", Key="a/model_algo-1", Body=b"nothing")
        with pytest.raises(UserError, match="s3://models-of-mine/a/model_algo-1"):
            KMeansModel.load("s3://models-of-mine/a/model_algo-1")
        with pytest.raises(UserError, match="s3://models-of-mine/b"):
            KMeansModel.load("s3://models-of-mine/b")


def test_numpy_alone_reads_what_save_npz_writes(model, tmp_path):
    path = model.save_npz(tmp_path / "centers.npz")
    with np.load(path, allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["centers"], model.centers)


def test_scikit_learn_answers_as_this_does(model, rows):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    theirs = model.to_sklearn()
    np.testing.assert_array_equal(theirs.cluster_centers_, model.centers)
    np.testing.assert_array_equal(theirs.predict(rows), model.predict(rows))
    np.testing.assert_allclose(theirs.transform(rows), model.distances(rows), rtol=1e-3, atol=1e-2)
    assert theirs.n_features_in_ == 6


def test_two_equal_centers_are_kept_for_scikit_learn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    twice = KMeansModel(np.array([[1, 2], [1, 2], [3, 4]], np.float32))
    np.testing.assert_array_equal(twice.to_sklearn().cluster_centers_, twice.centers)


def test_onnx_answers_as_this_does(model, rows):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx.reference import ReferenceEvaluator

    labels, distances = ReferenceEvaluator(model.to_onnx()).run(None, {"X": rows})
    expected = model.assign(rows)
    assert (labels == expected.labels).mean() > 0.999
    np.testing.assert_allclose(distances, expected.distances, rtol=1e-4)


@pytest.mark.parametrize(("package", "name"), [("sklearn", "to_sklearn"), ("onnx", "to_onnx")])
def test_what_is_not_installed_is_told(model, monkeypatch, package, name):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"is not installed .*pip install"):
        getattr(model, name)()
