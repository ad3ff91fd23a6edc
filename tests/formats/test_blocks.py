"""Bodies read block by block: fast where they are plain, and the same as by the slow readers."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepass.errors import DecodeError, TooLargeError, WidthError
from onepass.formats import csv, csv_blocks, json_blocks, npy, numbers, records
from onepass.formats import json as strict_json
from onepass.formats.answers import Answers
from onepass.formats.compiled import is_compiled
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_answers, write_rows
from onepass.formats.recordio import next_record
from onepass.formats.text_lines import blocks_of_lines

ROWS = np.float32([[1.5, 2], [-3e-5, 4e20], [0, 16777217]])


def features(rows):
    return [{"features": row} for row in rows.tolist()]


def values(rows):
    return [{"data": {"features": {"values": row}}} for row in rows.tolist()]


def data(rows):
    return [{"data": {"features": row}} for row in rows.tolist()]


def bare(rows):
    return rows.tolist()


def lines(instances):
    return "\n".join(map(json.dumps, instances)).encode()


def document(instances, **style):
    return json.dumps({"instances": instances}, **style).encode()


def as_csv(rows):
    return "\n".join(",".join(map(repr, row)) for row in rows.tolist()).encode()


def collect(blocks):
    found = list(blocks)
    assert all(rows.dtype == np.float32 and rows.flags.c_contiguous and rows.size for rows in found)
    return np.concatenate(found)


def outcome(read, *given_, **named):
    """The rows, or the text of the refusal."""
    try:
        found = read(*given_, **named)
        return (found if isinstance(found, np.ndarray) else collect(found)).tolist()
    except DecodeError as error:
        return str(error)


@pytest.fixture
def no_slow_reader(monkeypatch):
    """Take the slow readers away: only what is read the fast way is read."""

    def refuse(*_, **__):
        raise AssertionError("the slow reader was asked")

    for module, name in (
        (csv, "read_rows"),
        (strict_json, "instances_of"),
        (strict_json, "instances_of_lines"),
    ):
        monkeypatch.setattr(module, name, refuse)


SHAPES = (features, values, data, bare)


@pytest.mark.skipif(not is_compiled(), reason="no compiler was there: all is read slowly")
@pytest.mark.usefixtures("no_slow_reader")
@pytest.mark.parametrize("block_bytes", [1, 100, 2**20])
class TestPlainBodiesAreReadTheFastWay:
    @pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"indent": 2}])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_json(self, shape, style, block_bytes):
        body = document(shape(ROWS), **style)
        found = collect(json_blocks.read_blocks([body], 2, block_bytes=block_bytes))
        np.testing.assert_array_equal(found, ROWS)

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \n\n"])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_json_lines(self, shape, end, block_bytes):
        body = lines(shape(ROWS)) + end
        found = collect(json_blocks.read_line_blocks([body], 2, block_bytes=block_bytes))
        np.testing.assert_array_equal(found, ROWS)

    @pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("last", [True, False])
    def test_csv(self, line_end, last, block_bytes):
        body = as_csv(ROWS).replace(b"\n", line_end) + (line_end if last else b"")
        found = collect(csv_blocks.read_blocks([body], 2, block_bytes=block_bytes))
        np.testing.assert_array_equal(found, ROWS)

    def test_csv_with_labels(self, block_bytes):
        blocks = csv_blocks.read_blocks([b"9,1,2\n9,3,4"], 2, label_size=1, block_bytes=block_bytes)
        assert collect(blocks).tolist() == [[1, 2], [3, 4]]


NUMBER = st.sampled_from(
    ["1", "-2.5", "3e2", "+1", ".5", "5.", "007", " 1 ", "1e39", "NaN", "true", '"1"', "[1]", ""]
) | st.sampled_from(
    [
        "1 2",
        "1,\n2",
        "1],[2",
        "12345678901234567890123",
        "{}",
        "null",
        "1e999",
        "-0",
        "1E5",
        "0x1",
        "1_0",
    ]
)
INSTANCE = st.builds(
    lambda pattern, numbers: pattern % ",".join(numbers),
    st.sampled_from(
        [
            *['{"features":[%s]}'] * 6,
            '{"features": [%s] }',
            '{"data":{"features":{"values":[%s]}}}',
            '{"data":{"features":[%s]}}',
            "[%s]",
            '{"features":[%s],"configuration":{}}',
            '{"features":[%s],"features":[1,2]}',
            '{"fea tures":[%s]}',
            '{"features":[%s]}}',
            '{"features":[%s],[3,4]}',
            '{"features":\n[%s]}',
            "[%s],[3,4]",
        ]
    ),
    st.lists(st.one_of(st.sampled_from(["1", "2.5"]), NUMBER), min_size=1, max_size=3),
)


@pytest.mark.parametrize(
    "instances",
    [
        ['{"features":[1,2]}', '{"features":[1,2],[3,4]}'],
        ['{"features":[1,2],[3,4]}'],
        ['{"features": [1,2]}', '{"features": [1,2],[3,4]}', '{"features": [5,6]}'],
        ['{"data":{"features":[1,2]}}', '{"data":{"features":[1,2],[3,4]}}'],
    ],
)
def test_two_arrays_of_one_instance_are_not_two_instances(instances):
    body = ('{"instances":[' + ",".join(instances) + "]}").encode()
    with pytest.raises(DecodeError, match="not valid JSON"):
        collect(json_blocks.read_blocks([body], 2))
    with pytest.raises(DecodeError, match="not valid JSON"):
        collect(json_blocks.read_line_blocks(["\n".join(instances).encode()], 2))


@pytest.mark.parametrize(
    "body",
    [
        b"[1,\n2]\n[3,4],[5,6]",
        b"[1,2]\n[3,\n4]\n[5,6],[7,8]",
        b'{"features":[1,\n2]}\n{"features":[3,4],[5,6]}',
    ],
)
def test_a_line_end_within_an_instance_does_not_make_up_for_two_on_a_line(body):
    with pytest.raises(DecodeError, match="not valid JSON"):
        collect(json_blocks.read_line_blocks([body], 2))


@settings(max_examples=400, deadline=None)
@given(st.lists(INSTANCE, max_size=6), st.integers(1, 300), st.sampled_from([",", ", ", "\n"]))
def test_json_in_blocks_is_json_at_once(instances, block_bytes, between):
    body = ('{"instances":[' + between.join(instances) + "]}").encode()
    slow = outcome(strict_json.read_rows, body, 2)
    fast = outcome(json_blocks.read_blocks, [body], 2, block_bytes=block_bytes)
    assert fast == slow


@settings(max_examples=400, deadline=None)
@given(
    st.lists(INSTANCE, min_size=1, max_size=6),
    st.integers(1, 300),
    st.sampled_from(["\n", ",", "\r\n"]),
)
def test_json_lines_in_blocks_are_json_lines_at_once(instances, block_bytes, between):
    body = between.join(instances).encode()
    slow = outcome(strict_json.read_lines, body, 2)
    fast = outcome(json_blocks.read_line_blocks, [body], 2, block_bytes=block_bytes)
    # At once, all lines are parsed before the first is looked at closely.
    assert isinstance(fast, str) if isinstance(slow, str) else fast == slow
    assert block_bytes <= len(body) or fast == slow


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.just("1"), NUMBER), min_size=2, max_size=3), min_size=1, max_size=6
    ),
    st.integers(1, 300),
    st.integers(0, 1),
)
def test_csv_in_blocks_is_csv_at_once(table, block_bytes, label_size):
    body = "\n".join(map(",".join, table)).encode()
    slow = outcome(csv.read_rows, body, label_size=label_size, n_columns=2 + label_size)
    fast = outcome(
        csv_blocks.read_blocks, [body], 2, label_size=label_size, block_bytes=block_bytes
    )
    if isinstance(slow, str):
        assert isinstance(fast, str)
        assert block_bytes <= len(body) or fast == slow
    elif len(slow[0]) == 2:
        assert fast == slow
    else:
        assert fast == f"rows have {len(slow[0])} features, the model takes 2"


def test_a_row_of_another_width_is_named_in_whatever_block_it_is():
    for bad in (b"1,2,3\n", b"1\n"):
        body = b"1,2\n" * 5 + bad + b"1,2\n" * 5
        for block_bytes in (4, 6, 20, 1000):
            n = bad.count(b",") + 1
            with pytest.raises(DecodeError, match=rf"^row 6: the row has {n} columns, 2 are exp"):
                collect(csv_blocks.read_blocks([body], 2, block_bytes=block_bytes))


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("read", "body"),
    [
        (csv_blocks.read_blocks, as_csv(ROWS)),
        (json_blocks.read_blocks, document(values(ROWS))),
        (json_blocks.read_line_blocks, lines(features(ROWS))),
        (records.read_blocks, write_rows(ROWS)),
        (records.read_blocks, write_rows(ROWS, [1.0, 2.0, 3.0], sparse=True)),
    ],
)
def test_a_body_may_come_in_any_pieces(read, body, n):
    pieces = [body[i : i + n] for i in range(0, len(body), n)]
    np.testing.assert_array_equal(collect(read(pieces, 2)), ROWS)


@pytest.mark.parametrize(
    ("read", "good", "bad", "place"),
    [
        (csv_blocks.read_blocks, b"1,2\n", b"3,x\n", "row 9, column 2: 'x' is not a number"),
        (csv_blocks.read_blocks, b"1,2\n", b"\n", "row 9: the line is empty"),
        (json_blocks.read_line_blocks, b"[1,2]\n", b"[1]\n", "instance 9: the instance has 1 feat"),
        (records.read_blocks, write_rows([[1, 2]]), b"bad!", "record 8 at byte 256"),
    ],
)
def test_places_count_from_the_beginning_of_the_body(read, good, bad, place):
    pieces = [good] * 8 + [bad] + [good]
    small = {} if read is records.read_blocks else {"block_bytes": 5}
    with pytest.raises(DecodeError, match=place):
        collect(read(pieces, 2, **small))


def test_a_wrong_number_in_a_later_block_of_json_is_named():
    body = document([[1, 2]] * 8 + [[1, "x"]])
    with pytest.raises(DecodeError, match="instance 9"):
        collect(json_blocks.read_blocks([body], 2, block_bytes=10))


@pytest.mark.parametrize("read", [csv_blocks.read_blocks, json_blocks.read_line_blocks])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(read):
    def endless():
        while True:
            yield b"1," * 2**16

    with pytest.raises(TooLargeError, match=r"a line is longer than 65664 bytes"):
        collect(read(endless(), 2))


def test_a_long_document_that_is_not_plain_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(json_blocks, "MAX_STRICT_BYTES", 100)
    sparse = {"data": {"features": {"keys": [0], "shape": [2], "values": [1]}}}
    assert collect(json_blocks.read_blocks([document([sparse])], 2)).tolist() == [[1, 0]]
    with pytest.raises(TooLargeError, match=r"at most 100 bytes, this has \d+; send JSON Lines"):
        collect(json_blocks.read_blocks([document([sparse] * 2)], 2))
    assert len(collect(json_blocks.read_blocks([document([[1, 2]] * 99)], 2))) == 99


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[[%b]]}' % b",".join([b"1"] * 5000),
        b'{"instances":[[%b]]}' % b",".join([b"{}"] * 5000),
        b'{"instances":[[1,2],[1,2],  [%b]]}' % b",".join([b"{}"] * 5000),
    ],
)
def test_an_instance_that_fills_a_long_document_is_not_read(monkeypatch, body):
    monkeypatch.setattr(json_blocks, "MAX_STRICT_BYTES", 9000)
    monkeypatch.setattr(json_blocks, "_BYTES_AN_INSTANCE", 100)
    monkeypatch.setattr(strict_json, "instances_of", lambda _: pytest.fail("it was read"))
    with pytest.raises(TooLargeError, match=r"at most 9000 bytes"):
        collect(json_blocks.read_blocks([body], 2, block_bytes=100))


def test_a_long_document_may_have_one_wide_instance(monkeypatch):
    monkeypatch.setattr(json_blocks, "MAX_STRICT_BYTES", 100)
    row = np.arange(1000, dtype=np.float32)[None]
    found = collect(json_blocks.read_blocks([document(bare(row))], 1000, block_bytes=10))
    np.testing.assert_array_equal(found, row)


def test_a_long_document_may_begin_with_a_byte_order_mark(monkeypatch):
    monkeypatch.setattr(json_blocks, "MAX_STRICT_BYTES", 100)
    body = b"\xef\xbb\xbf" + document([[1, 2]] * 99)
    assert len(collect(json_blocks.read_blocks([body], 2))) == 99


@pytest.mark.parametrize(
    ("read", "join"), [(json_blocks.read_blocks, document), (json_blocks.read_line_blocks, lines)]
)
def test_sparse_instances_unfold_block_by_block(read, join):
    n = 2**19
    sparse = [{"features": {"keys": [i], "shape": [n], "values": [1]}} for i in range(5)]
    blocks = list(read([join(sparse)], n))
    assert max(rows.size for rows in blocks) <= 2**20
    assert [np.flatnonzero(row).tolist() for rows in blocks for row in rows] == [
        [0], [1], [2], [3], [4]
    ]  # fmt: skip


def test_labels_do_not_make_room_for_a_line_of_any_length():
    body = b"1," * 2**20 + b"1"
    with pytest.raises(TooLargeError, match=r"a line is longer than 131200 bytes"):
        collect(csv_blocks.read_blocks([body], 2, label_size=10**9 - 1))


def test_blocks_end_with_lines_and_only_the_last_is_blank_at_its_end():
    assert list(blocks_of_lines([b"1\n\n\n", b"2\n\n"], 100, block_bytes=2)) == [
        b"1\n",
        b"\n\n2\n\n",
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_where_nothing_was_compiled_the_slow_readers_read_the_same(monkeypatch, shape):
    monkeypatch.setattr(numbers, "is_compiled", lambda: False)
    monkeypatch.setattr(json_blocks, "MAX_STRICT_BYTES", 100)
    table = np.concatenate([ROWS] * 20)
    for blocks in (
        csv_blocks.read_blocks([as_csv(table)], 2, block_bytes=50),
        json_blocks.read_blocks([document(shape(table))], 2, block_bytes=50),
        json_blocks.read_line_blocks([lines(shape(table))], 2, block_bytes=50),
    ):
        np.testing.assert_array_equal(collect(blocks), table)


@pytest.mark.parametrize("instances", [b"[1,[2]]", b"[[1],2],[3,4]", b"[1,2],[3,[4]]"])
def test_an_array_within_an_instance_is_refused(instances):
    with pytest.raises(DecodeError, match=r'instance [12]: "features" must be an array of numbers'):
        collect(json_blocks.read_blocks([b'{"instances":[%b]}' % instances], 2))


def test_a_record_without_a_frame_is_a_body():
    framed = write_rows([[1.5, 2]])
    payload = bytes(next_record(memoryview(framed), 0, limit_bytes=1000).payload)
    assert collect(records.read_blocks([payload], 2)).tolist() == [[1.5, 2]]
    with pytest.raises(WidthError):
        collect(records.read_blocks([payload], 3))


def test_a_long_body_is_no_record_without_a_frame():
    payload = Record()
    payload.features["values"].float32_tensor.values.extend([1.5, 2])
    payload.metadata = "x" * (2**20 + 64)
    body = payload.SerializeToString()
    with pytest.raises(DecodeError, match="record 0 at byte 0"):
        collect(records.read_blocks([body], 2))
    payload.metadata = "x" * 2**19
    assert collect(records.read_blocks([payload.SerializeToString()], 2)).tolist() == [[1.5, 2]]


def test_short_sparse_records_come_in_few_blocks():
    body = write_rows(np.zeros((1000, 2000), np.float32), sparse=True)
    assert len(list(records.read_blocks([body], 2000))) <= 12


def test_sparse_records_unfold_block_by_block():
    n = 2**19
    body = write_rows(np.eye(5, n, dtype=np.float32), sparse=True)
    blocks = list(records.read_blocks([body], n))
    assert max(rows.size for rows in blocks) <= 2**20
    assert [np.flatnonzero(row).tolist() for rows in blocks for row in rows] == [
        [0], [1], [2], [3], [4]
    ]  # fmt: skip


def test_verbose_answers_as_records():
    table = np.float32([[7, 3, 9], [8, 6, 5]])
    body = write_answers(Answers(np.array([1, 2]), np.float32([3, 5]), table))
    raw = next_record(memoryview(body), len(body) // 2, limit_bytes=1000)
    label = Record.FromString(bytes(raw.payload)).label
    assert label["closest_cluster"].float32_tensor.values == [2]
    assert label["distance_to_cluster"].float32_tensor.values == [5]
    assert label["distances"].float32_tensor.values == [8, 6, 5]


def saved(matrix, **how):
    file = io.BytesIO()
    np.save(file, matrix, **how)
    return file.getvalue()


class TestNpy:
    @pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">i2", "i8", "u1", "?", "f2"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_kind_of_number_is_read(self, dtype, order):
        matrix = np.array([[1, 0], [0, 1], [1, 1]]).astype(dtype, order=order)
        assert collect(npy.read_blocks([saved(matrix)], 2)).tolist() == [[1, 0], [0, 1], [1, 1]]

    @pytest.mark.parametrize("n", [1, 7, 100])
    def test_it_may_come_in_pieces(self, n):
        body = saved(ROWS)
        pieces = [body[i : i + n] for i in range(0, len(body), n)]
        np.testing.assert_array_equal(collect(npy.read_blocks(pieces, 2)), ROWS)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "the data is empty"),
            (b"PK\x03\x04", "no matrix as numpy.save writes it: it begins with 504b0304"),
            (saved(np.zeros((2, 3))), "rows have 3 features, the model takes 2"),
            (saved(np.zeros((0, 2))), "at least one row"),
            (saved(np.zeros(2)), r"shape \(2,\)"),
            (saved(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\)"),
            (saved(np.array([[1, "x"]], object), allow_pickle=True), "values of type object"),
            (saved(np.array([["a", "b"]])), "values of type <U1"),
            (saved(np.zeros((2, 2), "c8")), "values of type complex64"),
            (saved(np.float32([[1, np.nan]])), "row 1, column 2: the number is NaN"),
            (saved(np.array([[1, 2], [1, 1e39]])), "row 2, column 2: the number is NaN"),
            (saved(ROWS)[:-1], "the data end 1 bytes before the last of 3 rows"),
            (saved(ROWS) + b"x", "data follow the last of 3 rows"),
            (npy.write_head(2**40, 2) + b"x", "before the last of 1099511627776 rows"),
        ],
    )
    def test_anything_else_is_refused(self, body, reason):
        with pytest.raises(DecodeError, match=reason):
            collect(npy.read_blocks([body], 2))

    def test_columns_in_pieces_are_refused_with_a_way_out(self):
        body = saved(np.asfortranarray(ROWS))
        with pytest.raises(DecodeError, match="save it row behind row"):
            collect(npy.read_blocks([body[:50], body[50:]], 2))

    @pytest.mark.parametrize("n_rows", [1, 10**12])
    def test_the_head_of_answers_is_always_as_long(self, n_rows):
        assert len(npy.write_head(n_rows, 3)) == 128

    def test_answers_are_a_matrix_for_numpy(self):
        answers = Answers(np.array([1, 2]), np.float32([3, 5]), np.float32([[3], [5]]))
        body = npy.write_head(2, 3) + npy.write_answers(answers)
        found = np.load(io.BytesIO(body), allow_pickle=False)
        assert found.dtype == np.float32
        assert found.tolist() == [[1, 3, 3], [2, 5, 5]]
