"""Lines of libsvm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.errors import DecodeError, WidthError
from onepass.formats.libsvm import read_lines, write_lines
from onepass.sparse import SparseRows

PAIR = "where index:value, a whole number and a number, must stand"
INSIDE = "5 features have the indices 1 to 5"


def read(text, n_features=5, first_index=1, n_before=0):
    found = read_lines(text, n_features=n_features, first_index=first_index, n_before=n_before)
    return found.labels[:, 0].tolist(), found.rows.dense().tolist()


def test_labels_and_values():
    assert read(b"1 1:2 5:-0.5\n-1 3:1e2\n") == ([1, -1], [[2, 0, 0, 0, -0.5], [0, 0, 100, 0, 0]])


@pytest.mark.parametrize(
    "text",
    [
        b"1 2:3\n2\n",
        b"1 2:3\n2",
        b"1 2:3\r\n2\r\n",
        b"\n\n1  2:3 \n\n \n 2\n\n",
        b"1\t2:3\t\n2",
        b"# head\n1 2:3 # 4:5\n#1 1:1\n2#",
        b"+1 2:+3\n2.0\n",
    ],
)
def test_forms_of_the_same_lines(text):
    assert read(text) == ([1, 2], [[0, 3, 0, 0, 0], [0] * 5])


@pytest.mark.parametrize("text", [b"", b"\n", b" ", b"# nothing\n", b"\n\n \n"])
def test_nothing_is_no_row(text):
    assert read(text) == ([], [])


def test_indices_may_count_from_0_and_stand_in_any_order():
    assert read(b"1 4:9 0:8\n2 2:1 1:3", first_index=0)[1] == [[8, 0, 0, 0, 9], [0, 3, 1, 0, 0]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"1 1:2 1:3", "row 1: index 1 stands there twice"),
        (b"1 1:2\n1 2:1 3:1 2:1", "row 2: index 2 stands there twice"),
        (b"1:2 3:4", "row 1: '1:2' where the label, a number, must stand"),
        (b"1\n\na 1:2", "row 2: 'a' where the label, a number, must stand"),
        (b"1,2 1:2", "row 1: '1,2' where the label, a number, must stand"),
        (b"1 2", "row 1: '2' where index:value, a whole number and a number, must stand"),
        (b"1 2:", "row 1: '2:' where index:value, a whole number and a number, must stand"),
        (b"1\n1 :2", "row 2: ':2' where index:value, a whole number and a number, must stand"),
        (b"1 1:2:3", "row 1: '1:2:3' where index:value, a whole number and a number, must stand"),
        (
            b"1 1:2\n2 1:1 2:x 3:1\n",
            f"row 2: '2:x' {PAIR} ('x' is no number)",
        ),
        (
            b"1 1.5:2",
            f"row 1: '1.5:2' {PAIR} ('1.5' is no number)",
        ),
        (b"1\n1 qid:3 2:3", "row 2: 'qid:3': groups (qid) are not supported"),
        (b"1 1:1\n1\n1 2:nan", "row 3: a value that is NaN or infinite as float32"),
        (b"1 1:1e39", "row 1: a value that is NaN or infinite as float32"),
        (b"1 1:1\nnan", "row 2: a label that is NaN or infinite as float32"),
    ],
)
def test_what_is_wrong_is_told_with_its_row(text, told):
    with pytest.raises(DecodeError) as caught:
        read(text)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"1 5:1\n1 6:1", "row 12: index 6; 5 features have the indices 1 to 5"),
        (
            b"1 0:1",
            f"row 11: index 0; {INSIDE}; --first-index 0 where indices count from 0",
        ),
        (b"1 -3:1", "row 11: index -3; 5 features have the indices 1 to 5"),
    ],
)
def test_an_index_outside_is_told_with_those_inside(text, told):
    with pytest.raises(WidthError) as caught:
        read(text, n_before=10)
    assert str(caught.value) == told


def test_rows_are_written_with_the_shortest_numbers():
    rows = SparseRows.of_dense(np.float32([[0.1, 0, 3], [0, 0, 0], [0, 1e-30, 0]]))
    labels = np.float32([[1], [-1], [0.5]])
    assert write_lines(rows, labels, first_index=1) == b"1 1:0.1 3:3\n-1\n0.5 2:1e-30\n"
    assert write_lines(rows, labels, first_index=0) == b"1 0:0.1 2:3\n-1\n0.5 1:1e-30\n"


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(
        st.tuples(FLOATS, st.dictionaries(st.integers(0, 99_999), FLOATS, max_size=6)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 1),
)
@settings(deadline=None)
def test_any_rows_come_back(lines, first_index):
    pairs = [sorted(row.items()) for _, row in lines]
    rows = SparseRows.of_counts(
        np.array([len(row) for row in pairs]),
        columns=np.array([key for row in pairs for key, _ in row], np.int32),
        values=np.array([value for row in pairs for _, value in row], np.float32),
        n_features=100_000,
    )
    labels = np.array([[label] for label, _ in lines], np.float32)
    text = write_lines(rows, labels, first_index=first_index)
    found = read_lines(text, n_features=100_000, first_index=first_index)
    assert found.labels.tobytes() == labels.tobytes()
    assert found.rows.values.tobytes() == rows.values.tobytes()
    assert found.rows.columns.tolist() == rows.columns.tolist()
    assert found.rows.starts.tolist() == rows.starts.tolist()


@given(st.text("01 :.#\n-e+\txq", max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_gives_rows_or_the_one_error(text):
    """Rows are those that a plain reading of the lines gives."""
    try:
        found = read(text.encode(), n_features=12, first_index=0)
    except DecodeError:
        return
    lines = [line.partition("#")[0].split() for line in text.split("\n")]
    expected_labels, expected_rows = [], []
    for label, *pairs in filter(None, lines):
        row = [0.0] * 12
        for pair in pairs:
            index, value = pair.split(":")
            row[int(index)] = float(np.float32(value))
        expected_labels.append(float(np.float32(label)))
        expected_rows.append(row)
    assert found == (expected_labels, expected_rows)
