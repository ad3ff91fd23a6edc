"""Text to rows of numbers: every number is what Python makes of it, and nothing else is read."""

from __future__ import annotations

import json
import locale
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onepass.errors import AlgorithmError
from onepass.formats import numbers
from onepass.formats.compiled import Form, is_compiled
from onepass.formats.numbers import read_rows

pytestmark = pytest.mark.skipif(not is_compiled(), reason="no compiler was there")

LAX = Form(b"\n", 1, is_lines=True, is_lax=True)
STRICT = Form(b"],[", 1)
FORMS = [form._replace(plainly=plainly) for form in (LAX, STRICT) for plainly in (False, True)]
BEHIND = " " * 30
"""Blanks, as numbers are read another way where enough follows them."""


def rounded(text):
    """To the nearest double, then to the nearest float."""
    with np.errstate(over="ignore"):
        return np.float32(float(text))


def read_one(text, form=LAX):
    rows = read_rows(text.encode(), form)
    return None if rows is None else rows[0, 0]


def same(text):
    expected = rounded(text)
    for form in FORMS:
        for end in ("", BEHIND):
            found = read_one(text + end, form)
            if np.isinf(expected):
                assert found is None
            else:
                assert (found, np.signbit(found)) == (expected, np.signbit(expected)), text


@st.composite
def decimals(draw):
    """Numbers as JSON writes them, of any length and size."""
    digits = draw(st.integers(0, 10 ** draw(st.integers(1, 25))))
    text = str(digits)
    if draw(st.booleans()):
        text += "." + "0" * draw(st.integers(0, 30)) + str(draw(st.integers(0, 10**22)))
    if draw(st.booleans()):
        text += draw(st.sampled_from("eE")) + draw(st.sampled_from(["", "+", "-"]))
        text += str(draw(st.integers(0, 60)))
    return draw(st.sampled_from(["", "-"])) + text


@st.composite
def halfway(draw):
    """Numbers at, or next to, the middle between two float32: rounding is hardest there."""
    bits = draw(st.integers(0, 0x7F7FFFFE))
    low, high = np.uint32([bits, bits + 1]).view(np.float32)
    middle = (Fraction(float(low)) + Fraction(float(high))) / 2
    middle += draw(st.sampled_from([-1, 0, 0, 1])) * Fraction(10) ** draw(st.integers(-60, -10))
    n_digits = draw(st.integers(6, 40))
    exponent = int(np.floor(np.log10(float(middle)))) if middle > 0 else 0
    scaled = round(middle / Fraction(10) ** (exponent - n_digits))
    return f"{scaled}e{exponent - n_digits}"


@given(decimals())
@example("0" * 1 + "." + "0" * 25 + "1234567890123456789")
@example("16777217")  # exactly between two float32
@example("16777219.0")
@example("9007199254740993")  # exactly between two doubles
@example("3.4028235677973366e38")  # exactly between the largest and what is infinite
@example("3.4028235677973362e38")
@example("1.401298464324817e-45")
@example("7.006492321624085e-46")  # half of the least
@example("7.006492321624086e-46")
@example("1.1754943508222875e-38")  # the least that is normal
@example("1.1754942807573643e-38")
@example("123456789012345678901234567890e-20")
@example("-0")
@example("-0.0")
@example("0e9999")
@example("1e-9999")
def test_a_number_is_what_python_makes_of_it(text):
    same(text)


@settings(max_examples=500)
@given(halfway())
def test_a_number_about_halfway_between_two_is_what_python_makes_of_it(text):
    same(text)


def test_many_numbers_whose_digits_end_at_a_middle_between_two_are_what_python_makes_of_them():
    """An eighth of these would be wrong if a product were taken for the nearest double."""
    rng = np.random.default_rng(0)
    for bits in rng.integers(0x01000000, 0x7E000000, 2000, np.uint32):
        low, high = np.array([bits, bits + 1], np.uint32).view(np.float32)
        middle = (Fraction(float(low)) + Fraction(float(high))) / 2
        exponent = int(np.floor(np.log10(float(middle)))) - int(rng.integers(16, 19))
        text = f"{round(middle / Fraction(10) ** exponent)}e{exponent}"
        assert read_one(text) == rounded(text), text


@pytest.mark.parametrize("write", ["%.6f", "%.9g", "%.17g", "%r", "%.3e", "%d", "%.25f"])
def test_tables_are_what_numpy_makes_of_them(write):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(500, 40)) * 10.0 ** rng.integers(-9, 9, size=(500, 40))
    text = "\n".join(",".join(write % float(x) for x in row) for row in table)
    with np.errstate(over="ignore"):
        expected = np.loadtxt(text.split("\n"), np.float64, delimiter=",").astype(np.float32)
    for plainly in (False, True):
        form = LAX._replace(n_columns=40, plainly=plainly)
        np.testing.assert_array_equal(read_rows(text.encode(), form), expected, strict=True)


@pytest.mark.parametrize("n", [0, 1, 5, 7, 8, 9, 15, 16, 17, 18, 19, 20, 24, 100, 490])
def test_digits_of_any_number_are_read_up_to_the_end_of_the_text(n):
    for text in ("1" + "2" * n, "0." + "3" * n + "1", "5" * n + "4.25", "0" * n + "7"):
        scaled = f"{text}e-{n}"
        for form in FORMS[:2]:
            assert read_one(scaled, form) == rounded(scaled)
            assert read_one(f" {scaled}\t", form) == rounded(scaled)
            assert n > 20 or read_one(text + BEHIND, form) == rounded(text)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("n_whole", range(20))
def test_a_point_may_be_anywhere(sign, n_whole):
    rng = np.random.default_rng(n_whole)
    for n_behind in range(24):
        digits = "".join(map(str, rng.integers(0, 10, n_whole + n_behind)))
        same(f"{sign}{int(digits[:n_whole] or '0')}.{digits[n_whole:]}5")
        if n_whole:
            same(f"{sign}{int(digits[:n_whole])}")


@pytest.mark.parametrize(
    "text", ["+1", ".5", "5.", "-.5", "+.5e1", "007", "-00.10", "1.e3", "0000000000000000000001"]
)
def test_numbers_that_json_does_not_allow_are_read_where_they_may_be(text):
    for form in FORMS:
        for end in ("", BEHIND):
            assert read_one(text + end, form) == (rounded(text) if form.is_lax else None)


WORDS = ". - + e5 1e 1e+ -e1 --1 +-1 -+1 1,2 1;2 0x1 1_0 1f nan inf Infinity 1e39 -1e39 1.5.2 1e5.0"
MORE_WORDS = '\x00 1\x00 1e00000 "1" \u0661 1\n \n1 1\r 1\v'


@pytest.mark.parametrize(
    "text", [*WORDS.split(" "), *MORE_WORDS.split(" "), "", " ", "1 2", "1\n\n2", "9" * 513]
)
def test_what_is_no_number_is_not_read(text):
    for form in FORMS:
        assert read_one(text, form._replace(is_lines=True)) is None
        assert read_one(text + BEHIND, form._replace(is_lines=True)) is None


def test_blanks_may_be_about_numbers():
    form = Form(b"],[", 2)
    assert read_rows(b" 1\t,\n2 \r],[3 , 4\n", form).tolist() == [[1, 2], [3, 4]]
    assert read_rows(b" 1\t,\n2 \r],[3 , 4\n", form._replace(is_lines=True)) is None
    assert read_rows(b"1,2] ,[3,4", form) is None


TABLES = r"1,2\n \n1,2 1\n2 1,2,3 1,2\n3 1,2\n3,4,5 1,2\n\n3,4 1,2,\n3,4"
MORE_TABLES = r",1,2 1,2\r3,4 1,2\n3,x 1,2\n3, 1,,2"


@pytest.mark.parametrize("text", ["1,2 3,4", *TABLES.split(" "), *MORE_TABLES.split(" ")])
def test_what_are_no_rows_of_the_width_is_not_read(text):
    lines = text.replace(r"\r", "\r").replace(r"\n", "\n").encode()
    assert read_rows(lines, LAX._replace(n_columns=2)) is None


def test_one_row_needs_nothing_between_rows_and_two_do():
    assert read_rows(b"1,2", Form(b"", 2)).tolist() == [[1, 2]]
    assert read_rows(b"1-2", Form(b"", 1)) is None
    assert read_rows(b"1,2-3,4", Form(b"", 2)) is None


def test_columns_at_the_left_are_left_out():
    text = b"7,1,2\n8,3,4\n1e5,5,6"
    assert read_rows(text, Form(b"\n", 3, 1, True)).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert read_rows(text, Form(b"\n", 3, 2, True)).tolist() == [[2], [4], [6]]
    assert read_rows(b"x,1,2", Form(b"\n", 3, 1, True)) is None
    with pytest.raises(AlgorithmError):
        read_rows(text, Form(b"\n", 3, 3, True))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("text", [b"1,2\n3,45678901234567890", b"1,2\n3,4.5678901" + b" " * 30])
def test_nothing_behind_the_text_is_read(kind, text):
    for n in range(len(text) + 1):
        part = kind(text)[:n]
        found = read_rows(part, Form(b"\n", 2, is_lines=True))
        is_whole = text[:n].count(b",") == text[:n].count(b"\n") + 1
        if is_whole and text[:n].rstrip(b" ")[-1:].isdigit():
            expected = [[float(x) for x in row.split(b",")] for row in text[:n].split(b"\n")]
            np.testing.assert_array_equal(found, np.float32(expected))
        else:
            assert found is None


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3,
                         max_size=3), min_size=1, max_size=9))  # fmt: skip
def test_what_json_writes_is_read_back(table):
    text = json.dumps(table)[2:-2].replace("], [", "],[")
    np.testing.assert_array_equal(read_rows(text.encode(), Form(b"],[", 3)), np.float32(table))


def test_a_point_is_a_point_whatever_the_locale():
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        try:
            assert read_one("0.12345678901234567890123e-70") == 0
            assert read_one("1.2345678901234567890123") == np.float32(1.2345678901234567890123)
        finally:
            locale.setlocale(locale.LC_NUMERIC, before)
        return
    pytest.skip("no locale is installed in which a comma is the point of numbers")


def test_where_nothing_was_compiled_nothing_is_read(monkeypatch):
    monkeypatch.setattr(numbers, "is_compiled", lambda: False)
    assert read_one("1") is None


def test_lines_may_end_in_both_ways_and_the_last_may_not_end_where_that_is_told():
    form = LAX._replace(n_columns=2)
    assert read_rows(b"1,2\r\n3,4\n5,6 \r\n7,8", form).tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    ended = form._replace(may_end=True)
    for end in (b"", b"\n", b"\r\n", b" \r\n"):
        assert read_rows(b"1,2\n3,4" + end, ended).tolist() == [[1, 2], [3, 4]]
        assert not end or read_rows(b"1,2\n3,4" + end, form) is None
    for end in (b"\r", b"\n\n", b"\n ", b"\r\r\n"):
        assert read_rows(b"1,2\n3,4" + end, ended) is None
