"""What a case found, the log of all outcomes, and the table of counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["lost work", "silently wrong", "stack trace", "other"]
KINDS: tuple[Kind, ...] = ("lost work", "silently wrong", "stack trace", "other")


@dataclass
class Outcome:
    """The outcome of one case: a situation, the case in words, and what went wrong in it.

    ``cases`` is above 1 where many cases are counted together, as in a fuzz test. ``skipped`` is
    the reason why a case could not be tried. ``key`` names the case in the log.
    """

    situation: str
    case: str
    problems: list[tuple[Kind, str]] = field(default_factory=list)
    cases: int = 1
    skipped: str = ""
    subject: str = ""
    key: str = ""

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """The outcome in a line of JSON."""
        outcome = cls(**json.loads(text))
        outcome.problems = [(kind, text) for kind, text in outcome.problems]
        return outcome

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


class Log:
    """A file with a line of JSON for each outcome; without a path nothing is kept. The last outcome
    of a case counts."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        text = path.read_text() if path and path.exists() else ""
        self._last = {o.key: o for o in map(Outcome.from_json, text.splitlines())}

    def held(self, key: str) -> Outcome | None:
        """The outcome of a case that was tried before and held."""
        outcome = self._last.get(key)
        return None if outcome is None or outcome.problems or outcome.skipped else outcome

    def add(self, outcome: Outcome) -> None:
        """Notes an outcome."""
        self._last[outcome.key] = outcome
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")

    def outcomes(self, subjects: Iterable[str]) -> list[Outcome]:
        """The last outcome of each case, in the order of the subjects."""
        return [o for subject in subjects for o in self._last.values() if o.subject == subject]


def table(outcomes: Sequence[Outcome], by: Literal["situation", "subject"]) -> str:
    """Counts by situation or subject, with a last line of sums, in Markdown."""
    head = (by, "cases", "held", *KINDS, "skipped")
    names = dict.fromkeys(getattr(o, by) for o in outcomes)
    rows = [_counts(name, [o for o in outcomes if getattr(o, by) == name]) for name in names]
    rows.append(_counts("all", outcomes))
    lines = [head, *((name, *map(str, counts)) for name, *counts in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = [
        " | ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                   for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]  # fmt: skip
    rule = " | ".join("-" * width if not n else "-" * (width - 1) + ":"
                      for n, width in enumerate(widths))  # fmt: skip
    return "\n".join(f"| {text} |" for text in [texts[0], rule, *texts[1:]])


#: The lines of a page between which the counts stand.
COUNTS = ("<!-- counts -->", "<!-- end of counts -->")


def write_counts(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes the counts by subject into a page."""
    before, rest = page.read_text().split(COUNTS[0])
    after = rest.split(COUNTS[1])[1]
    counts = table(outcomes, "subject")
    page.write_text(f"{before}{COUNTS[0]}\n{counts}\n{COUNTS[1]}{after}")


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
