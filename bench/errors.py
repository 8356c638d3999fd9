"""Errors that a user can correct, each as a message of one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from legible.bench.text import visible

LONGEST = 500  # characters of a message


class UserError(Exception):
    """An error that the user can correct; the message is one line and says how.

    Line breaks and control characters in the message are made visible, and a message of more than
    500 characters loses its middle, because it may quote what a file holds.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(visible(message), LONGEST))


def shortened(text: str, limit: int) -> str:
    """The text, without its middle if it has more than ``limit`` characters."""
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


def reason_of(error: OSError) -> str:
    """Why a file cannot be read or written: ``No space left on device``."""
    return error.strerror or str(error) or type(error).__name__


def one_line(error: BaseException) -> str:
    """An error's kind and text without line breaks, at most 500 characters of it."""
    try:
        start = shortened(str(error), 10 * LONGEST)  # what is visible takes long for a long text
        text = shortened(" ".join(visible(start).split()), LONGEST)
    except BaseException:  # a plugin's own error may fail to describe itself, in any way
        text = "(the error could not describe itself)"
    name = shortened(visible(type(error).__name__), LONGEST // 5)
    return f"{name}: {text}" if text else name


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest of some valid names, or nothing."""
    if len(name) > 100:  # no typo, and slow to compare
        return ""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
