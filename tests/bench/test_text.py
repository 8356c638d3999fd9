"""Safe lines of text, and numbers as they are shown."""

from __future__ import annotations

import numpy as np
import pytest

from legible.bench.text import (
    decimals,
    digits_with_half,
    file_name_part,
    listed,
    mean_and_half,
    number,
    one_line,
    plain_letters,
    settings,
)


def test_a_line_has_no_breaks_controls_or_turned_text_and_is_cut():
    assert one_line("a\nb\t c\x00\u202ed ") == "a b c d"
    assert one_line("x" * 20, 10) == "x" * 9 + "…"


def test_plain_letters_for_file_names():
    assert plain_letters("kanji(size=28)") == "kanji-size-28"


@pytest.mark.parametrize(
    ("text", "name"),
    [("stage2", "stage2"), ("features.3", "features.3"), ("../x", "%2E.%2Fx"), ("a/b", "a%2Fb"),
     ("a%2Fb", "a%252Fb"), ("ä\x00", "%C3%A4%00"), ("\ud800", "%ED%A0%80"), (".", "%2E")],
)  # fmt: skip
def test_text_becomes_a_part_of_a_file_name(text, name):
    assert file_name_part(text) == name


def test_a_long_part_of_a_file_name_is_cut_and_still_its_own():
    first, second = (file_name_part("x" * 200 + end) for end in "ab")
    assert first != second and len(first) == 100 and first.startswith("x" * 87 + "-")


def test_names_are_listed_in_words():
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_parameters_are_read_and_other_text_is_left():
    assert settings('{"strength": 2.0, "mode": "x", "on": true}') == "strength=2.0, mode=x, on=true"
    assert settings("{}") == ""
    assert settings("not json") == "not json" and settings("[1]") == "[1]"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.12345, 3, "0.123"), (-0.0001, 3, "0.000"), (-1.5, 1, "−1.5"), (np.nan, 2, "—")],
)
def test_numbers(value, digits, text):
    assert number(value, digits) == text


def test_signed_numbers_have_no_sign_at_zero():
    assert number(0.5, 1, signed=True) == "+0.5"
    assert number(-0.01, 1, signed=True) == number(0.01, 1, signed=True) == "0.0"


def test_a_mean_with_half_its_interval():
    assert mean_and_half(0.5, 0.125, 2) == "0.50 ± 0.12"
    assert mean_and_half(0.5, np.nan, 2, signed=True) == "+0.50"


def test_decimals_show_three_digits_of_the_largest():
    assert decimals([0.5, 0.1]) == 3
    assert decimals([0.95, 1.0]) == 3
    assert decimals([0.95, 1.01]) == 2
    assert decimals([12.0]) == 1
    assert decimals([1234.0]) == 0
    assert decimals([np.nan]) == 3


def test_digits_with_half_show_two():
    assert digits_with_half([0.5], [0.05]) == 2
    assert digits_with_half([0.001], [20.0]) == 0
