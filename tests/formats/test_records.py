"""Streams of records to rows: the path of views and the path of protobuf must agree."""

import time

import numpy as np
import pytest

from onepass.errors import DecodeError, TooLargeError, UserError
from onepass.formats.answers import Answers
from onepass.formats.record_decoder import RecordDecoder
from onepass.formats.record_pb2 import Record
from onepass.formats.record_row import read_row
from onepass.formats.record_writer import write_answers, write_rows
from onepass.formats.recordio import MAGIC_BYTES, MAX_FRAME_BYTES, frame, next_record
from onepass.formats.records import read_rows

DENSE_WITH_LABEL = bytes.fromhex(
    "0a23d7ce 2c000000 0a16 0a06 76616c756573 120c 120a 0a08 0000c03f 00008041"
    "1212 0a06 76616c756573 1208 1206 0a04 00004040"
)  # [1.5, 16], label 3: 52 bytes
SPARSE = bytes.fromhex(
    "0a23d7ce 1f000000 0a1d 0a06 76616c756573 1213 1211 0a08 00000040 0000a0401202 0103 1a01 04 00"
)  # [0, 2, 0, 5]: 40 bytes, one of padding


def matrix(n_samples, n_features, dtype=np.float32):
    rng = np.random.default_rng(20240229)
    return (100 * rng.standard_normal((n_samples, n_features))).astype(dtype)


def record(values, **strings):
    message = Record(**strings)
    message.features["values"].float32_tensor.values.extend(values)
    return frame(message.SerializeToString())


def by_protobuf(data):
    """Decode without the path of views."""
    rows, start = [], 0
    while start < len(data):
        raw = next_record(memoryview(data), start, limit_bytes=MAX_FRAME_BYTES)
        payload = bytes(raw.payload)
        tensor = Record.FromString(payload).features["values"]
        width = len(getattr(tensor, tensor.WhichOneof("value")).values)
        rows.append(read_row(payload, width))
        start = raw.end
    return np.array(rows)


def in_pieces(data, n_features, n_piece_bytes, n_out_rows):
    """Feed a decoder a few bytes at a time, as a pipe would."""
    decoder, rest, rows = RecordDecoder(n_features), b"", []
    out = np.empty((n_out_rows, n_features), np.float32)
    for start in range(0, len(data), n_piece_bytes):
        rest += data[start : start + n_piece_bytes]
        while True:
            done = decoder.decode(np.frombuffer(rest, np.uint8), out)
            rest = rest[done.n_bytes :]
            if not done.n_rows:
                break
            rows.append(out[: done.n_rows].copy())
    decoder.finish(np.frombuffer(rest, np.uint8))
    return np.concatenate(rows), decoder


def test_a_dense_record_is_read_and_written_byte_for_byte():
    np.testing.assert_array_equal(read_rows(DENSE_WITH_LABEL), np.float32([[1.5, 16]]), strict=True)
    assert write_rows([[1.5, 16]], [3]) == DENSE_WITH_LABEL


def test_a_sparse_record_is_read_and_written_byte_for_byte():
    np.testing.assert_array_equal(read_rows(SPARSE), np.float32([[0, 2, 0, 5]]), strict=True)
    assert write_rows([[0, 2, 0, 5]], sparse=True) == SPARSE


def test_seven_features_take_52_bytes_as_in_real_training_logs():
    assert len(write_rows(matrix(3218, 7))) == 167336


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_what_is_written_is_read(dtype, sparse, labelled):
    rows = matrix(50, 5, dtype)
    rows[7] = 0
    data = write_rows(rows, np.arange(50).astype(dtype) if labelled else None, sparse=sparse)
    np.testing.assert_array_equal(read_rows(data), rows.astype(np.float32), strict=True)


@pytest.mark.parametrize(
    "n_features", [1, 2, 7, 25, 26, 27, 28, 29, 30, 31, 32, 33, 100, 784, 4100]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labelled", [False, True])
def test_views_give_what_protobuf_gives(n_features, dtype, labelled):
    rows = matrix(40, n_features, dtype)
    data = write_rows(rows, np.arange(40).astype(dtype) if labelled else None)
    np.testing.assert_array_equal(read_rows(data), by_protobuf(data), strict=True)


@pytest.mark.parametrize(
    "odd",
    [
        SPARSE,
        write_rows(np.array([[0, 2, 0, 5]])),
        write_rows(np.array([[0.0, 2.0, 0.0, 5.0]])),
        write_rows([[0, 2, 0, 5]], [3]),
        record([0, 2, 0, 5], uid="a"),
        record([0, 2, 0, 5], metadata="{}"),
        frame(SPARSE[8:39] + b"\x2a\x04" + MAGIC_BYTES, split=True),
    ],
    ids=["sparse", "int32", "float64", "label", "uid", "metadata", "sparse-split"],
)
@pytest.mark.parametrize("where", [0, 1, 2, 50, 99, 100])
def test_an_irregular_record_among_regular_ones_keeps_its_place(odd, where):
    rows = matrix(100, 4)
    data = write_rows(rows[:where] if where else rows[:1])[: where * 40] + odd
    data += write_rows(rows[where:]) if where < 100 else b""
    expected = np.insert(rows, where, [0, 2, 0, 5], axis=0)
    np.testing.assert_array_equal(read_rows(data), expected, strict=True)


def test_a_record_split_at_the_magic_number_in_its_values_is_read_whole():
    magic_value = np.frombuffer(MAGIC_BYTES, "<f4")[0]
    plain = write_rows([[1, magic_value, 2]])
    split = frame(plain[8 : 8 + 28], split=True)
    assert split != plain
    data = plain + split + plain
    np.testing.assert_array_equal(read_rows(data), np.float32([[1, magic_value, 2]] * 3))


@pytest.mark.parametrize("n_piece_bytes", [1, 2, 3, 5, 8, 39, 40, 41, 1000])
@pytest.mark.parametrize("n_out_rows", [1, 7, 100])
def test_pieces_of_any_size_give_the_same_rows(n_piece_bytes, n_out_rows):
    data = write_rows(matrix(20, 4)) + SPARSE * 3 + write_rows(matrix(20, 4), np.arange(20.0))
    rows, decoder = in_pieces(data, 4, n_piece_bytes, n_out_rows)
    np.testing.assert_array_equal(rows, read_rows(data), strict=True)
    assert (decoder.n_records, decoder.n_bytes) == (43, len(data))


@pytest.mark.parametrize("n_piece_bytes", [1, 2, 3, 4, 7, 39, 40])
@pytest.mark.parametrize("n_missing", [0, 1])
def test_padding_may_lie_in_another_piece_than_its_record(n_piece_bytes, n_missing):
    data = SPARSE * 5
    rows, decoder = in_pieces(data[: len(data) - n_missing], 4, n_piece_bytes, 2)
    np.testing.assert_array_equal(rows, np.float32([[0, 2, 0, 5]] * 5))
    assert decoder.n_records == 5


def test_the_output_bounds_how_far_one_call_goes():
    decoder, out = RecordDecoder(4), np.empty((2, 4), np.float32)
    data = np.frombuffer(write_rows(matrix(5, 4)), np.uint8)
    assert decoder.decode(data, out) == (80, 2)
    assert decoder.decode(data[80:], out) == (80, 2)
    assert decoder.decode(data[160:199], out) == (0, 0)
    assert decoder.decode(data[160:], out) == (40, 1)
    np.testing.assert_array_equal(out[0], matrix(5, 4)[4])


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_record_cut_short_is_refused_with_its_number_and_place(cut):
    data = write_rows(matrix(3, 4))
    with pytest.raises(DecodeError, match=f"^record 2 at byte 80: .* inside .* {cut} bytes"):
        read_rows(data[: 80 + cut])


@pytest.mark.parametrize("cut", [1, 8, 30, 39])
def test_a_first_record_cut_short_is_not_called_too_large(cut):
    with pytest.raises(DecodeError, match=r"^record 0 at byte 0: the data ends") as caught:
        read_rows(write_rows(matrix(1, 4))[:cut])
    assert not isinstance(caught.value, TooLargeError)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", [0, 1, 57, 9000])
def test_a_value_that_is_no_number_is_refused_with_its_place(bad, dtype, row):
    rows = matrix(9001, 3, dtype)
    rows[row, 2] = bad
    stride = len(write_rows(rows[:1]))
    place = f"^record {row} at byte {row * stride}: feature 2 is NaN or infinite"
    with pytest.raises(DecodeError, match=place):
        read_rows(write_rows(rows))


def test_large_finite_values_are_not_taken_for_infinity():
    rows = np.full((100, 3), np.finfo(np.float32).max)
    np.testing.assert_array_equal(read_rows(write_rows(rows)), rows)


@pytest.mark.parametrize("labels", [[np.nan, np.inf], [0.0, 1.0]])
def test_labels_are_passed_over_whatever_they_are(labels):
    data = write_rows([[1, 2], [3, 4]], labels)
    np.testing.assert_array_equal(read_rows(data), np.float32([[1, 2], [3, 4]]))


@pytest.mark.parametrize("first", [3, 57])
def test_a_record_of_another_width_is_refused_with_its_place(first):
    data = write_rows(matrix(first, 4)) + write_rows(matrix(1, 5))
    place = f"^record {first} at byte {first * 40}: the record has 5 features, expected 4"
    with pytest.raises(DecodeError, match=place):
        read_rows(data)


def test_a_promised_width_is_checked_from_the_first_record():
    with pytest.raises(DecodeError, match=r"^record 0 at byte 0: .* 4 features, expected 5"):
        read_rows(SPARSE, 5)


def test_bytes_between_records_are_refused_with_their_place():
    data = write_rows(matrix(3, 4))
    with pytest.raises(DecodeError, match=r"^record 3 at byte 120: no RecordIO record starts here"):
        read_rows(data + b"\0\0\0\0" + data)


def test_a_record_longer_than_its_width_can_need_is_refused_from_its_header():
    data = write_rows(matrix(3, 4)) + MAGIC_BYTES + (2**29 - 1).to_bytes(4, "little")
    with pytest.raises(TooLargeError, match=r"^record 3 at byte 120: .* 536870911 bytes long"):
        read_rows(data)


def test_empty_data_is_refused():
    with pytest.raises(DecodeError, match=r"the data is empty"):
        read_rows(b"")


def test_sparse_records_may_not_unfold_beyond_the_limit():
    data = write_rows(np.eye(1, 2**20), sparse=True)
    assert read_rows(data * 3).shape == (3, 2**20)
    with pytest.raises(TooLargeError, match=r"unfold to more than 268435456 numbers"):
        read_rows(data * 257, 2**20)


def test_a_row_wider_than_the_limit_is_refused_before_it_is_unfolded():
    message = Record()
    message.features["values"].float32_tensor.shape.append(2**40)
    with pytest.raises(TooLargeError, match=r"1099511627776 features a row; at most 268435456"):
        read_rows(frame(message.SerializeToString()))


def test_alternating_layouts_take_time_in_proportion_to_their_number():
    rows = matrix(2, 1)
    pair = write_rows(rows[:1]) + write_rows(rows[1:], [1])

    def seconds(n_pairs):
        data, start = pair * n_pairs, time.process_time()
        np.testing.assert_array_equal(read_rows(data), np.tile(rows, (n_pairs, 1)))
        return time.process_time() - start

    seconds(10)
    assert seconds(8000) < 40 * seconds(800) + 0.5  # of squares it would be 100


def test_answers_are_one_framed_record_a_row_with_two_labels():
    data = write_answers(Answers(np.array([1, 7]), np.float32([3, 23.40593910217285])))
    answers = []
    start = 0
    while start < len(data):
        raw = next_record(memoryview(data), start, limit_bytes=len(data))
        answers.append(Record.FromString(bytes(raw.payload)))
        start = raw.end
    found = [
        {name: list(value.float32_tensor.values) for name, value in answer.label.items()}
        for answer in answers
    ]
    assert found == [
        {"closest_cluster": [1.0], "distance_to_cluster": [3.0]},
        {"closest_cluster": [7.0], "distance_to_cluster": [23.40593910217285]},
    ]
    assert not any(answer.features for answer in answers)


def test_the_labels_of_an_answer_are_these_bytes():
    closest = (
        bytes.fromhex("121b 0a0f") + b"closest_cluster" + bytes.fromhex("12081206 0a040000803f")
    )
    distance = (
        bytes.fromhex("121f 0a13") + b"distance_to_cluster" + bytes.fromhex("12081206 0a0400004040")
    )
    assert write_answers(Answers(np.array([1]), np.float32([3]))) == frame(closest + distance)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([1, 2], None, r"got shape \(2,\)"),
        (np.empty((0, 3)), None, r"got shape \(0, 3\)"),
        (np.array([[2**31]]), None, "must fit 32 bits"),
        (np.array([[-(2**31) - 1]]), None, "must fit 32 bits"),
        ([[1], [2]], [1], r"labels must have shape \(2,\), got \(1,\)"),
    ],
)
def test_rows_that_records_cannot_hold_are_refused(rows, labels, message):
    with pytest.raises(UserError, match=message):
        write_rows(rows, labels)
