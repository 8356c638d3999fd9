"""Messages for users: one line, of a sane length, with the nearest valid name."""

from __future__ import annotations

from legible.bench.errors import UserError, nearest, one_line, reason_of, shortened


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_message_is_one_line_of_at_most_500_letters() -> None:
    text = str(UserError("start\n\x00" + "x" * 10_000 + "end"))
    assert "\n" not in text and "\x00" not in text
    assert len(text) <= 500 and text.startswith("start") and text.endswith("end")


def test_a_short_text_stays_as_it_is() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("0123456789ab", 11) == "0123...89ab"


def test_an_error_is_told_by_kind_and_text() -> None:
    assert one_line(ValueError("two\nlines")) == "ValueError: two lines"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(Unprintable()).startswith("Unprintable: (")


def test_the_reason_of_a_file_error() -> None:
    assert reason_of(OSError(28, "No space left on device")) == "No space left on device"
    assert reason_of(OSError()) == "OSError"


def test_the_nearest_name() -> None:
    assert nearest("pain", ["plain", "sync"]) == "; did you mean 'plain'?"
    assert nearest("xyzzy", ["plain", "sync"]) == ""
    assert nearest("x" * 1000, ["x" * 1000]) == ""
