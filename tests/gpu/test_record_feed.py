"""Records that a GPU takes as they are give what rows give that were decoded."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from onepass import KMeans
from onepass.cluster import devices
from onepass.cluster.kernels import gpu
from onepass.data.batches import BatchReader
from onepass.data.sources import whole_files
from onepass.distributed.passes import EnoughError
from onepass.errors import DecodeError
from onepass.formats.record_writer import write_rows
from onepass.training import device_tasks, record_feed
from onepass.training.tasks import summarise

D = 4


def mixture(n, seed=0):
    rng = np.random.default_rng([n, seed])
    means = rng.normal(0, 5, (4, D))
    return (means[rng.integers(4, size=n)] + rng.normal(size=(n, D))).astype(np.float32)


STRIDE = len(write_rows(mixture(1)))


@pytest.fixture
def small(device, monkeypatch):
    """Let batches, blocks and what is decoded between them be small; count what is unpacked."""
    assert device.name
    monkeypatch.setattr(devices, "visible_gpus", lambda: 1)
    monkeypatch.setattr("onepass.cluster.device_plan._LEAST_ROWS", 300)
    monkeypatch.setattr("onepass.cluster.device_plan._ROW_VALUES", 1)
    monkeypatch.setattr(gpu, "_ONE_BLOCK", 96)
    monkeypatch.setattr(record_feed, "_BLOCK_BYTES", 130 * STRIDE)
    monkeypatch.setattr(record_feed, "_FEWEST_DECODED", 20)
    monkeypatch.setattr(record_feed, "_LOOKED_AT", 50)
    unpacked = []
    unpack = gpu.Gpu.unpack

    def count(self, records, layout, into, report):
        if layout.stride != D:
            unpacked.append(len(records) // layout.stride)
        unpack(self, records, layout, into, report)

    monkeypatch.setattr(gpu.Gpu, "unpack", count)
    return unpacked


def put(directory, *contents):
    paths = [directory / f"part-{i}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return whole_files(paths)


def kmeans(**named):
    return KMeans(4, center_factor=6, batch_size=100, reservoir_bytes=20_000, n_init=2, **named)


def taken(take, sources, n_allowed=0, **named):
    """Return the result, the reader, and how far was told."""
    told = []
    reader = BatchReader(sources, D, 100, max_bad_records=n_allowed)
    result = take(kmeans(**named), reader, told.append).finalize()
    return result, reader, told


def same(sources, n_rows, n_allowed=0, **named):
    """Take rows either way; returns what was told of records that were taken as they are."""
    ours, reader, told = taken(device_tasks.summarise, sources, n_allowed, **named)
    theirs, other, _ = taken(summarise, sources, n_allowed, **named)
    assert ours.n_samples_seen_ == theirs.n_samples_seen_ == n_rows
    assert (reader.n_rows, reader.n_bytes) == (other.n_rows, other.n_bytes)
    assert (reader.bad.n, reader.bad.first) == (other.bad.n, other.bad.first)
    assert ours.cluster_centers_.tobytes() == theirs.cluster_centers_.tobytes()
    assert ours.msd_ == theirs.msd_
    assert (told[-1].n_rows, told[-1].n_bad_records) == (n_rows, reader.bad.n)
    return told


def test_they_are_taken_as_they_are(small, tmp_path):
    rows = mixture(1500)
    parts = rows[:700], rows[700:701], rows[701:]
    same(put(tmp_path, *map(write_rows, parts)), 1500)
    assert sum(small) == 1500 - 150  # but those looked at, and the first batch


def test_with_a_half_life_too(small, tmp_path):
    same(put(tmp_path, write_rows(mixture(1300))), 1300, half_life=700)
    assert sum(small) > 1100


ODD = {
    "sparse": write_rows(np.float32([[0, 1, 0, 2]]), sparse=True),
    "float64": write_rows(np.array([[1.5, 2, 3, 4]])),
    "labelled": write_rows(np.float32([[1, 2, 3, 4]]), labels=np.float32([7])),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("at", [0, 150, 777, 1050, 1300])
def test_what_is_odd_is_decoded_and_goes_on_in_its_place(small, tmp_path, odd, at):
    rows = mixture(1300)
    content = b"".join([write_rows(rows[:at]) if at else b"", odd])
    content += write_rows(rows[at:]) if at < 1300 else b""
    same(put(tmp_path, content), 1301)
    if at:
        assert sum(small) > 1000


@pytest.mark.usefixtures("small")
def test_many_odd_ones(tmp_path):
    rng = np.random.default_rng(4)
    contents = [[], [], []]
    n = 0
    for i in range(21):
        m = int(rng.integers(1, 120))
        contents[i % 3].append(write_rows(mixture(m, i)))
        contents[i % 3].append(list(ODD.values())[rng.integers(3)])
        n += m + 1
    same(put(tmp_path, *map(b"".join, contents)), n)


def test_labels_are_no_matter(small, tmp_path):
    rows = mixture(1500)
    labels = np.arange(1500, dtype=np.float32)
    same(put(tmp_path, write_rows(rows, labels=labels)), 1500)
    assert sum(small) > 1300


def test_what_is_compressed_is_decoded(small, tmp_path):
    rows = mixture(1600)
    packed = gzip.compress(write_rows(rows[700:1300]))
    same(put(tmp_path, write_rows(rows[:700]), packed, write_rows(rows[1300:])), 1600)
    assert 500 < sum(small) < 1000


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", [60, 350, 899])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_record_is_named_or_passed_over(tmp_path, at, bad):
    rows = mixture(900)
    rows[at, 2] = bad
    sources = put(tmp_path, write_rows(mixture(300, 5)), write_rows(rows))
    refusals = []
    for take in (device_tasks.summarise, summarise):
        with pytest.raises(
            DecodeError, match=rf"part-1, record {at} at byte {at * STRIDE}"
        ) as caught:
            taken(take, sources)
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]
    same(sources, 1199, n_allowed=1)


def test_a_bad_record_among_those_looked_at_is_no_other_layout(small, tmp_path):
    rows = mixture(1300)
    rows[7, 2] = np.nan
    same(put(tmp_path, write_rows(rows)), 1299, n_allowed=1)
    assert sum(small) > 1000


@pytest.mark.usefixtures("small")
def test_one_that_is_cut_short_is_named(tmp_path):
    content = write_rows(mixture(900))
    sources = put(tmp_path, content[:-5], write_rows(mixture(500, 1)))
    with pytest.raises(DecodeError, match=r"part-0, record 899 at byte .*the data ends inside"):
        taken(device_tasks.summarise, sources)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("factor", [2.0**45, 2.0**-100])
@pytest.mark.parametrize("at", [0, 700, 1250])
def test_values_beyond_what_float32_can_square(tmp_path, factor, at):
    rows = mixture(1300)
    rows[at:] *= np.float32(factor)
    ours, _, _ = taken(device_tasks.summarise, put(tmp_path, write_rows(rows)))
    theirs, _, _ = taken(summarise, put(tmp_path, write_rows(rows)))
    assert ours.n_samples_seen_ == 1300
    assert np.isfinite(ours.msd_)
    exact = [
        ((rows[:, None].astype(float) - found.cluster_centers_) ** 2).sum(axis=2).min(axis=1).mean()
        for found in (ours, theirs)
    ]
    assert exact[0] == pytest.approx(exact[1], rel=0.1)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("odd", [b"", ODD["sparse"]], ids=["alone", "before"])
def test_one_huge_value_before_an_odd_record(tmp_path, odd):
    rows = mixture(1300)
    rows[600] *= np.float32(1e30)
    sources = put(tmp_path, write_rows(rows[:640]) + odd + write_rows(rows[640:]))
    ours, _, _ = taken(device_tasks.summarise, sources)
    theirs, _, _ = taken(summarise, sources)
    assert ours.n_samples_seen_ == theirs.n_samples_seen_
    for told in ("msd_", "long_term_msd_", "short_term_msd_"):
        assert np.isfinite(getattr(ours, told))
    assert ours.long_term_msd_ == pytest.approx(theirs.long_term_msd_, rel=0.2)


def test_sparse_rows_are_left_to_the_host(small, tmp_path):
    rows = mixture(600)
    content = write_rows(rows[:30]) + write_rows(rows[30:], sparse=True)
    ours, reader, _ = taken(device_tasks.summarise, put(tmp_path, content))
    assert (reader.n_rows, ours.n_samples_seen_) == (600, 600)
    assert not small


def test_few_rows_are_left_to_the_host(small, tmp_path):
    same(put(tmp_path, write_rows(mixture(390))), 390)
    assert not small


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("enough", [1, 200, 700, 1000])
@pytest.mark.parametrize("odd", [None, 650])
def test_when_it_is_enough_all_that_was_sent_is_taken(tmp_path, enough, odd):
    rows = mixture(1300)
    content = write_rows(rows)
    if odd is not None:
        content = write_rows(rows[:odd]) + ODD["sparse"] + write_rows(rows[odd:])
    reader = BatchReader(put(tmp_path, content), D, 100)

    def tell(seen):
        if seen.n_rows >= enough:
            raise EnoughError

    ours = device_tasks.summarise(kmeans(), reader, tell)
    assert min(enough, odd or enough) <= reader.n_rows < 1300  # at the odd one it goes back
    assert ours.n_samples_seen_ == reader.n_rows
    assert ours.finalize().n_samples_seen_ == reader.n_rows
