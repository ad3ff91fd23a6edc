"""The benchmarks run: on tiny data, without a look at their figures."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onepass.formats.compiled import is_compiled

BENCHMARKS = Path(__file__).parent / "benchmarks"


def run(name, *options):
    command = [sys.executable, BENCHMARKS / f"{name}.py", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_quality(tmp_path):
    report = tmp_path / "figures.json"
    peers = ("--peers", "onepass", "minibatch-once")
    table = run(
        "quality", "--sets", "tiny", "--seeds", 1, "--cache", tmp_path, "--json", report, *peers
    )
    assert "| Onepass |" in table
    assert "Cheaper and better than Onepass" in table
    assert report.stat().st_size


@pytest.mark.slow
def test_draws():
    assert "| median |" in run("draws", "--draws", 1, "--rows", 5000, "--starts", 2)


@pytest.mark.slow
def test_core_set(tmp_path):
    small = ("--reservoir-bytes", 1)
    table = run("core_set", "--sets", "tiny", "--seeds", 1, "--cache", tmp_path, *small)
    assert "| tiny | 1.000 (1.000) |" in table


@pytest.mark.slow
def test_factor(tmp_path):
    table = run("factor", "--sets", "tiny", "--seeds", 1, "--cache", tmp_path)
    assert "(auto): 1.000" in table


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="there is no C++")
def test_headline(tmp_path):
    shape = ("--rows", 3000, "--features", 8, "--clusters", 5, "--files", 2)
    few = ("--rounds", 1, "--batch-sizes", 100, "--peers", "minibatch", "flash-kmeans")
    table = run("headline", "--emulated", *shape, *few, "--folder", tmp_path)
    for name in ("read and copied", "products", "search", "consolidate", "mini_batch_size=100"):
        assert f"| {name} |" in table or f", {name} |" in table
    assert re.search(r"scikit-learn, MiniBatchKMeans \| [\d.]+ \|", table)
    assert re.search(r"as any later job \| [\d.]+ \| [\d.]+ \| 0\.7", table)
    assert (
        "| flash | | | | not run: ModuleNotFoundError" in table or "flash-kmeans, random" in table
    )


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="there is no C++")
def test_devices():
    table = run("devices", "--emulated", "--sets", "tiny", "--clusters", 4, "--seeds", 1)
    assert re.search(r"tiny, 2,000 x 3 \| 4 \| [01]\.\d+ \| [01]\.\d+ \|", table)


@pytest.mark.slow
def test_channels(tmp_path):
    table = run("channels", "--rows", 3000, "--rounds", 1, "--json", tmp_path / "figures.json")
    for name in ("RecordIO-protobuf | gzip", "CSV | pipe", "Parquet | cat", "NumPy | numpy.load"):
        assert f"| {name} |" in table


@pytest.mark.slow
def test_sparse(tmp_path):
    shape = ("--shapes", "2000x300x9x3", "--rounds", 1, "--json", tmp_path / "figures.json")
    table = run("sparse_rows", *shape)
    for name in ("Onepass", "Onepass, unfolded", "KMeans, one start", "MiniBatchKMeans"):
        assert f"| 2,000 x 300, 9 values, k = 3 | {name} |" in table


def test_files(tmp_path):
    small = ("--rows", 2000, "--files", 50, "--rounds", 1, "--dir", tmp_path)
    table = run("files", *small, "--json", tmp_path / "figures.json")
    assert "| many files | 50 | 2,000 |" in table
    assert "| one file of ten times the rows | 1 | 20,000 |" in table


def test_search():
    table = run("search", "--shapes", "60x50x100", "40x3x26", "--rounds", 1)
    for shape, kind in (("60 x 50 x 100", "blobs"), ("40 x 3 x 26", "heavy")):
        assert re.search(rf"\| {shape} \| {kind} \| [0-9.%-]+ \| [0-9.-]+ \|", table)


def test_text_numbers():
    table = run("text_numbers", "--rows", 20, "--features", 3, "--rounds", 1)
    for text in ("csv, doubles", "json, integers"):
        for parser in ("onepass", "orjson") if is_compiled() else ("orjson",):
            assert re.search(rf"\| {text} \| [0-9.]+ \| {parser} \| [0-9.]+ \| [0-9.]+ \|", table)


def test_serving(tmp_path):
    shapes = ("--shapes", "csv:1x3x2", "json:5x3x2", "recordio:5x3x2", "--models", "2x3")
    brief = ("--seconds", 0.1, "--rounds", 1, "--peers", "onepass")
    table = run("serving", *shapes, *brief, "--json", tmp_path / "figures.json")
    for body in ("CSV, 1 x 3", "JSON, 5 x 3", "RecordIO-protobuf, 5 x 3"):
        for server in ("Onepass", "floor"):
            assert f"| {body}, k = 2 | {server} |" in table
    assert "k = 2, d = 3 | Onepass |" in table


def test_serving_soak(tmp_path):
    brief = ("--minutes", 0.01, "--clients", 2, "--huge-mb", 1)
    told = run("serving_soak", *brief, "--json", tmp_path / "figures.json")
    for status in (200, 400, 404, 405, 406, 413, 415):
        assert f"| {status} |" in told
    assert "wrong answers: 0" in told
    assert "failed requests: 0" in told


@pytest.mark.slow
def test_elbow(tmp_path):
    table = run("elbow", "--sets", "tiny", "--k", "2-4", "--rounds", 1, "--cache", tmp_path)
    assert re.search(r"k = 4 alone \d+\.\d+ s, the elbow of 3 \d+\.\d+ s", table)
    ratios = re.search(r"\| msd / scikit-learn's \|(.*)\|", table)[1].split("|")
    assert all(float(ratio) < 1.05 for ratio in ratios)


@pytest.mark.slow
def test_shards(tmp_path):
    few = ("--sets", "tiny", "--seeds", 1, "--shards", 2, 5, "--cache", tmp_path)
    table = run("shards", *few)
    row = r"tiny, 20,000 x 8, k = \d+ \| sorted \| [01]\.\d+ \([01]\.\d+; [01]\.\d+\) \|"
    assert re.search(row, table)
    assert "| 1,000 | 10 |" in run("shards", "--unions", "--centers", 20, "--features", 3)


@pytest.mark.slow
def test_hosts():
    table = run("hosts", "--rows", 20_000, "--rounds", 1)
    for way in ("one worker", "two processes", "two hosts", "a cluster"):
        assert re.search(rf"\| {way} \|.* \| 20,000 \|", table)


@pytest.mark.slow
def test_kills():
    table = run("kills", "--kills", 2, "--stops", 1, "--rows", 60_000, "--workers", 1)
    assert len(table.splitlines()) == 3


@pytest.mark.slow
def test_updates():
    table = run("updates", "--days", 2, "--rows", 4_000, "--seeds", 1)
    assert len(table.splitlines()) == 5
