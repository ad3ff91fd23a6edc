"""Every format to every other: the values as float32, the labels, the order."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyarrow import parquet

from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import frame

FORMATS = ("recordio", "csv", "parquet", "npy", "libsvm")
RNG = np.random.default_rng(0)
ROWS = np.where(RNG.random((2_500, 7)) < 0.5, RNG.normal(size=(2_500, 7)), 0).astype(np.float32)
LABELS = RNG.integers(-3, 9, (len(ROWS), 1)).astype(np.float32)
COLUMNED = ("csv", "parquet", "npy")


def options_of(source, n_labels=1):
    if source == "libsvm":
        return {"feature_dim": ROWS.shape[1]}
    return {"label_size": n_labels} if source in COLUMNED else {}


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_rows_and_labels_go_from_each_format_to_each(tables, run, tmp_path, source, target):
    path = tables.write(tmp_path / f"in{tables.ENDINGS[source]}", source, ROWS, LABELS)
    out = tmp_path / f"out{tables.ENDINGS[target]}"
    done = run([path], out, **options_of(source))
    found = tables.read(out, target, 1, ROWS.shape[1])
    np.testing.assert_array_equal(found.rows, ROWS, strict=True)
    np.testing.assert_array_equal(found.labels, LABELS, strict=True)
    assert (done.n_rows, done.n_files, done.n_bytes) == (len(ROWS), 1, out.stat().st_size)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_labels_are_dropped_where_that_is_asked_for(tables, run, tmp_path, source, target):
    path = tables.write(tmp_path / f"in{tables.ENDINGS[source]}", source, ROWS, LABELS)
    out = tmp_path / f"out{tables.ENDINGS[target]}"
    run([path], out, keep_labels=False, **options_of(source))
    found = tables.read(out, target, 0, ROWS.shape[1])
    np.testing.assert_array_equal(found.rows, ROWS, strict=True)
    expected = np.zeros_like(LABELS) if target == "libsvm" else np.empty((len(ROWS), 0))
    np.testing.assert_array_equal(found.labels, expected)


@pytest.mark.parametrize("target", ["recordio", *COLUMNED])
@pytest.mark.parametrize("source", ["recordio", *COLUMNED])
def test_several_labels_are_kept(tables, run, tmp_path, source, target):
    labels = RNG.normal(size=(len(ROWS), 3)).astype(np.float32)
    path = tables.write(tmp_path / "in.npy", "npy", ROWS, labels)
    middle, out = (tmp_path / f"{i}{tables.ENDINGS[f]}" for i, f in enumerate((source, target)))
    run([path], middle, label_size=3)
    run([middle], out, **options_of(source, 3))
    found = tables.read(out, target, 3, ROWS.shape[1])
    np.testing.assert_array_equal(found.rows, ROWS, strict=True)
    np.testing.assert_array_equal(found.labels, labels, strict=True)


@pytest.mark.parametrize(("source", "is_sparse"), [("libsvm", True), ("npy", False)])
def test_records_are_sparse_where_the_input_is_unless_told_otherwise(
    tables, run, tmp_path, source, is_sparse
):
    path = tables.write(tmp_path / f"in{tables.ENDINGS[source]}", source, ROWS, LABELS)
    written = {}
    for wanted in (None, True, False):
        out = tmp_path / f"{wanted}.pbr"
        run([path], out, is_sparse=wanted, keep_labels=False, **options_of(source))
        written[wanted] = out.read_bytes()
    assert written[None] == written[is_sparse]
    assert written[True] == write_rows(ROWS, sparse=True)
    assert written[False] == write_rows(ROWS)


def test_sparse_records_stay_sparse_and_their_shape_tells_the_width(tables, run, tmp_path):
    path = tables.write(tmp_path / "in.pbr", "recordio", ROWS, LABELS, sparse=True)
    run([path], tmp_path / "out.pbr")
    assert (tmp_path / "out.pbr").read_bytes() == path.read_bytes()


def records_of_every_kind():
    """Rows of 3 features and one label: dense and sparse, of every type, sorted and not."""
    for i, kind in enumerate(["float32_tensor", "float64_tensor", "int32_tensor"] * 40):
        record = Record()
        tensor = getattr(record.features["values"], kind)
        if i % 4 == 0:
            tensor.keys.extend([2, 0])
            tensor.values.extend([i, 1])
            tensor.shape.append(3)
        elif i % 4 == 1:
            tensor.shape.append(3)
        else:
            tensor.values.extend([1, 0, i])
        label_kind = "int32_tensor" if i % 5 == 0 else "float32_tensor"
        getattr(record.label["values"], label_kind).values.append(i)
        yield record, [0, 0, 0] if i % 4 == 1 else [1, 0, i]


@pytest.mark.parametrize("split", [False, True])
def test_records_of_every_kind_are_read(tables, run, tmp_path, split):
    records = list(records_of_every_kind())
    data = b"".join(frame(record.SerializeToString(), split=split) for record, _ in records)
    (tmp_path / "in.pbr").write_bytes(data)
    run([tmp_path / "in.pbr"], tmp_path / "out.npy")
    found = tables.read(tmp_path / "out.npy", "npy", 1, 3)
    assert found.rows.tolist() == [row for _, row in records]
    assert found.labels[:, 0].tolist() == list(range(len(records)))


@pytest.mark.parametrize("n_values", [1, 2, 3, 4, 5, 7])
def test_records_longer_than_what_is_read_at_once(tables, run, tmp_path, n_values):
    """Records, and their padding, end at every place of a block of 1 MiB."""
    rows = np.zeros((40, 300_000), np.float32)
    rows[:, -n_values:] = RNG.normal(size=(40, n_values))
    for sparse in (False, True):
        path = tables.write(tmp_path / "in.pbr", "recordio", rows[:, ::-1], None, sparse=sparse)
        run([path], tmp_path / "out.npy", overwrite=True)
        assert np.array_equal(np.load(tmp_path / "out.npy"), rows[:, ::-1])


def test_padding_that_the_end_of_a_block_cuts_off(tables, run, tmp_path):
    rows = np.zeros((30_000, 100), np.float32)
    for i in range(len(rows)):
        rows[i, : 1 + i % 40] = i
    path = tables.write(tmp_path / "in.pbr", "recordio", rows, None, sparse=True)
    assert path.stat().st_size > 2**21
    run([path], tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy"), rows)


@pytest.mark.parametrize(("source", "target"), [("csv", "libsvm"), ("libsvm", "csv")])
def test_compressed_files_are_read_and_written(tables, run, tmp_path, source, target):
    plain = tables.write(tmp_path / f"in{tables.ENDINGS[source]}", source, ROWS, LABELS)
    packed = tmp_path / f"packed{tables.ENDINGS[source]}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    zstd = tmp_path / f"packed{tables.ENDINGS[source]}.zst"
    with pa.CompressedOutputStream(str(zstd), "zstd") as file:
        file.write(plain.read_bytes())
    out = tmp_path / f"out{tables.ENDINGS[target]}"
    run([plain], out, **options_of(source))
    for path in (packed, zstd):
        run([path], f"{out}.gz", overwrite=True, **options_of(source))
        assert gzip.decompress((tmp_path / f"{out.name}.gz").read_bytes()) == out.read_bytes()


def test_files_without_an_ending_are_told_by_how_they_begin(tables, run, tmp_path):
    for file_format in FORMATS:
        path = tables.write(tmp_path / f"in{tables.ENDINGS[file_format]}", file_format, ROWS, None)
        bare = path.rename(tmp_path / file_format)
        run([bare], tmp_path / "out.npy", feature_dim=7, keep_labels=False, overwrite=True)
        assert np.load(tmp_path / "out.npy").tobytes() == ROWS.tobytes()


def test_the_format_that_is_told_counts(tables, run, tmp_path):
    path = tables.write(tmp_path / "in.txt", "csv", ROWS, None).rename(tmp_path / "rows.npy")
    run([path], tmp_path / "out.csv", format="csv", to="parquet")
    assert parquet.read_table(tmp_path / "out.csv").num_rows == len(ROWS)


def test_files_of_several_formats_become_one(tables, run, tmp_path):
    names = [tables.write(tmp_path / f"in{tables.ENDINGS[f]}", f, ROWS, None) for f in FORMATS[:4]]
    run(names, tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy"), np.concatenate([ROWS] * 4))


def test_labels_of_any_text_can_be_dropped(run, tmp_path):
    (tmp_path / "in.csv").write_text("name,x,y\na,1,2\nb c,3,4\n")
    run([tmp_path / "in.csv"], tmp_path / "out.npy", label_size=1, keep_labels=False)
    assert np.load(tmp_path / "out.npy").tolist() == [[1, 2], [3, 4]]
    columns = {"name": ["a", "b"], "x": [1, 3], "y": [2.0, 4.0]}
    parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
    run([tmp_path / "in.parquet"], tmp_path / "o.npy", label_size=1, keep_labels=False)
    assert np.load(tmp_path / "o.npy").tolist() == [[1, 2], [3, 4]]


def test_columns_of_parquet_have_names(tables, run, tmp_path):
    path = tables.write(tmp_path / "in.npy", "npy", ROWS[:, :2], LABELS)
    run([path], tmp_path / "a.parquet", label_size=1)
    names = parquet.read_schema(tmp_path / "a.parquet").names
    assert names == ["label", "feature_0", "feature_1"]
    run([path], tmp_path / "b.parquet", label_size=2)
    assert parquet.read_schema(tmp_path / "b.parquet").names == ["label_0", "label_1", "feature_0"]


def test_the_index_of_the_first_feature_is_told(run, tmp_path):
    (tmp_path / "in.libsvm").write_text("1 0:5 2:6\n")
    run([tmp_path / "in.libsvm"], tmp_path / "out.libsvm", feature_dim=3, first_index=0)
    assert (tmp_path / "out.libsvm").read_text() == "1 0:5 2:6\n"


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(2, 9)), elements=FLOATS,
           fill=st.just(0.0)),
    st.permutations(FORMATS),
    st.integers(0, 1),
)  # fmt: skip
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_matrix_comes_back_from_a_tour_of_all_formats(tables, run, tmp_path, rows, tour, n):
    """Labels too, which libsvm always has; a zero may lose its sign where zeros are left out."""
    np.save(tmp_path / "start.npy", rows)
    at, options = tmp_path / "start.npy", {"label_size": n}
    n_features = rows.shape[1] - n
    for step in [*tour, "npy"]:
        to = tmp_path / f"{step}{tables.ENDINGS[step]}"
        run([at], to, overwrite=True, **options)
        n = max(n, step == "libsvm")
        at, options = to, {"label_size": n} if step in COLUMNED else {"feature_dim": n_features}
    found = np.load(at)
    np.testing.assert_array_equal(found[:, -rows.shape[1] :], rows, strict=True)
