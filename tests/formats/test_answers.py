"""Answers in every format that is text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onepass.formats.answers import Answers, write_csv, write_json, write_json_lines

TWO = Answers(np.array([1, 2], np.int32), np.float32([3, 5]))
VERBOSE = TWO._replace(table=np.float32([[7, 3, 9], [8, 6, 5]]))


def test_answers_have_the_documented_members():
    assert write_json(TWO) == (
        b'{"closest_cluster": 1.0, "distance_to_cluster": 3.0}, '
        b'{"closest_cluster": 2.0, "distance_to_cluster": 5.0}'
    )
    assert write_json_lines(TWO) == (
        b'{"closest_cluster": 1.0, "distance_to_cluster": 3.0}\n'
        b'{"closest_cluster": 2.0, "distance_to_cluster": 5.0}'
    )
    assert write_csv(TWO) == b"1.0,3.0\n2.0,5.0"


def test_verbose_answers_have_all_distances():
    assert write_json(VERBOSE) == (
        b'{"closest_cluster": 1.0, "distance_to_cluster": 3.0, "distances": [7.0,3.0,9.0]}, '
        b'{"closest_cluster": 2.0, "distance_to_cluster": 5.0, "distances": [8.0,6.0,5.0]}'
    )
    assert write_json_lines(VERBOSE) == write_json(VERBOSE).replace(b"}, {", b"}\n{")
    assert write_csv(VERBOSE) == b"1.0,3.0,7.0,3.0,9.0\n2.0,5.0,8.0,6.0,5.0"


def test_the_one_cluster_of_a_model_is_a_table_too():
    one = Answers(np.array([0]), np.float32([3]), np.float32([[3]]))
    assert json.loads(write_json(one))["distances"] == [3.0]


@pytest.mark.parametrize(
    "printed", [b"23.40593910217285", b"27.250282287597656", b"6.285102367401123", b"0.0"]
)
def test_distances_are_float32_widened_as_real_endpoints_print_them(printed):
    answers = Answers(np.array([0]), np.float32([float(printed)]))
    assert write_csv(answers) == b"0.0," + printed
    assert write_json(answers) == b'{"closest_cluster": 0.0, "distance_to_cluster": %s}' % printed


@pytest.mark.parametrize("exponent", range(-44, 39))
def test_distances_of_any_size_are_read_back_the_same(exponent):
    distance = np.float32(1.7 * 10.0**exponent)
    answers = Answers(np.array([2**24]), distance[None])
    assert json.loads(write_json(answers)) == {
        "closest_cluster": 2.0**24,
        "distance_to_cluster": float(distance),
    }
    assert [float(text) for text in write_csv(answers).split(b",")] == [2.0**24, float(distance)]
