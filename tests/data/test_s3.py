"""Objects in S3, against a server of our own."""

from __future__ import annotations

import socket
import sys
import threading

import numpy as np
import pytest

from onepass.data.s3 import Store
from onepass.data.s3_client import S3Uri
from onepass.data.s3_upload import PART_BYTES
from onepass.errors import PlatformError, UserError


def put(bucket, **objects):
    for name, data in objects.items():
        bucket.put_object(Key=name, Body=data)


def put_all(bucket, names):
    for name in names:
        bucket.put_object(Key=name, Body=name.encode())


def listed(name):
    return [item.uri.key for item in Store().list_objects(S3Uri.parse(name))]


def read_all(stream, at_once=7):
    room, data = bytearray(at_once), b""
    while n := stream.readinto(memoryview(room)):
        data += room[:n]
    stream.close()
    return data


def opened(name, *part):
    store = Store()
    [item] = store.list_objects(S3Uri.parse(name))
    return store.open(item, *part)


def test_names_are_taken_apart():
    assert S3Uri.parse("s3://b/a/c") == S3Uri("b", "a/c")
    assert S3Uri.parse("s3://b") == S3Uri.parse("s3://b/") == S3Uri("b", "")
    assert str(S3Uri("b", "a/c")) == "s3://b/a/c"
    assert S3Uri("b", "a/").below("c") == S3Uri("b", "a").below("c") == S3Uri("b", "a/c")
    assert S3Uri("b", "").below("c") == S3Uri("b", "c")


@pytest.mark.parametrize("name", ["s3://", "s3:///key", "s4://b/key"])
def test_what_names_no_bucket_is_refused(name):
    with pytest.raises(UserError, match="s3://bucket/key is expected"):
        S3Uri.parse(name)


def test_a_folder_is_listed_in_the_order_of_its_paths(bucket):
    put_all(bucket, ["in/b.csv", "in/a/z.csv", "in/a.csv", "in-2/c.csv", "other.csv"])
    expected = ["in/a/z.csv", "in/a.csv", "in/b.csv"]
    assert listed("s3://data/in") == listed("s3://data/in/") == expected
    assert len(listed("s3://data")) == 5


def test_hidden_names_and_folders_are_passed_over(bucket):
    put_all(bucket, ["_top/in/.manifest", "_top/in/_SUCCESS", "_top/in/_x/a", "_top/in/a"])
    bucket.put_object(Key="_top/in/", Body=b"")
    assert listed("s3://data/_top/in/") == ["_top/in/a"]


def test_a_name_is_an_object_before_it_is_the_beginning_of_others(bucket):
    put_all(bucket, ["in/part-1", "in/part-10", "in/part-2"])
    assert listed("s3://data/in/part-1") == ["in/part-1"]
    assert listed("s3://data/in/part-") == ["in/part-1", "in/part-10", "in/part-2"]
    assert listed("s3://data/in/x") == []


def test_more_objects_than_one_answer_holds_are_listed(bucket, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "20")  # of S3 itself, 1,000
    names = [f"many/{i:04d}" for i in range(45)]
    put_all(bucket, names)
    assert listed("s3://data/many/") == names


def test_an_object_is_read_forward(bucket):
    put(bucket, a=b"0123456789" * 10)
    stream = opened("s3://data/a")
    assert stream.n_there == 100
    assert stream.head() == stream.head() == b"0123"
    assert stream.n_there == 100
    assert read_all(stream) == b"0123456789" * 10
    assert (stream.n_read, stream.n_there) == (100, 0)


def test_a_range_is_read(bucket):
    put(bucket, a=b"0123456789")
    assert read_all(opened("s3://data/a", 3, 7)) == b"3456"
    assert read_all(opened("s3://data/a", 8)) == b"89"
    assert read_all(opened("s3://data/a", 4, 4)) == b""


def test_a_short_object_has_a_short_head(bucket):
    put(bucket, a=b"01", empty=b"")
    assert opened("s3://data/a").head() == b"01"
    assert opened("s3://data/empty").head() == b""


def test_an_object_is_read_from_any_place(bucket):
    put(bucket, a=b"0123456789")
    stream = opened("s3://data/a")
    file = stream.seekable()
    assert (file.seek(-3, 2), file.read(2), file.tell()) == (7, b"78", 9)
    assert (file.seek(1), file.read(0), file.read(3), file.seek(1, 1)) == (1, b"", b"123", 5)
    assert (file.read(), file.read(5)) == (b"56789", b"")
    assert stream.n_read == 10


def test_an_object_written_anew_meanwhile_is_not_read_as_one(bucket):
    put(bucket, a=b"0" * 100)
    stream = opened("s3://data/a")
    put(bucket, a=b"1" * 100)
    with pytest.raises(UserError, match="s3://data/a was written anew while it was read"):
        read_all(stream)


def upload(name, *pieces, head=b""):
    made = Store().upload(S3Uri.parse(name))
    for piece in pieces:
        made.write(piece)
    made.rewrite_head(head)
    made.finish()
    return made


def test_an_upload_is_there_once_it_is_complete(bucket):
    made = upload("s3://data/a/b", b"xxxx", memoryview(b"45"), head=b"0123")
    assert (list(bucket.objects.all()), made.n_bytes) == ([], 6)
    made.complete()
    assert bucket.Object("a/b").get()["Body"].read() == b"012345"


def test_an_upload_of_several_parts_is_put_together_in_order(bucket):
    data = np.random.default_rng(0).bytes(2 * PART_BYTES + 12_345)
    pieces = [data[i : i + 1_000_003] for i in range(0, len(data), 1_000_003)]
    upload("s3://data/big", *pieces, head=b"head").complete()
    assert bucket.Object("big").get()["Body"].read() == b"head" + data[4:]
    assert '-3"' in bucket.Object("big").e_tag  # three parts
    assert read_all(opened("s3://data/big"), 2**20) == b"head" + data[4:]


def test_an_upload_that_is_abandoned_leaves_nothing(bucket):
    upload("s3://data/a", b"x" * PART_BYTES * 2).abandon()
    made = Store().upload(S3Uri.parse("s3://data/b"))
    made.abandon()
    assert list(bucket.objects.all()) == list(bucket.multipart_uploads.all()) == []


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_is_told():
    with pytest.raises(UserError, match=r"s3://nowhere/a: there is no such bucket or object"):
        listed("s3://nowhere/a")


@pytest.mark.usefixtures("bucket")
def test_missing_credentials_are_told(monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match=r"s3://data/a: Unable to locate credentials"):
        listed("s3://data/a")


@pytest.mark.usefixtures("bucket")
def test_a_name_that_no_bucket_has_is_told():
    with pytest.raises(UserError, match="Invalid bucket name"):
        listed("s3://not a bucket/a")


@pytest.mark.usefixtures("bucket")
def test_a_server_that_does_not_answer_is_the_surroundings_fault(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(PlatformError, match=r"s3://data/a: Could not connect"):
            listed("s3://data/a")


def test_without_boto3_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(UserError, match=r"pip install 'onepass-kmeans\[s3\]'"):
        Store()


class CuttingProxy(threading.Thread):
    """Passes each connection on, and cuts it after so many bytes of the answer, a few times."""

    def __init__(self, address, n_bytes, n_cuts):
        super().__init__(daemon=True)
        self.address, self.n_bytes, self.n_cuts = address, n_bytes, n_cuts
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self.address) as server:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += client.recv(65536)
                head, _, rest = request.partition(b"\r\n\r\n")
                server.sendall(head + b"\r\nConnection: close\r\n\r\n" + rest)
                self.answer(server, client, ranged=b"range: bytes" in head.lower())

    def answer(self, server, client, *, ranged):
        left = self.n_bytes if ranged and self.n_cuts else sys.maxsize
        while left and (piece := server.recv(min(left, 65536))):
            client.sendall(piece)
            left -= len(piece)
        if not left:
            self.n_cuts -= 1


@pytest.fixture
def cutting(s3_endpoint, monkeypatch):
    """Lead the environment through a proxy that cuts connections."""
    proxies = []

    def make(n_bytes, n_cuts):
        host, port = s3_endpoint.removeprefix("http://").split(":")
        proxies.append(CuttingProxy((host, int(port)), n_bytes, n_cuts))
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxies[0].endpoint)
        return proxies[0]

    yield make
    for proxy in proxies:
        proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
        proxy.join()


def test_a_connection_that_breaks_is_taken_up_where_it_broke(bucket, cutting):
    data = np.random.default_rng(0).bytes(1_000_000)
    put(bucket, a=data)
    proxy = cutting(300_000, 3)
    assert read_all(opened("s3://data/a"), 65536) == data
    assert proxy.n_cuts == 0


def test_a_connection_that_always_breaks_is_given_up(bucket, cutting, monkeypatch):
    put(bucket, a=b"0" * 1000)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    cutting(100, sys.maxsize)
    with pytest.raises(PlatformError, match="s3://data/a"):
        read_all(opened("s3://data/a"))
