"""Channels of comma-separated values."""

from __future__ import annotations

import contextlib
import gzip
from contextlib import closing
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.data import csv_file
from onepass.data.ahead import Stop
from onepass.data.batches import BatchReader
from onepass.data.boundaries import find_line
from onepass.data.shards import cut
from onepass.data.sources import Span, whole_files
from onepass.data.streams import OpenSource
from onepass.data.table_format import format_of
from onepass.errors import DecodeError, TooLargeError, UserError, WidthError

PLAIN = "text/csv"


def put(folder, text, name="data.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(paths, n_features=3, content_type=PLAIN, batch_rows=5):
    sources = [one if isinstance(one, Span) else whole_files([one])[0] for one in paths]
    reader = BatchReader(sources, n_features, batch_rows, format_of(content_type, "train"))
    batches = [batch.copy() for batch in reader]
    return np.concatenate(batches) if batches else np.empty((0, n_features), np.float32)


def refusal(path, kind=DecodeError, **how):
    with pytest.raises(kind) as caught:
        read([path], **how)
    return str(caught.value)


def as_text(rows):
    return "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist())


def test_numbers_are_read_as_float32(tmp_path):
    path = put(tmp_path, "1.5,16.0,-2\n0.1,3e1,+7\n")
    assert np.array_equal(read([path]), np.float32([[1.5, 16, -2], [0.1, 30, 7]]))


@pytest.mark.parametrize(
    "text",
    ["1,2,3\r\n4,5,6\r\n", "1,2,3\n4,5,6", "\ufeff1,2,3\n4,5,6\n", '"1",2,3\n4,"5",6\n',
     "\n\n1,2,3\n\n4,5,6\n\n\n", "1,2,3 \n4, 5,6\n"],
)  # fmt: skip
def test_forms_of_the_same_table(tmp_path, text):
    assert read([put(tmp_path, text)]).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("text", ["", "\n", "\r\n\n"])
def test_a_file_of_no_rows_has_none(tmp_path, text):
    assert len(read([put(tmp_path, text)])) == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False),
                      min_size=3, max_size=3), max_size=30),
    st.integers(10, 200),
    st.integers(1, 5),
)  # fmt: skip
def test_every_float32_is_read_as_it_was_written(tmp_path_factory, values, block, n_shards):
    rows = np.array(values, np.float32).reshape(-1, 3)
    path = put(tmp_path_factory.mktemp("csv"), as_text(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "READ_BYTES", block)
        assert np.array_equal(read([path]), rows)
        shards = cut([path], n_shards, find_line)
        assert np.array_equal(read(chain(*shards)), rows)
        assert sum(span.stop - span.start for span in chain(*shards)) == path.stat().st_size


def test_a_line_is_cut_from_the_next_at_every_byte(tmp_path):
    path = put(tmp_path, "12,3\n4,5\n\n6,789\n")
    starts = [0, 5, 9, 10, 16]
    for at in range(1, 16):
        assert find_line(path, at, 16) == next(start for start in starts if start >= at)


def test_lines_longer_than_a_window_are_found(tmp_path):
    path = put(tmp_path, "1" * 3_000_000 + ",2\n3,4\n")
    assert find_line(path, 10, path.stat().st_size) == 3_000_003


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/csv", "1,2,3\n"),
        ("text/csv", "9,1,2,3\n"),
        ("text/csv", "a,1,2,3\n"),
        ("text/csv;label_size=0", "1,2,3\n"),
        ("Text/CSV; Label_Size=1; charset=utf-8", "9,1,2,3\n"),
        ("text/csv;label_size=2", "a,,1,2,3\n"),
    ],
)
def test_labels_are_the_first_columns_and_dropped(tmp_path, content_type, text):
    assert read([put(tmp_path, text)], content_type=content_type).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("content_type", "text", "message"),
    [
        (
            "text/csv",
            "1,2\n",
            "row 1 at byte 0: a line of 2 columns; expected are 3 features, or one label",
        ),
        ("text/csv", "1,2,3,4,5\n", "row 1 at byte 0: a line of 5 columns; .* told by label_size"),
        (
            "text/csv;label_size=0",
            "1,2,3,4\n",
            "row 1 at byte 0: a line of 4 columns; .* label_size=0 labels",
        ),
        (
            "text/csv;label_size=1",
            "1,2,3\n",
            "row 1 at byte 0: a line of 3 columns; .* label_size=1 labels",
        ),
    ],
)
def test_other_widths_are_refused_with_both_numbers(tmp_path, content_type, text, message):
    path = put(tmp_path, text)
    with pytest.raises(WidthError, match=f"^{path}, {message}"):
        read([path], content_type=content_type)
    reader = BatchReader(whole_files([path]), 3, 1, format_of(content_type, "train"))
    with pytest.raises(WidthError, match=message):
        reader.peek()


def test_a_header_is_passed_over_with_a_warning_in_each_file(tmp_path, caplog):
    first = put(tmp_path, "tone,articles,x\n1,2,3\n", "a")
    second = put(tmp_path, "\ufefftone,articles,x\r\n4,5,6\r\n", "b")
    BatchReader(whole_files([first]), 3, 1, format_of(PLAIN, "train")).peek()
    assert not caplog.records, "told once, when it is read"
    assert read([first, second]).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert f"{first}: the first line is taken as a header, not as data: tone,articles,x" in (
        caplog.messages
    )


def test_a_header_alone_is_no_row(tmp_path):
    assert len(read([put(tmp_path, "a,b,c\n")])) == 0


@pytest.mark.parametrize("text", ["aaaa,b,c\n1,2,3\n4,5,6\n", "\n" * 50 + "a,b,c\n1,2,3\n4,5,6"])
def test_what_fills_a_block_before_the_first_row_does_not_end_the_file(tmp_path, monkeypatch, text):
    path = put(tmp_path, text)
    for block in (1, 3, 9, 10, 49, 50, 51, 56):
        monkeypatch.setattr(csv_file, "READ_BYTES", block)
        assert read([path]).tolist() == [[1, 2, 3], [4, 5, 6]]
        BatchReader(whole_files([path]), 3, 1, format_of(PLAIN, "train")).peek()
        with pytest.raises(WidthError):
            BatchReader(whole_files([path]), 5, 1, format_of(PLAIN, "train")).peek()


def test_the_first_line_that_was_looked_at_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_file, "READ_BYTES", 10)
    path = put(tmp_path, "a,b,c\n1,2,3\n4,5,6\n")
    with closing(Stop()) as stop, OpenSource(*whole_files([path]), stop) as source:
        (opened,) = source.objects()
        file, out = csv_file.CsvFile(opened, 3, None), np.empty((5, 3), np.float32)
        assert file.peek()
        rows = [row for _ in range(3) for row in out[: file.decode(out).n_rows].tolist()]
    assert rows == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("block", [1, 6, 12, 100])
def test_a_byte_order_mark_is_dropped_where_the_file_begins_only(tmp_path, monkeypatch, block):
    monkeypatch.setattr(csv_file, "READ_BYTES", block)
    path = put(tmp_path, "\ufeff1,2,3\n4,5,6\n\ufeff7,8,9\n")
    assert refusal(path).startswith(f"{path}, row 3 at byte 15, column 1: '\\ufeff7' is no number")
    path = put(tmp_path, "\ufeffa,1,2,3\nb,4,5,6\n\ufeffc,7,8,9\n")
    assert read([path]).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    path = put(tmp_path, "\n" * 12 + "\ufeff\n1,2,3\n")
    assert "row 1 at byte 12: a line of 1 columns" in refusal(path)
    path = put(tmp_path, "\ufeff\ufeff1,2,3\n")
    assert refusal(path).startswith(f"{path}, row 1 at byte 3, column 1: '\\ufeff1' is no number")


@pytest.mark.parametrize("block", [1, 8, 100])
@pytest.mark.parametrize("text", ['a,1,2,3\n"b\n9,9,9,9\n",4,5,6\n', 'a,1,2,3\nb,4,5,"6\n'])
def test_a_line_break_in_quotes_is_refused_wherever_a_block_begins(
    tmp_path, monkeypatch, text, block
):
    monkeypatch.setattr(csv_file, "READ_BYTES", block)
    path = put(tmp_path, text)
    assert refusal(path).startswith(f"{path}, row 2")


def test_quotes_that_end_in_their_line_may_hold_commas_and_quotes(tmp_path):
    path = put(tmp_path, 'a,1,2,3\n"b, c",4,5,6\n"d ""e""",7,8,9\n6" f,1,2,"3"\n\n')
    assert read([path]).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 3]]


def test_a_header_in_the_middle_is_refused(tmp_path):
    path = put(tmp_path, "a,b,c\n1,2,3\na,b,c\n4,5,6\n")
    assert refusal(path) == f"{path}, row 2 at byte 12, column 1: 'a' is no number"


def test_a_shard_does_not_take_text_for_a_header(tmp_path):
    path = put(tmp_path, "1,2,3\na,b,c\n4,5,6\n")
    assert refusal(Span(path, 6, 18)) == (f"{path}, the line at byte 6, column 1: 'a' is no number")


def test_the_beginning_of_a_file_tells_all_its_parts_what_the_columns_are(tmp_path):
    path = put(tmp_path, "\ufeff\na,b,c\n1,2,3\n7,4,5,6\n")
    message = f"{path}, the line at byte 16: 4 columns, where the lines before have 3"
    assert refusal(Span(path, 16, 24), WidthError) == message
    path = put(tmp_path, "1,2\n" * 5)
    message = f"{path}, the first 20 bytes: no line has 3 columns, or 4 with a label"
    assert refusal(Span(path, 8, 20), WidthError) == message


def test_a_header_longer_than_a_block_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_file, "READ_BYTES", 10)
    path = put(tmp_path, "a rather long name,b,c\n1,2,3\n")
    assert read([path]).tolist() == [[1, 2, 3]]


def test_a_quote_that_does_not_end_on_its_line_is_refused(tmp_path):
    path = put(tmp_path, '1,2,3\n"4,5,6\n7,8,9\n')
    assert refusal(path) == (
        f"{path}, row 2 at byte 6: a quote that does not end on its line; write each row on one "
        "line"
    )


@pytest.mark.parametrize("block", [10, 50, 2**20])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("4,x,6", "row 102 at byte 606, column 2: 'x' is no number"),
        ("4,,6", "row 102 at byte 606, column 2: '' is no number"),
        ("4,5,0x10", "row 102 at byte 606, column 3: '0x10' is no number"),
        ("nan,5,6", "row 102 at byte 606, column 1: a value that is NaN or infinite as float32"),
        ("4,5,-inf", "row 102 at byte 606, column 3: a value that is NaN or infinite as float32"),
        ("4,1e39,6", "row 102 at byte 606, column 2: a value that is NaN or infinite as float32"),
        ("4,5", "row 102 at byte 606: 2 columns, where the lines before have 3"),
        ("4,5,6,7", "row 102 at byte 606: 4 columns, where the lines before have 3"),
        ("4,\u00e4\ud83d,6", "row 102 at byte 606, column 2: "),
    ],
)
def test_what_is_wrong_is_named_by_file_row_and_column(tmp_path, monkeypatch, block, line, message):
    monkeypatch.setattr(csv_file, "READ_BYTES", block)
    text = "1,2,3\n" * 101 + line + "\n" + "7,8,9\n" * 101
    path = put(tmp_path, text.encode("utf-8", "surrogatepass"))
    assert refusal(path).startswith(f"{path}, {message}")
    with_label = "".join(f"y,{row}\n" for row in text.splitlines()).encode("utf-8", "surrogatepass")
    path = put(tmp_path, with_label)
    assert refusal(path).startswith(f"{path}, row 102")


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path):
    path = put(tmp_path, b"1" * 4_000_000)
    assert "a line is longer than 65728 bytes" in refusal(path, TooLargeError)


def test_a_line_longer_than_a_block_is_read(tmp_path):
    rows = np.random.default_rng(0).normal(size=(3, 100_000)).astype(np.float32)
    path = put(tmp_path, as_text(rows))
    assert path.stat().st_size > 3 * csv_file.READ_BYTES
    assert np.array_equal(read([path], 100_000), rows)


def test_compressed_values_are_read_and_what_is_broken_is_named(tmp_path):
    rows = np.random.default_rng(0).normal(size=(9000, 3)).astype(np.float32)
    data = gzip.compress(as_text(rows).encode())
    assert np.array_equal(read([put(tmp_path, data)]), rows)
    path = put(tmp_path, data[:-1])
    assert f"{path}, compressed byte " in refusal(path)


@pytest.mark.parametrize("label_size", ["-1", "x", "1.5"])
def test_a_label_size_that_is_no_number_is_refused(label_size):
    with pytest.raises(UserError, match=f"label_size='{label_size}' must be a whole number"):
        format_of(f"text/csv;label_size={label_size}", "train")


def test_other_content_types_are_refused_with_those_that_are_read():
    with pytest.raises(
        UserError, match=r"channel 'train': .*'csv'; this version reads .*, tex.* and "
    ):
        format_of("csv", "train")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.text("0123456789.,-+eE\"'\r\n \t;nax", max_size=300))
def test_any_bytes_are_finite_rows_or_the_one_error(tmp_path_factory, content):
    path = put(tmp_path_factory.mktemp("csv"), content)
    with contextlib.suppress(DecodeError):
        rows = read([path], 2)
        assert rows.shape[1] == 2
        assert np.isfinite(rows).all()
