"""What is wrong is told with its place and with what would be right."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from onepass.errors import UserError
from onepass.formats.record_writer import write_rows


def told(run, path, out="out.npy", **options):
    with pytest.raises(UserError) as caught:
        run(path if isinstance(path, list) else [path], path.parent / out, **options)
    assert not (path.parent / out).exists()
    return str(caught.value).replace(f"{path.parent}/", "")


def put(folder, data, name="in.csv"):
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / name


def test_a_file_that_is_not_there(run, tmp_path):
    assert told(run, tmp_path / "in.csv") == "in.csv: there is no such file or directory"


def test_a_folder_without_files(run, tmp_path):
    (tmp_path / "in").mkdir()
    put(tmp_path, "1,2", "in/_part.csv")
    expected = "in: there is no file in it (names starting with '.' or '_' do not count)"
    assert told(run, tmp_path / "in") == expected


def test_nothing_but_empty_files(run, tmp_path):
    assert told(run, put(tmp_path, "")) == "in.csv: nothing but empty files"


@pytest.mark.parametrize("text", ["\n\n", "x,y\n"])
def test_a_file_without_rows(run, tmp_path, text):
    assert "there is no row in " in told(run, put(tmp_path, text)).replace("in.csv: ", "")


def test_bytes_of_no_format(run, tmp_path):
    assert told(run, put(tmp_path, b"\x89PNG\r\n\x1a\n\0\0", "in")) == (
        "in: neither its name nor its first bytes (89504e470d0a1a0a) tell its format; --from "
        "tells it: recordio, csv, parquet, npy, libsvm"
    )


def test_libsvm_without_a_width(run, tmp_path):
    assert told(run, put(tmp_path, "1 1:2\n", "in.svm")) == (
        "in.svm: libsvm lines do not tell how many features there are; --feature-dim tells it"
    )


def test_an_index_beyond_the_width(run, tmp_path):
    path = put(tmp_path, "1 1:2\n" * 3 + "1 4:2\n", "in.svm")
    assert told(run, path, feature_dim=3).startswith("in.svm, row 4: index 4; 3 features have the")


def test_a_line_of_libsvm_that_is_wrong_has_its_row_in_the_whole_file(run, tmp_path):
    path = put(tmp_path, "1 1:2\n" * 500_000 + "1 2\n", "in.svm")
    expected = "in.svm, row 500001: '2' where index:value, a whole number and a number, must stand"
    assert told(run, path, feature_dim=3) == expected


def test_a_width_that_does_not_fit(run, tmp_path):
    expected = "--feature-dim 3 does not fit in.csv: its first row has 2 features"
    assert told(run, put(tmp_path, "1,2\n"), feature_dim=3) == expected


def test_labels_that_leave_nothing(run, tmp_path):
    expected = "--label-size 2 leaves no features of the 2 columns of in.csv"
    assert told(run, put(tmp_path, "1,2\n"), label_size=2) == expected


@pytest.mark.parametrize("name", ["in.pbr", "in.svm"])
def test_labels_of_formats_that_tell_them_themselves(run, tmp_path, name):
    path = put(tmp_path, write_rows(np.eye(2)) if name == "in.pbr" else "1 1:1\n", name)
    assert " files tell their labels themselves; " in told(run, path, label_size=1)


@pytest.mark.parametrize("width", [1, 3])
def test_rows_of_another_width(run, tmp_path, width):
    other = put(tmp_path, ",".join("1" * width) + "\n", "other.csv")
    with pytest.raises(UserError) as caught:
        run([put(tmp_path, "1,2\n"), other], tmp_path / "out.npy")
    assert str(caught.value).startswith(
        f"{other}, row 1 at byte 0: a line of {width} columns; expected are"
    )
    assert str(caught.value).endswith(f"; {tmp_path / 'in.csv'} has 2 features")


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        ({}, "; or columns up to it are labels (--label-size, --labels drop)"),
        ({"label_size": 1}, "; labels that are kept are numbers (--labels drop leaves them out)"),
    ],
)
def test_labels_that_are_no_numbers(run, tmp_path, labels, hint):
    path = put(tmp_path, "a,1\nb,2\n")
    expected = "in.csv, row 1 at byte 0, column 1: 'a' is no number; mend or remove it"
    assert told(run, path, **labels) == expected + hint


def test_columns_of_text(run, tmp_path):
    parquet.write_table(pa.table({"name": ["a"], "x": [1]}), tmp_path / "in.parquet")
    expected = "in.parquet: column 'name' is of type string, not of numbers; convert it, or drop it"
    assert told(run, tmp_path / "in.parquet") == expected


def test_more_labels_than_a_line_of_libsvm_holds(run, tmp_path):
    path = put(tmp_path, "1,2,3\n")
    expected = "libsvm lines hold one label, these rows have 2; --labels drop leaves them out"
    assert told(run, path, "out.libsvm", label_size=2) == expected


def test_records_without_a_label_that_the_first_one_has(run, tmp_path):
    rows = np.float32([[1, 2]])
    path = put(tmp_path, write_rows(rows, [1]) * 3 + write_rows(rows), "in.pbr")
    assert told(run, path) == (
        "in.pbr, record 3 at byte 156: the record has 0 labels, the first of all has 1; "
        "--labels drop leaves them out"
    )
    run([path], tmp_path / "out.npy", keep_labels=False)
    assert len(np.load(tmp_path / "out.npy")) == 4


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("place", [0, 1, 500])
def test_a_record_that_is_wrong(run, tmp_path, sparse, place):
    rows = np.ones((1000, 3), np.float32)
    rows[place, 1] = np.nan
    data = write_rows(rows, sparse=sparse)
    size = len(data) // len(rows)
    assert told(run, put(tmp_path, data, "in.pbr")) == (
        f"in.pbr, record {place} at byte {place * size}: feature 1 is NaN or infinite as float32; "
        "every value must be a finite number"
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_records_of_another_width(run, tmp_path, sparse):
    some, other = np.ones((100, 3), np.float32), np.ones((1, 4), np.float32)
    data = write_rows(some, sparse=sparse)
    path = put(tmp_path, data + write_rows(other, sparse=sparse), "in.pbr")
    assert told(run, path) == (
        f"in.pbr, record 100 at byte {len(data)}: the record has 4 features, expected 3"
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_records_that_are_cut(run, tmp_path, sparse):
    data = write_rows(np.ones((100, 3), np.float32), sparse=sparse)
    size = len(data) // 100
    assert told(run, put(tmp_path, data[:-9], "in.pbr")) == (
        f"in.pbr, record 99 at byte {99 * size}: the data ends inside this record; "
        f"{size - 9} bytes of it are there"
    )
    assert told(run, put(tmp_path, data[:9], "in.pbr")) == (
        "in.pbr, record 0 at byte 0: the data ends inside this record; 9 bytes of it are there"
    )


def test_what_is_no_record(run, tmp_path):
    assert told(run, put(tmp_path, "1,2,3\n4,5,6\n", "in.pbr")).startswith(
        "in.pbr, record 0 at byte 0: no RecordIO record starts here: found bytes 312c322c"
    )


def test_a_matrix_that_is_none(run, tmp_path):
    np.save(tmp_path / "in.npy", np.arange(5))
    assert told(run, tmp_path / "in.npy", "out.csv") == (
        "in.npy: an array of shape (5,); save a matrix, row behind row (order='C')"
    )
    assert told(run, put(tmp_path, b"1,2\n", "in.npy"), "out.csv") == (
        "in.npy: no matrix as numpy.save writes it: it begins with 312c320a; check ContentType, or "
        "save it so"
    )


def test_what_is_no_parquet(run, tmp_path):
    assert told(run, put(tmp_path, "1,2\n", "in.parquet")).startswith("in.parquet: no Parquet file")


def test_compressed_data_that_are_cut(run, tmp_path):
    packed = gzip.compress(b"1,2\n" * 1000)[:-9]
    assert told(run, put(tmp_path, packed, "in.csv.gz")).startswith("in.csv.gz, compressed byte ")
    assert told(run, put(tmp_path, packed, "in")).startswith("in, compressed byte ")


@pytest.mark.parametrize("name", ["out.npy.gz", "out.parquet.gz"])
def test_formats_that_are_not_packed(run, tmp_path, name):
    expected = " is not gzipped as a whole; csv, libsvm, recordio are"
    assert told(run, put(tmp_path, "1,2\n"), name).endswith(expected)


def test_zstd_is_not_written(run, tmp_path):
    expected = "out.csv.zst: zstd is read, not written; plain files and .gz are"
    assert told(run, put(tmp_path, "1,2\n"), "out.csv.zst") == expected


@pytest.mark.parametrize("name", ["out.gz", "out.tar.gz", "out.xlsx"])
def test_a_name_that_tells_no_format(run, tmp_path, name):
    assert told(run, put(tmp_path, "1,2\n"), name) == (
        f"{name}: the name tells no format; known endings are .pbr, .csv, .parquet, .npy, .libsvm, "
        "and .gz behind them. --to tells another name's format, and a / at its end makes it a "
        "folder"
    )


@pytest.mark.parametrize(("separator", "name"), [("\t", "tabs"), (";", "semicolons")])
def test_values_that_stand_between_others_than_commas(run, tmp_path, separator, name):
    path = put(tmp_path, separator.join("123") + "\n")
    expected = f"in.csv, row 1: {name} and no comma; values must stand between commas"
    assert told(run, path) == expected


def test_sparse_rows_are_of_recordio(run, tmp_path):
    expected = "--sparse is for recordio; out.npy becomes npy"
    assert told(run, put(tmp_path, "1,2\n"), is_sparse=True) == expected


def test_an_unreadable_line_that_never_ends(run, tmp_path):
    path = put(tmp_path, b"1 1:1 " + b"x" * 3_000_000, "in.svm")
    assert (
        told(run, path, feature_dim=3)
        == "in.svm, row 1 or later: a line is longer than 65728 bytes"
    )
