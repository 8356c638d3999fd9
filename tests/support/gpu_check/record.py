"""What a check gives: records, their file, and the page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "bad", "note", "skipped", "cut"]
VERDICTS: tuple[Verdict, ...] = ("ok", "bad", "note", "skipped", "cut")


@dataclass(frozen=True)
class Check:
    """One value that was checked.

    ``reference`` is what the value is compared with: the CPU's, plain training's, or a limit.
    "note" is a value without a limit, "skipped" does not apply here (``text`` says why), "cut" was
    not done because the time of its part was over.
    """

    part: str
    case: str
    quantity: str
    verdict: Verdict
    value: float = math.nan
    reference: float = math.nan
    text: str = ""


@dataclass(frozen=True)
class PartEnd:
    """How a part of the check ended: its time, and its cases that were not done."""

    part: str
    budget: float
    seconds: float
    cut: tuple[str, ...] = ()
    reason: str = ""


def write_line(path: Path, value: Check | Sequence[str]) -> None:
    """Appends a record, or the names of all cases, to a part's file, so that a part that is ended
    keeps what it did."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(value) if isinstance(value, Check) else list(value)) + "\n")


def read_lines(path: Path) -> tuple[list[str], list[Check]]:
    """The names of all cases of a part, and its records; a line that was cut short is left out."""
    cases: list[str] = []
    records: list[Check] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, list):
            cases = value
        else:
            records.append(Check(**value))
    return cases, records


def as_csv(records: Iterable[Check]) -> str:
    """The records as a table of comma-separated values; an empty cell is a number that is not
    there."""
    text = io.StringIO()
    names = [field.name for field in fields(Check)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: "" if _is_nan(v) else v for k, v in asdict(record).items()})
    return text.getvalue()


def as_page(
    facts: dict[str, str], ends: Sequence[PartEnd], records: Sequence[Check], command: str
) -> str:
    """The page: where it ran, how each part ended and what was cut, and one table of all values."""
    parts = [
        [end.part, f"{end.seconds:.0f} of {end.budget:.0f} s", *_counts(end.part, records),
         _ending(end)]
        for end in ends
    ]  # fmt: skip
    rows = [
        [r.part, r.case, r.quantity, _number(r.value), _number(r.reference), r.verdict, r.text]
        for r in sorted(records, key=lambda r: r.verdict != "bad")
    ]
    heads = ("part", "case", "quantity", "value", "compared with", "verdict", "remark")
    return "\n\n".join([
        "# What a GPU changes",
        f"Written by `{command}`. A value is compared with the CPU's (metrics), with plain "
        "training's (methods), with one worker's (throughput), with the forward pass's (large "
        "layer), or with a limit. Each part has a time; what did not fit is named. All values are "
        "also in `checks.csv`.",
        _table(("where", ""), [[name, text] for name, text in facts.items()]),
        _table(("part", "time", *VERDICTS[:4], "how it ended"), parts),
        _table(heads, rows),
    ]) + "\n"  # fmt: skip


def _counts(part: str, records: Sequence[Check]) -> list[str]:
    own = [record.verdict for record in records if record.part == part]
    return [str(own.count(verdict)) for verdict in VERDICTS[:4]]


def _ending(end: PartEnd) -> str:
    cut = f"cut: {', '.join(end.cut)}" if end.cut else ""
    return "; ".join(text for text in (end.reason, cut) if text) or "all done"


def _number(value: float) -> str:
    return "" if _is_nan(value) else f"{value:.3g}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
