"""Text and numbers in a form that is safe and easy to read; markup is left to the renderers."""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
import unicodedata
from collections.abc import Iterable


def one_line(text: object, limit: int = 300) -> str:
    """Text without line breaks, control or direction-changing characters, cut at ``limit``."""
    characters = (" " if unicodedata.category(c)[0] in "ZC" else c for c in str(text))
    line = re.sub(r" +", " ", "".join(characters)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def visible(text: str) -> str:
    """Text with line breaks as spaces, and other characters that cannot be seen as escapes.

    ``a\\x00b`` is shown for an ``a``, a NUL and a ``b``; ordinary spaces stay as they are.
    """
    return "".join(
        " " if c in "\t\n\r\v\f\x85\u2028\u2029"
        else ascii(c)[1:-1] if unicodedata.category(c)[0] == "C" else c
        for c in text
    )  # fmt: skip


def name_problem(name: str, limit: int = 100) -> str:
    """Why a text cannot be the name of a file or folder on every system; empty if it can.

    Such a name is one part of a path: a suite's name is the name of its folder of results.
    """
    if not name.strip():
        return "is empty"
    if len(name) > limit or len(name.encode("utf-8", "replace")) > 2 * limit:
        return f"is longer than {limit} characters"
    if any(unicodedata.category(c)[0] == "C" for c in name):
        return "has control characters or line breaks"
    if bad := next((c for c in name if c in '/\\:*?"<>|'), ""):
        return f"has a '{bad}', which cannot be part of a folder's name"
    if name[0] in ". ":
        return f"starts with a '{name[0]}'"
    if name[-1] in ". ":
        return f"ends with a '{name[-1]}'"
    return ""


def plain_letters(text: str) -> str:
    """Text as part of a file name: ``kanji(size=28)`` becomes ``kanji-size-28``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def file_name_part(text: str, limit: int = 100) -> str:
    """Text as part of a file name that keeps letters, digits and ``_ - .`` within words.

    Two texts that differ in other characters get different names: ``a/b`` becomes ``a%2Fb``. A text
    that is too long is cut, and ends in a hash of the whole.
    """
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "_-" or (c == "." and number)
                   else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogatepass"))
                   for number, c in enumerate(text))  # fmt: skip
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{name[: limit - 13]}-{digest}"


def listed(names: Iterable[str]) -> str:
    """Names as part of a sentence: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def settings(params: str) -> str:
    """Parameters given as a JSON object, as ``name=value, ...``; other text as it is."""
    try:
        pairs = json.loads(params).items()
    except (ValueError, AttributeError, RecursionError):
        return params
    return ", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in pairs)


# ----------------------------------------------------------------- numbers


def decimals(values: Iterable[float]) -> int:
    """Digits after the point that show three significant digits of the largest value, at most 5.

    A power of ten counts as the end of the range below it: shares up to 1 have three digits.
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return 3 if largest == 0 else min(max(3 - math.ceil(math.log10(largest)), 0), 5)


def digits_with_half(mean: Iterable[float], half: Iterable[float]) -> int:
    """Digits after the point for values with half widths: as many as a typical half width needs.

    It is shown with one significant digit, or two if the first is 1: ± 0.004, ± 0.014. Typical is
    the median, so that one wide interval does not round all others away. Without half widths,
    two significant digits of the largest mean are shown.
    """
    sizes = [h for h in half if math.isfinite(h) and h > 0]
    if not sizes:
        return max(decimals(mean) - 1, 0)
    typical = statistics.median(sizes)
    digits = -math.floor(math.log10(typical))
    return min(max(digits + int(typical * 10.0**digits < 2), 0), 5)


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number with a true minus sign, never minus zero; a dash if it is not finite."""
    if not math.isfinite(value):
        return "—"
    text = f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def mean_and_half(mean: float, half: float, digits: int, signed: bool = False) -> str:
    """``0.123 ± 0.004``; without the second number if ``half`` is not finite."""
    text = number(mean, digits, signed)
    return f"{text} ± {number(half, digits)}" if math.isfinite(half) else text
