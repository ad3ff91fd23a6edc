"""RecordIO frames, against bytes worked out by hand."""

import struct

import pytest

from onepass.errors import DecodeError, TooLargeError
from onepass.formats.recordio import MAX_FRAME_BYTES, FrameKind, frame, next_record

MAGIC = bytes.fromhex("0a23d7ce")
NO_LIMIT = MAX_FRAME_BYTES


def header(kind, length):
    return MAGIC + struct.pack("<I", kind << 29 | length)


def cut(data, start=0, limit_bytes=NO_LIMIT):
    return next_record(memoryview(data), start, limit_bytes=limit_bytes)


def records(data):
    found, start = [], 0
    while start < len(data):
        raw = cut(data, start)
        found.append(bytes(raw.payload))
        start = raw.end
    return found


@pytest.mark.parametrize(
    ("payload", "framed"),
    [
        (b"", "0a23d7ce 00000000"),
        (b"a", "0a23d7ce 01000000 61000000"),
        (b"ab", "0a23d7ce 02000000 61620000"),
        (b"abc", "0a23d7ce 03000000 61626300"),
        (b"abcd", "0a23d7ce 04000000 61626364"),
        (b"abcde", "0a23d7ce 05000000 61626364 65000000"),
    ],
)
def test_a_payload_is_padded_with_zeros_to_four_bytes(payload, framed):
    assert frame(payload) == bytes.fromhex(framed)
    assert cut(bytes.fromhex(framed)) == (payload, len(bytes.fromhex(framed)))


def test_records_lie_behind_one_another():
    assert records(frame(b"abcde") + frame(b"") + frame(b"xy")) == [b"abcde", b"", b"xy"]


def test_padding_may_be_missing_at_the_end_of_the_data_only():
    assert records(frame(b"abcd") + frame(b"x")[:-3]) == [b"abcd", b"x"]
    assert records(frame(b"abcd") + frame(b"x")[:-2]) == [b"abcd", b"x"]
    with pytest.raises(DecodeError, match=r"no RecordIO record starts here: found bytes ce"):
        records(frame(b"x")[:-3] + frame(b"abcd"))


@pytest.mark.parametrize("length", range(12))
def test_a_record_that_is_not_there_in_whole_is_none(length):
    assert cut(frame(b"abcd")[:length]) is None


@pytest.mark.parametrize("length", [1, 2, 3])
def test_fewer_bytes_than_the_magic_number_decide_nothing(length):
    """Else the words of a refusal would depend on how a stream is cut into pieces."""
    assert cut(b"\xff\x23\xd7\xce"[:length]) is None


def test_a_wrong_magic_number_is_shown_beside_the_right_one():
    with pytest.raises(DecodeError, match=r"found bytes 0a23d73e, a record starts with 0a23d7ce"):
        cut(b"\x0a\x23\xd7\x3e" + bytes(8))


def test_split_parts_are_joined_by_the_magic_number_they_were_split_at():
    data = (
        header(FrameKind.FIRST, 4) + b"abcd"
        + header(FrameKind.MIDDLE, 0)
        + header(FrameKind.LAST, 2) + b"xy" + bytes(2)
    )  # fmt: skip
    assert cut(data) == (b"abcd" + MAGIC + MAGIC + b"xy", len(data))


def test_a_payload_is_split_at_every_aligned_magic_number_when_asked():
    payload = MAGIC + b"abcd" + MAGIC + b"x" + MAGIC  # at 0, 8 and, not aligned, 13
    framed = frame(payload, split=True)
    assert framed == (
        header(FrameKind.FIRST, 0)
        + header(FrameKind.MIDDLE, 4) + b"abcd"
        + header(FrameKind.LAST, 5) + b"x" + MAGIC + bytes(3)
    )  # fmt: skip
    assert cut(framed) == (payload, len(framed))


def test_a_payload_with_the_magic_number_out_of_line_is_not_split():
    assert frame(b"a" + MAGIC, split=True) == header(0, 5) + b"a" + MAGIC + bytes(3)


def test_an_unsplit_payload_may_hold_the_magic_number():
    assert records(frame(MAGIC * 3) + frame(b"ab")) == [MAGIC * 3, b"ab"]


@pytest.mark.parametrize("length", range(8, 36))
def test_a_split_record_that_is_not_there_in_whole_is_none(length):
    framed = frame(b"abcd" + MAGIC + b"efgh" + MAGIC + b"ijkl", split=True)
    assert len(framed) == 36
    assert cut(framed[:length]) is None


@pytest.mark.parametrize("kind", [FrameKind.MIDDLE, FrameKind.LAST])
def test_a_record_cannot_start_with_a_later_part(kind):
    with pytest.raises(DecodeError, match=rf"kind {kind:d} \({kind.name}\) where a record must"):
        cut(header(kind, 0))


@pytest.mark.parametrize("kind", [FrameKind.WHOLE, FrameKind.FIRST])
def test_a_split_record_cannot_hold_another_start(kind):
    with pytest.raises(DecodeError, match=f"kind {kind:d} inside a split record"):
        cut(header(FrameKind.FIRST, 0) + header(kind, 0))


@pytest.mark.parametrize("kind", [4, 5, 6, 7])
def test_other_kinds_do_not_exist(kind):
    with pytest.raises(DecodeError, match=f"frame kind {kind} does not exist"):
        cut(header(kind, 0))


def test_a_length_over_the_limit_is_refused_from_the_header_alone():
    assert cut(header(0, 100), limit_bytes=100) is None
    with pytest.raises(TooLargeError, match=r"101 bytes long; at most 100"):
        cut(header(0, 101), limit_bytes=100)


def test_the_limit_counts_all_parts_of_a_split_record():
    framed = frame(b"abcd" + MAGIC + b"efgh", split=True)
    assert cut(framed, limit_bytes=12).end == len(framed)
    with pytest.raises(TooLargeError, match=r"longer than the 11 bytes"):
        cut(framed, limit_bytes=11)


def test_a_payload_of_two_to_the_29_bytes_fits_no_frame():
    with pytest.raises(TooLargeError, match=r"a record of 536870912 bytes"):
        frame(bytes(2**29))
