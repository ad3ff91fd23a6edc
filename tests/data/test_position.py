"""A reader goes on where another has left off."""

from __future__ import annotations

import gzip
import json
import os
import threading

import numpy as np
import pytest

from onepass.data.batches import BatchReader
from onepass.data.position import Position
from onepass.data.sources import Pipe, Span, whole_files
from onepass.data.table_format import format_of
from onepass.errors import DecodeError, PlatformError
from onepass.formats.record_writer import write_rows

RECORDS, CSV, NPY = "application/x-recordio-protobuf", "text/csv", "application/x-npy"


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(5_000, 4)).astype(np.float32)


def lines(rows):
    return "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()


def files(folder, rows, kind):
    paths = []
    for i, part in enumerate(np.array_split(rows, 3)):
        path = folder / f"{i}"
        if kind == "npy":
            np.save(path, part)
            path = path.with_suffix(".npy")
        else:
            path.write_bytes(
                {
                    "records": write_rows,
                    "gzip": lambda p: gzip.compress(write_rows(p)),
                    "csv": lines,
                }[kind](part)
            )
        paths.append(path)
    return paths


TYPES = {"records": RECORDS, "gzip": RECORDS, "csv": CSV, "npy": NPY}


def through_json(position):
    return Position.of(json.loads(json.dumps(position._asdict())))


def check_every_place(make):
    """Read all, and then what is left from behind each batch."""
    whole, batches, places = make(), [], []
    for batch in whole:
        batches.append(batch.copy())
        places.append(whole.position)
    assert len(batches) > 10
    for i, place in enumerate(places):
        reader = make()
        reader.resume(through_json(place))
        rest = [batch.copy() for batch in reader]
        assert len(rest) == len(batches) - i - 1
        for one, other in zip(rest, batches[i + 1 :], strict=True):
            np.testing.assert_array_equal(one, other)
        assert reader.n_rows == whole.n_rows
        assert reader.n_bytes == whole.n_bytes
        assert (reader.bad.n, reader.bad.first) == (whole.bad.n, whole.bad.first)


@pytest.mark.parametrize("kind", TYPES)
def test_from_behind_every_batch(tmp_path, rows, kind):
    sources = whole_files(files(tmp_path, rows, kind))
    check_every_place(lambda: BatchReader(sources, 4, 300, format_of(TYPES[kind], "train")))


@pytest.mark.parametrize("kind", ["records", "gzip"])
def test_records_that_are_passed_over_are_counted_once(tmp_path, rows, kind):
    spoilt = rows.copy()
    spoilt[::97, 2] = np.nan
    raw = b"".join(
        write_rows(np.nan_to_num(part)) if not np.isnan(part).any() else bad_record(part)
        for part in np.split(spoilt, 5_000)
    )
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(raw) if kind == "gzip" else raw)
    check_every_place(
        lambda: BatchReader(
            whole_files([path]), 4, 300, format_of(RECORDS, "train"), max_bad_records=100
        )
    )


def bad_record(row):
    """Return a record of another width."""
    return write_rows(np.nan_to_num(row)[:, :3])


def test_in_a_part_of_a_file(tmp_path, rows):
    path = tmp_path / "a"
    path.write_bytes(write_rows(rows))
    size = path.stat().st_size // 5_000
    span = Span(path, 100 * size, 4_900 * size)
    check_every_place(lambda: BatchReader([span], 4, 300, format_of(RECORDS, "train")))


def test_a_pipe_is_read_anew_and_passed_over(tmp_path, rows):
    path = tmp_path / "train_0"

    def reader():
        os.mkfifo(path)
        threading.Thread(target=lambda: path.write_bytes(write_rows(rows)), daemon=True).start()
        return BatchReader([Pipe(path, wrapped=False)], 4, 1_000, format_of(RECORDS, "train"))

    first = reader()
    batches = iter(first)
    next(batches)
    next(batches)
    position = first.position
    for _ in batches:
        pass
    path.unlink()
    second = reader()
    second.resume(through_json(position))
    np.testing.assert_array_equal(np.concatenate([b.copy() for b in second]), rows[2_000:])
    assert second.n_rows == 5_000


def test_a_file_that_has_become_shorter_is_told(tmp_path, rows):
    sources = whole_files(files(tmp_path, rows, "csv"))
    reader = BatchReader(sources, 4, 300, format_of(CSV, "train"))
    next(iter(reader))
    (tmp_path / "0").write_bytes(lines(rows[:100]))
    again = BatchReader(whole_files([tmp_path / "0"]), 4, 300, format_of(CSV, "train"))
    again.resume(reader.position)
    with pytest.raises(PlatformError, match="0 has 200 rows fewer than it had"):
        list(again)


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {**Position()._asdict(), "n_rows": -1},
        {**Position()._asdict(), "source": 0.5},
        {**Position()._asdict(), "first_bad": [3]},
    ],
)
def test_what_is_no_position_is_refused(told):
    with pytest.raises(DecodeError, match="its position is"):
        Position.of(told)
