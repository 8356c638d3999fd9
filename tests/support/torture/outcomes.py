"""What a case found, and the table of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["lost work", "silently wrong", "stack trace", "other"]
KINDS: tuple[Kind, ...] = ("lost work", "silently wrong", "stack trace", "other")


@dataclass
class Outcome:
    """The outcome of one case: a situation, the case in words, and what went wrong in it.

    ``cases`` is above 1 where many cases are counted together, as in a fuzz test. ``skipped`` is
    the reason why a case could not be tried.
    """

    situation: str
    case: str
    problems: list[tuple[Kind, str]] = field(default_factory=list)
    cases: int = 1
    skipped: str = ""

    def require(self, holds: bool, kind: Kind, text: str) -> None:
        """Notes a problem unless a condition holds."""
        if not holds:
            self.problems.append((kind, text))

    def line(self) -> str:
        """The case in one line."""
        if self.skipped:
            return f"{self.situation}: {self.case}: skipped: {self.skipped}"
        what = "; ".join(f"{kind.upper()}: {text}" for kind, text in self.problems) or "held"
        return f"{self.situation}: {self.case}: {what}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Counts by situation, with a last line of sums."""
    head = ("situation", "cases", "held", *KINDS, "skipped")
    rows = [_counts(name, [o for o in outcomes if o.situation == name])
            for name in dict.fromkeys(o.situation for o in outcomes)]  # fmt: skip
    rows.append(_counts("all", outcomes))
    lines = [head, *((name, *map(str, counts)) for name, *counts in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        " | ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                   for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip


def _counts(name: str, outcomes: Sequence[Outcome]) -> list[object]:
    tried = [o for o in outcomes if not o.skipped]
    cases = sum(o.cases for o in tried)
    bad = [{kind for kind, _ in o.problems} for o in tried]
    kinds = [sum(kind in found for found in bad) for kind in KINDS]
    skipped = sum(bool(o.skipped) for o in outcomes)
    return [name, cases, cases - sum(map(bool, bad)), *kinds, skipped]


def failed(outcomes: Sequence[Outcome]) -> bool:
    """Whether any case had a problem."""
    return any(o.problems for o in outcomes)
