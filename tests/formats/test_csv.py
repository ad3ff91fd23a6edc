"""CSV bodies: what is a number, what is a row, and where the first mistake is."""

import numpy as np
import pytest

from onepass.errors import DecodeError
from onepass.formats.csv import read_rows


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"1.5,16.0,14,23.0", [[1.5, 16, 14, 23]]),
        (b"1,2\n3,4", [[1, 2], [3, 4]]),
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4\n", [[1, 2], [3, 4]]),
        (b"\xef\xbb\xbf1,2", [[1, 2]]),
        (b"7", [[7]]),
        (b"7\n8", [[7], [8]]),
        (b" 1 ,\t2 \n3, 4", [[1, 2], [3, 4]]),
        (b"+1,-1,1.,.5,-0", [[1, -1, 1, 0.5, 0]]),
        (b"1e3,1E3,1e+3,1e-3,-1.5e-2", [[1000, 1000, 1000, 0.001, -0.015]]),
        (b"0.1,1e-50,16777217", [[np.float32(0.1), 0, 16777216]]),
        (b"3.4028234e38,-3.4028235e38", [[3.4028234e38, -3.4028235e38]]),
    ],
)
def test_decimal_numbers_between_commas_are_read(data, rows):
    np.testing.assert_array_equal(read_rows(data), np.float32(rows), strict=True)


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"  ", b"\t\n ", b"\xef\xbb\xbf", b"\n\n\n"])
def test_an_empty_body_is_refused(data):
    with pytest.raises(DecodeError, match=r"^the data is empty"):
        read_rows(data)


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"", "''"),
        (b"  ", "''"),
        (b"a", "'a'"),
        (b"nan", "'nan'"),
        (b" nan ", "'nan'"),
        (b"-inf", "'-inf'"),
        (b"Infinity", "'Infinity'"),
        (b'"1"', "'\"1\"'"),
        (b"'1'", "\"'1'\""),
        (b"1_000", "'1_000'"),
        (b"1 000", "'1 000'"),
        (b"1;2", "'1;2'"),
        (b"#1", "'#1'"),
        (b"1#", "'1#'"),
        (b"0x10", "'0x10'"),
        (b"1e", "'1e'"),
        (b"e1", "'e1'"),
        (b".", "'.'"),
        (b"+", "'\\+'"),
        (b"--1", "'--1'"),
        (b"1-1", "'1-1'"),
        (b"1.2.3", "'1.2.3'"),
        (b"1j", "'1j'"),
        (b"True", "'True'"),
        ("١٢".encode(), "'١٢'"),
        ("\N{MINUS SIGN}1".encode(), "'\N{MINUS SIGN}1'"),
        (b"\xff\xfe", "'��'"),
        (b"1\x00", r"'1\\x00'"),
        pytest.param(b"x" * 1000, "'x{40}'", id="1000 letters"),
    ],
)
@pytest.mark.parametrize(("row", "column"), [(1, 1), (1, 3), (3, 2)])
def test_a_field_that_is_no_number_is_shown_with_its_row_and_column(field, shown, row, column):
    fields = [[b"1", b"2", b"3"] for _ in range(3)]
    fields[row - 1][column - 1] = field
    data = b"\n".join(map(b",".join, fields))
    place = f"^row {row}, column {column}: {shown} is not a number; .* without a header$"
    with pytest.raises(DecodeError, match=place):
        read_rows(data)


def test_a_header_is_refused_at_its_first_name():
    with pytest.raises(DecodeError, match=r"^row 1, column 1: 'height' is not a number"):
        read_rows(b"height,weight\n1,2\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1,2\n3\n4,5", "^row 2: the row has 1 columns, the first has 2$"),
        (b"1,2\n3,4\n5,6,7", "^row 3: the row has 3 columns, the first has 2$"),
        (b"1,2\n \n3,4", "^row 2: the row has 1 columns, the first has 2$"),
        (b"1,2,\n3,4", "^row 1, column 3: '' is not a number"),
        (b"\n1,2", "^row 1: the line is empty$"),
        (b"1,2\n\n3,4\n\n", "^row 2: the line is empty$"),
        (b"1,2\r\n3,4\r\n\r\n5,6", "^row 3: the line is empty$"),
        (b"1,2\n\n", "^row 2: the line is empty$"),
        (b"1\n2\n\n\n", "^row 3: the line is empty$"),
        (b"1,2\n3,4\r5,6", "^row 2: a carriage return without a line feed$"),
        (b"1,2\r", "^row 1: a carriage return without a line feed$"),
        (b"1,1e39\n", "^row 1, column 2: the number is too large for float32$"),
        (b"1,2\n1,-1e999\n", "^row 2, column 2: the number is too large for float32$"),
        (b"1,2\n3," + b"9" * 50, "^row 2, column 2: the number is too large for float32$"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(data, message):
    with pytest.raises(DecodeError, match=message):
        read_rows(data)


def test_labels_at_the_left_are_dropped():
    rows = read_rows(b"9,1,2\n8,3,4", label_size=1)
    np.testing.assert_array_equal(rows, np.float32([[1, 2], [3, 4]]), strict=True)
    np.testing.assert_array_equal(read_rows(b"9,1,2", label_size=2), np.float32([[2]]))


def test_a_label_may_be_any_decimal_number():
    np.testing.assert_array_equal(read_rows(b"1e999,2", label_size=1), np.float32([[2]]))


def test_columns_are_counted_with_the_labels():
    with pytest.raises(DecodeError, match=r"^row 2, column 3: the number is too large"):
        read_rows(b"0,1,2\n0,1,1e39", label_size=1)


@pytest.mark.parametrize("label_size", [2, 3, 10**9, -1])
def test_labels_must_leave_a_feature(label_size):
    with pytest.raises(DecodeError, match=f"label_size={label_size} leaves no features of the 2"):
        read_rows(b"1,2", label_size=label_size)
