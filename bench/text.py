"""Text and numbers made safe and readable in markdown."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from tabulate import DataRow, TableFormat, tabulate

_ENTITIES = {character: f"&#{ord(character)};" for character in "|`*[]\\$~{}#"}
_ENTITIES |= {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def one_line(text: object, limit: int = 300) -> str:
    """Text without line breaks, control or direction-changing characters, cut at ``limit``."""
    kept = (" " if unicodedata.category(c)[0] in "ZC" else c for c in str(text))
    line = re.sub(r" +", " ", "".join(kept)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def escape(text: object, limit: int = 300) -> str:
    """Text that markdown (tables, links, HTML, mathematics, web addresses) shows as it is."""
    line = "".join(_ENTITIES.get(c, c) for c in one_line(text, limit))
    line = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "&#95;", line)
    line = re.sub(r"(?i)\bwww\.", lambda m: m[0][:-1] + "&#46;", line)
    return line.replace("://", "&#58;//")


def settings(params: str) -> str:
    """Parameters given as a JSON object, read as ``name=value, ...``."""
    try:
        pairs = json.loads(params).items()
    except (ValueError, AttributeError, RecursionError):
        return params
    return ", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in pairs)


def code_block(text: object) -> str:
    """A fenced block whose fence is longer than any row of backticks inside."""
    lines = [one_line(line, 2000) for line in str(text).splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + "sh", *lines, fence])


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "right") -> str:
    """A markdown table without padding; the first column to the left, the others as ``align``
    says ("left", "right" or "center")."""
    rule = {"left": ":---", "right": "---:", "center": ":---:"}[align]
    line = DataRow("|", "|", "|")
    compact = TableFormat(
        lineabove=None, linebetweenrows=None, linebelow=None, headerrow=line, datarow=line,
        linebelowheader=lambda widths, _: f"|{'|'.join([':---', *[rule] * (len(widths) - 1)])}|",
        padding=1, with_header_hide=None,
    )  # fmt: skip
    return tabulate(
        list(rows), header, compact, disable_numparse=True, stralign=None, numalign=None
    )


def decimals(values: Iterable[float]) -> int:
    """Digits after the point that show three significant ones of the largest value.

    A power of ten counts as the end of the range below it: shares up to 1 have three digits.
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return 3 if largest == 0 else min(max(3 - math.ceil(math.log10(largest)), 0), 5)


def digits_with_half(mean: Iterable[float], half: Iterable[float]) -> int:
    """Digits after the point that show two significant ones of the largest mean or half-width."""
    return max(decimals([*mean, *half]) - 1, 0)


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number with a real minus sign; never minus zero."""
    if not math.isfinite(value):
        return "—"
    text = f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")
