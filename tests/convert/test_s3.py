"""From S3 and to S3, against a server of our own."""

from __future__ import annotations

import io

import numpy as np
import pytest

from onepass.errors import DecodeError, UserError
from onepass.formats.record_writer import write_rows

ROWS = np.random.default_rng(0).normal(size=(1_000, 3)).astype(np.float32)
FORMATS = ("recordio", "csv", "parquet", "npy", "libsvm")


def keys(bucket):
    return [item.key for item in bucket.objects.all()]


def content(bucket, key):
    return bucket.Object(key).get()["Body"].read()


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "in.npy", ROWS)
    return tmp_path / "in.npy"


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_goes_up_and_comes_down(tables, run, bucket, source, file_format):
    name = f"s3://data/rows{tables.ENDINGS[file_format]}"
    done = run([source], name)
    [item] = bucket.objects.all()
    assert done.n_bytes == item.size
    run([name], source.parent / "out.npy", feature_dim=3, keep_labels=False)
    assert (source.parent / "out.npy").read_bytes() == source.read_bytes()


def test_what_is_sent_is_what_would_lie_on_disk(tables, run, bucket, source):
    for file_format in FORMATS:
        name = f"rows{tables.ENDINGS[file_format]}"
        run([source], f"s3://data/{name}")
        run([source], source.parent / name)
        assert content(bucket, name) == (source.parent / name).read_bytes()


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("file_format", ["npy", "parquet", "csv"])
def test_objects_of_several_parts(tables, run, tmp_path, file_format):
    rows = np.random.default_rng(1).normal(size=(400_000, 12)).astype(np.float32)
    np.save(tmp_path / "in.npy", rows)
    name = f"s3://data/big{tables.ENDINGS[file_format]}"
    done = run([tmp_path / "in.npy"], name)
    assert done.n_bytes > 2 * 8 * 2**20
    run([name], tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "in.npy").read_bytes()


def test_a_folder_of_shards_is_filled_and_read(run, bucket, source):
    run([source], "s3://data/a/train/", rows_per_file=300)
    assert keys(bucket) == [f"a/train/part-0000{i}.pbr" for i in range(4)]
    bucket.put_object(Key="a/train/_SUCCESS", Body=b"x")
    bucket.put_object(Key="a/train-2/other.csv", Body=b"x")
    run(["s3://data/a/train"], source.parent / "out.npy")
    assert (source.parent / "out.npy").read_bytes() == source.read_bytes()
    assert content(bucket, "a/train/part-00003.pbr") == write_rows(ROWS[900:])


@pytest.mark.parametrize("name", ["s3://rows.csv", "s3://rows.csv/", "s3://rows.csv/a"])
def test_a_bucket_may_have_a_name_like_a_file(run, bucket, source, name):
    other = bucket.meta.client
    other.create_bucket(Bucket="rows.csv")
    try:
        run([source], name, rows_per_file=600)
        answer = other.list_objects_v2(Bucket="rows.csv")
        found = [entry["Key"] for entry in answer["Contents"]]
    finally:
        for entry in other.list_objects_v2(Bucket="rows.csv").get("Contents", ()):
            other.delete_object(Bucket="rows.csv", Key=entry["Key"])
        other.delete_bucket(Bucket="rows.csv")
    folder = "a/" if name.endswith("a") else ""
    assert found == [f"{folder}part-00000.pbr", f"{folder}part-00001.pbr"]


def test_packed_objects_are_read(run, bucket, source):
    run([source], "s3://data/rows.csv.gz")
    assert content(bucket, "rows.csv.gz")[:2] == b"\x1f\x8b"
    run(["s3://data/rows.csv.gz"], source.parent / "out.npy")
    assert (source.parent / "out.npy").read_bytes() == source.read_bytes()


def test_from_one_place_of_s3_to_another(run, bucket, source):
    run([source], "s3://data/a/", rows_per_file=500)
    run(["s3://data/a/"], "s3://data/b.npy")
    assert np.array_equal(np.load(io.BytesIO(content(bucket, "b.npy"))), ROWS)


def refused(run, *args, kind=UserError, **options):
    with pytest.raises(kind) as caught:
        run(*args, **options)
    return str(caught.value)


def test_what_is_there_is_replaced_only_where_that_is_asked_for(run, bucket, source):
    bucket.put_object(Key="rows.csv", Body=b"old")
    expected = "s3://data/rows.csv is there already; --overwrite replaces it"
    assert refused(run, [source], "s3://data/rows.csv") == expected
    assert content(bucket, "rows.csv") == b"old"
    run([source], "s3://data/rows.csv", overwrite=True)
    assert content(bucket, "rows.csv") != b"old"


def test_a_folder_is_replaced_as_a_whole(run, bucket, source):
    run([source], "s3://data/a", rows_per_file=300)
    told = refused(run, [source], "s3://data/a")
    assert told.startswith("s3://data/a holds 4 files already, part-00000.pbr among them")
    run([source], "s3://data/a", rows_per_file=600, overwrite=True)
    assert keys(bucket) == ["a/part-00000.pbr", "a/part-00001.pbr"]
    bucket.put_object(Key="a/b/mine", Body=b"x")
    told = refused(run, [source], "s3://data/a", overwrite=True)
    assert told.startswith("s3://data/a holds b/mine, which is not replaced")


def test_an_error_in_the_middle_leaves_nothing(run, bucket, tmp_path):
    bucket.put_object(Key="in/0.csv", Body=b"1,2,3\n" * 400_000)
    bucket.put_object(Key="in/1.csv", Body=b"1,2,3\n1,x,3\n")
    told = refused(run, ["s3://data/in"], "s3://data/out/", rows_per_file=100_000, kind=DecodeError)
    assert told.startswith("s3://data/in/1.csv, row 2 at byte 6, column 2: 'x' is no number")
    refused(run, ["s3://data/in"], tmp_path / "out", rows_per_file=100_000, kind=DecodeError)
    assert keys(bucket) == ["in/0.csv", "in/1.csv"]
    assert list(bucket.multipart_uploads.all()) == list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(run, bucket, source):
    def interrupt(_, n_rows):
        if n_rows >= 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([source, source], "s3://data/out/", rows_per_file=500, tell=interrupt)
    assert keys(bucket) == list(bucket.multipart_uploads.all()) == []


@pytest.mark.usefixtures("bucket")
def test_a_name_that_stands_for_nothing(run, tmp_path):
    told = refused(run, ["s3://data/nothing/"], tmp_path / "out.npy")
    assert told.startswith("s3://data/nothing/: there is no object of this name or below it (")
    told = refused(run, ["s3://nowhere/a"], tmp_path / "out.npy")
    assert told.startswith("s3://nowhere/a: there is no such bucket or object")
