"""JSON and JSON Lines: every documented shape of an instance, and every refusal."""

import re

import numpy as np
import pytest

from onepass.errors import DecodeError, TooLargeError
from onepass.formats.json import (
    read_lines,
    read_rows,
)

SHAPES = [
    b'{"features": [1.5, 16.0]}',
    b'{"data": {"features": {"values": [1.5, 16.0]}}}',
    b'{"data": {"features": [1.5, 16.0]}}',
    b'{"features": {"values": [1.5, 16.0]}}',
    b'{"data": {"features": {"keys": [0, 1], "shape": [2], "values": [1.5, 16.0]}}}',
    b'{"data": {"features": {"keys": [1, 0], "shape": [2], "values": [16, 1.5]}}}',
    b'{"features": {"keys": [1, 0], "shape": [2], "values": [16, 1.5]}}',
    b'{"features": [1.5, 16.0], "configuration": {}}',
    b'{"data": {"features": [1.5, 16.0], "uid": "a"}, "configuration": null}',
    b"[1.5, 16.0]",
    b" [ 15e-1 , 16 ] ",
]


def body(instance):
    return b'{"instances": [' + instance + b"]}"


@pytest.mark.parametrize("instance", SHAPES)
def test_every_shape_of_an_instance_reads_the_same(instance):
    expected = np.float32([[1.5, 16]])
    np.testing.assert_array_equal(read_rows(body(instance)), expected, strict=True)
    np.testing.assert_array_equal(read_lines(instance), expected, strict=True)


def test_shapes_may_be_mixed():
    expected = np.tile(np.float32([1.5, 16]), (len(SHAPES), 1))
    np.testing.assert_array_equal(read_rows(body(b",".join(SHAPES))), expected, strict=True)
    np.testing.assert_array_equal(read_lines(b"\n".join(SHAPES)), expected, strict=True)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n", b" \n"])
@pytest.mark.parametrize("between", [b"\n", b"\r\n"])
def test_lines_may_end_as_they_like(between, end):
    data = between.join([b"[1]", b"[2]", b"[3]"]) + end
    np.testing.assert_array_equal(read_lines(data), np.float32([[1], [2], [3]]), strict=True)


def test_a_byte_order_mark_is_passed_over():
    np.testing.assert_array_equal(read_rows(b"\xef\xbb\xbf" + body(b"[1]")), [[1]])
    np.testing.assert_array_equal(read_lines(b"\xef\xbb\xbf[1]\n[2]"), [[1], [2]])


def test_a_sparse_instance_is_zero_where_it_names_no_value():
    instance = b'{"data": {"features": {"keys": [26, 182], "shape": [2000], "values": [1, 1]}}}'
    row = read_rows(body(instance))[0]
    assert row.shape == (2000,)
    assert np.flatnonzero(row).tolist() == [26, 182]


def test_a_sparse_instance_may_be_all_zero():
    instance = b'{"features": {"keys": [], "shape": [3], "values": []}}'
    np.testing.assert_array_equal(read_rows(body(instance)), np.float32([[0, 0, 0]]), strict=True)


def test_numbers_are_rounded_to_float32():
    rows = read_rows(body(b"[0.1, 1e-50, 16777217, -3, 3.4028234e38]"))
    expected = np.float32([[0.1, 0, 16777216, -3, 3.4028234e38]])
    np.testing.assert_array_equal(rows, expected, strict=True)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (b"[NaN]", "NaN is not a finite number"),
        (b"[-Infinity]", "-Infinity is not a finite number"),
        (b"[1, Infinity]", "Infinity is not a finite number"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, "nested too deeply", id="100000 arrays"),
        pytest.param(b'{"features":' * 100_000, "nested too deeply", id="100000 objects"),
        pytest.param(b"[" + b"9" * 5000 + b"]", "Exceeds the limit .4300 digits", id="5000 digits"),
        (b'{"features": [1], "features": [2]}', "two members of the same name"),
        (b'{"features": {"values": [1], "values": [1]}}', "two members of the same name"),
        (b"\xff", "not UTF-8"),
        (b"[1", "not valid JSON"),
        (b"[1,]", "not valid JSON"),
        (b"[01]", "not valid JSON"),
        (b"[1_000]", "not valid JSON"),
        (b"['1']", "not valid JSON"),
        (b"[1] [2]", "not valid JSON"),
    ],
)
def test_what_is_no_strict_json_is_refused(instance, message):
    with pytest.raises(DecodeError, match=message):
        read_rows(body(instance))
    with pytest.raises(DecodeError, match=f"^instance 2: .*{message}"):
        read_lines(b"[1]\n" + instance)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (b"[1e999]", "feature 1 is too large for float32"),
        (b"[1e39]", "feature 1 is too large for float32"),
        pytest.param(
            b"[" + b"9" * 4000 + b"]",
            '"features" holds an integer too large for float32',
            id="4000 digits",
        ),
        (b'["1"]', '"features" must be an array of numbers'),
        (b"[null]", '"features" must be an array of numbers'),
        (b"[true]", '"features" must be an array of numbers'),
        (b"[[1]]", '"features" must be an array of numbers'),
        (b"[{}]", '"features" must be an array of numbers'),
        (b"[]", "there are no values"),
        (b"[1, 2]", "the instance has 2 features, expected 1"),
        (b"{}", 'there are no "features"'),
        (b'{"values": [1]}', 'there are no "features"'),
        (b'{"data": {}}', 'there are no "features"'),
        (b'{"data": [1]}', 'there are no "features"'),
        (b"1", "an instance is"),
        (b'"1"', "an instance is"),
        (b"null", "an instance is"),
        (b"true", "an instance is"),
        (b'{"features": null}', "an instance is"),
        (b'{"features": "1"}', "an instance is"),
        (b'{"features": 1}', "an instance is"),
        (b'{"features": {}}', '"values" must be an array of numbers'),
        (b'{"features": {"values": "1"}}', '"values" must be an array of numbers'),
        (b'{"features": {"values": {"a": 1}}}', '"values" must be an array of numbers'),
        (b'{"features": {"values": [true]}}', '"values" must be an array of numbers'),
        (b'{"features": {"values": []}}', "there are no values"),
    ],
)
def test_what_is_no_instance_is_refused_with_its_number(instance, message):
    with pytest.raises(DecodeError, match=f"^instance 2: {message}"):
        read_rows(body(b"[1], " + instance))
    with pytest.raises(DecodeError, match=f"^instance 2: {message}"):
        read_lines(b"[1]\n" + instance)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ('"keys": [0], "values": [1]', 'needs "shape": [number of features]'),
        ('"keys": [0], "values": [1], "shape": 2', 'needs "shape"'),
        ('"keys": [0], "values": [1], "shape": []', 'needs "shape"'),
        ('"keys": [0], "values": [1], "shape": [1, 2]', 'needs "shape"'),
        ('"keys": [0], "values": [1], "shape": [2.0]', 'needs "shape"'),
        ('"keys": [0], "values": [1], "shape": [-2]', 'needs "shape"'),
        ('"keys": [0], "values": [1], "shape": [true]', 'needs "shape"'),
        ('"keys": [], "values": [], "shape": [0]', "there are no values"),
        ('"keys": [0], "shape": [2]', '"values" must be an array of numbers'),
        ('"keys": [0], "values": [1, 2], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": [0, 1], "values": [1], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": null, "values": [], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": [-1], "values": [1], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": [1.0], "values": [1], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": [true], "values": [1], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": ["0"], "values": [1], "shape": [2]', '"keys" must be one whole number'),
        ('"keys": [2], "values": [1], "shape": [2]', "key 2 lies outside shape [2]"),
        ('"keys": [1, 1], "values": [1, 2], "shape": [2]', "a key occurs twice"),
        ('"keys": [0], "values": [1], "shape": [268435457]', "at most 268435456 are accepted"),
    ],
)
def test_a_sparse_instance_that_does_not_agree_is_refused(features, message):
    with pytest.raises(DecodeError, match=f"^instance 1: .*{re.escape(message)}"):
        read_rows(body(b'{"features": {%s}}' % features.encode()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "^line 1, column 1: the body is not valid JSON"),
        (b"\n{", "^line 2, column 2: the body is not valid JSON"),
        (b"[[1]]", '^the body must be {"instances"'),
        (b"{}", '^the body must be {"instances"'),
        (b'{"instances": {}}', '^the body must be {"instances"'),
        (b'{"instances": null}', '^the body must be {"instances"'),
        (b'{"Instances": [[1]]}', '^the body must be {"instances"'),
        (b'{"instances": []}', "^the list of instances is empty"),
        (b'{"instances": [[1]], "instances": [[2]]}', "two members of the same name"),
    ],
)
def test_a_body_without_instances_is_refused(data, message):
    with pytest.raises(DecodeError, match=message):
        read_rows(data)


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n"])
def test_empty_lines_are_refused(data):
    with pytest.raises(DecodeError, match=r"^the data is empty"):
        read_lines(data)


def test_a_blank_line_between_instances_is_refused_with_its_number():
    with pytest.raises(DecodeError, match=r"^instance 2: the body is not valid JSON"):
        read_lines(b"[1]\n\n[2]")


@pytest.mark.parametrize("read", [lambda data, n: read_rows(body(data), n), read_lines])
def test_a_promised_width_is_checked_before_a_sparse_instance_is_unfolded(read):
    np.testing.assert_array_equal(read(b"[1, 2]", 2), [[1, 2]])
    with pytest.raises(DecodeError, match=r"^instance 1: the instance has 268435456 features, exp"):
        read(b'{"features": {"keys": [0], "shape": [268435456], "values": [1]}}', 2)
    with pytest.raises(DecodeError, match=r"^instance 1: the instance has 3 features, expected 2"):
        read(b"[1, 2, 3]", 2)


def test_sparse_instances_may_not_unfold_beyond_the_limit():
    instance = b'{"features": {"keys": [], "shape": [1048576], "values": []}}'
    with pytest.raises(TooLargeError, match=r"257 instances of 1048576 features are more than"):
        read_rows(body(b",".join([instance] * 257)))
