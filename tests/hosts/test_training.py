"""Several hosts train one model, in which each record counts once."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import numpy as np
import pytest

from onepass.artifact.model_file import load_model
from onepass.formats.record_writer import write_rows


def run(hosts):
    """Run all hosts to their end; returns the exit codes."""
    for host in reversed(hosts):  # the leader last
        host.start()
    return [host.wait() for host in hosts]


def n_read(host):
    """Return the records that each host has read, as the leader tells it, and the total."""
    of_hosts = {name: int(n) for name, n in re.findall(r"host (\S+) has read (\d+) rec", host.log)}
    return of_hosts, int(re.search(r"all hosts have read (\d+) records", host.log)[1])


@pytest.mark.parametrize("distribution", ["FullyReplicated", "ShardedByS3Key"])
def test_hosts_train_one_model(hosts, blobs, distribution):
    first, second = made = hosts(blobs, distribution)
    assert run(made) == [0, 0], first.log + second.log
    of_hosts, total = n_read(first)
    assert sorted(of_hosts) == [first.name, second.name]
    assert min(of_hosts.values()) > 29_000
    assert sum(of_hosts.values()) == total == 60_000
    centers = load_model(first.model_file).centers
    order = np.lexsort(centers.round().T[::-1])
    np.testing.assert_allclose(centers[order], [[0, 0, 0], [0, 10, 0], [10, 0, 0]], atol=0.05)
    assert not second.model_file.exists()
    reports = [sorted(p.name for p in (h.base / "output/data").glob("*")) for h in made]
    assert reports == [["metrics.json", "metrics.jsonl", "report.html"], []]
    assert json.loads((first.base / "output/data/metrics.json").read_text())["n_rows"] == 60_000
    assert (first.failure, second.failure) == (None, None)
    assert "processed a total of 60000 examples" in first.log
    assert f"quality_metric: host={made[0].name}, train msd" in first.log
    assert "has saved the model" in second.log
    for host in made:
        assert "Traceback" not in host.log
        assert "distributed." not in host.log


def test_further_epochs_and_scores_are_made_by_all(hosts, blobs):
    made = hosts(blobs, test=blobs[:3000], epochs="3", eval_metrics='["msd", "ssd"]')
    assert run(made) == [0, 0], made[0].log
    log = made[0].log
    assert log.count("all hosts have read 60000 records") >= 2
    assert "all hosts have read 3000 records" in log
    msd, ssd = (float(re.search(rf"test {name} <loss>=(\S+)", log)[1]) for name in ("msd", "ssd"))
    centers = load_model(made[0].model_file).centers.astype(float)
    gaps = ((blobs[:3000, None] - centers) ** 2).sum(axis=2).min(axis=1)
    assert msd == pytest.approx(gaps.mean(), rel=1e-5)
    assert ssd == pytest.approx(gaps.sum(), rel=1e-5)


def test_the_same_job_gives_the_same_model(hosts, blobs):
    models = []
    for _ in range(2):
        made = hosts(blobs, n=3)[-3:]
        assert run(made) == [0, 0, 0], made[0].log
        models.append(load_model(made[0].model_file).centers)
        for host in made:
            host.base.rename(host.base.with_name(f"{host.base.name}-done-{len(models)}"))
    np.testing.assert_array_equal(*models)


def test_the_leader_serves_the_pages_of_dask_where_that_is_asked_for(hosts, blobs):
    pytest.importorskip("bokeh", reason="bokeh, which draws the pages, is not installed")
    first, second = hosts(blobs, copies=100, dashboard="true")
    second.start()
    first.start()
    first.wait_until_it_reads()
    with urllib.request.urlopen(f"http://{first.name}:8787/status", timeout=20) as answer:
        assert b"Dask" in answer.read()
    assert [first.wait(), second.wait()] == [0, 0], first.log
    assert "distributed." not in first.log


def test_no_pages_are_served_unasked(hosts, blobs):
    first, second = hosts(blobs, copies=100)
    second.start()
    first.start()
    first.wait_until_it_reads()
    for page in ("status", "info/main/workers.html", "json/counts.json", "metrics"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{first.name}:8787/{page}", timeout=20)
    assert [first.wait(), second.wait()] == [0, 0], first.log


def test_a_host_without_data_takes_part(hosts, blobs):
    made = hosts(blobs, "ShardedByS3Key")
    (made[1].base / "input/data/train/part-00.pbr").unlink()
    assert run(made) == [0, 0], made[0].log
    assert n_read(made[0]) == ({made[0].name: 30_000, made[1].name: 0}, 30_000)


class TestRefusals:
    """What is wrong on one host ends all, with its reason."""

    @pytest.mark.parametrize(
        ("distribution", "bad"), [("FullyReplicated", 1), ("ShardedByS3Key", 0)]
    )
    def test_a_bad_record(self, hosts, blobs, distribution, bad):
        made = hosts(blobs, distribution)
        for host in made if distribution == "FullyReplicated" else made[bad : bad + 1]:
            path = host.base / "input/data/train/part-00.pbr"
            data = bytearray(path.read_bytes())
            n = len(blobs) if distribution == "FullyReplicated" else len(blobs) // 2
            size, at = len(data) // n, (n // 4 if bad == 0 else 3 * n // 4)
            data[at * size : at * size + 4] = b"oops"
            path.write_bytes(data)
        assert run(made) == [2, 2], made[0].log
        for host in made:
            assert f"record {at} at byte {at * size}: no RecordIO record" in host.failure
            assert host.failure.startswith("ClientError: ")
            assert not host.model_file.exists()
        if distribution == "ShardedByS3Key":
            assert f"host {made[bad].name}: " in made[0].failure

    def test_data_of_another_width(self, hosts, blobs):
        made = hosts(blobs, "ShardedByS3Key", feature_dim="4")
        assert run(made) == [2, 2], made[0].log
        for host in made:
            assert f"host {made[0].name}: feature_dim=4 does not fit the data" in host.failure

    def test_too_few_rows(self, hosts, blobs):
        made = hosts(blobs[:40], "ShardedByS3Key", k="50")
        assert run(made) == [2, 2], made[0].log
        for host in made:
            assert "channel 'train' has 40 rows, fewer than k=50" in host.failure

    @pytest.mark.parametrize("empty", [0, 1])
    def test_no_data_on_one_of_them(self, hosts, blobs, empty):
        made = hosts(blobs)
        (made[empty].base / "input/data/train/part-00.pbr").unlink()
        assert run(made) == [2, 2], made[0].log
        for host in made:
            assert f"host {made[empty].name}: channel 'train' has no data" in host.failure

    def test_a_port_that_is_taken(self, hosts, blobs):
        made = hosts(blobs, host_timeout_s="3")
        with socket.create_server((made[0].name, 8786)):
            assert run(made) == [3, 3]
        assert f"no scheduler can be started at {made[0].name}: " in made[0].failure
        assert "Traceback" not in made[0].log

    def test_hyperparameters(self, hosts, blobs):
        made = hosts(blobs, k="0")
        assert run(made) == [2, 2]
        for host in made:
            assert "k='0' is not accepted" in host.failure


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Certificates of a CA, and of one whom nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes certificates, is not installed")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "stranger"):
        subject = ("-subj", f"/CN={name}", "-days", "2")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject,
                "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=host",
            "-keyout", "host.key", "-out", "host.csr")  # fmt: skip
    openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-out", "host.pem")  # fmt: skip
    return folder


class TestTls:
    """Hosts that know one another by certificates."""

    @staticmethod
    def options(folder, name="host"):
        return {
            "tls_ca_file": str(folder / "ca.pem"),
            "tls_cert_file": str(folder / f"{name}.pem"),
            "tls_key_file": str(folder / f"{name}.key"),
        }

    def test_they_train_one_model(self, hosts, blobs, certificates):
        made = hosts(blobs, **self.options(certificates))
        assert run(made) == [0, 0], made[0].log
        assert n_read(made[0])[1] == 60_000

    def test_a_stranger_is_not_let_in(self, hosts, blobs, certificates):
        made = hosts(blobs, host_timeout_s="6", **self.options(certificates))
        wanted = json.loads((made[1].base / "input/config/hyperparameters.json").read_text())
        made[1].configure("hyperparameters", wanted | self.options(certificates, "stranger"))
        assert run(made) == [3, 3], made[1].log
        assert f"host {made[1].name} did not come within host_timeout_s=6" in made[0].failure

    def test_one_without_certificates_is_not_let_in(self, hosts, blobs, certificates):
        made = hosts(blobs, host_timeout_s="6", **self.options(certificates))
        wanted = {"k": "3", "feature_dim": "3", "num_workers": "1", "host_timeout_s": "6"}
        made[1].configure("hyperparameters", wanted)
        assert run(made) == [3, 3], made[1].log

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"tls_cert_file": ""}, "go together: tls_cert_file is missing"),
            ({"tls_ca_file": __file__}, "are no certificates and key in PEM: "),
        ],
    )
    def test_files_that_are_no_certificates(self, hosts, blobs, certificates, given, reason):
        made = hosts(blobs, **self.options(certificates) | given)
        assert run(made) == [2, 2]
        for host in made:
            assert reason in host.failure

    def test_a_file_that_is_not_there_is_named(self, hosts, blobs, certificates):
        made = hosts(blobs, **self.options(certificates) | {"tls_key_file": "/nowhere.key"})
        assert run(made) == [2, 2]
        for host in made:
            assert "tls_key_file='/nowhere.key' is not accepted: there is no such file" in (
                host.failure
            )


class TestS3:
    """Objects in S3 that the workers of all hosts read in ranges."""

    def test_hosts_read_a_share_each(self, hosts, blobs, bucket):
        made = hosts(blobs[:10], test=blobs[:10], epochs="2")
        for i, part in enumerate(np.array_split(blobs, 3)):
            bucket.put_object(Key=f"train/{i}.pbr", Body=write_rows(part))
        bucket.put_object(Key="test/a.pbr", Body=write_rows(blobs[:700]))
        channels = {name: {"S3Uri": f"s3://data/{name}/"} for name in ("train", "test")}
        for host in made:
            host.configure("inputdataconfig", channels)
        assert run(made) == [0, 0], made[0].log
        log = made[0].log
        counts = re.findall(r"host (\S+) has read (\d+) records", log)
        assert [int(n) > 20_000 for _, n in counts[:4]] == [True] * 4
        assert log.count("all hosts have read 60000 records") == 2
        assert "all hosts have read 700 records" in log

    def test_what_is_not_there_ends_all(self, hosts, blobs, bucket):
        assert bucket.name == "data"
        made = hosts(blobs[:10])
        for host in made:
            host.configure("inputdataconfig", {"train": {"S3Uri": "s3://data/none/"}})
        assert run(made) == [2, 2], made[0].log
        for host in made:
            assert "channel 'train' has no data: there is no object below it" in host.failure
