"""The page docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from speed.comparison import Comparison

HEAD = """# Performance

This page is written by `make speed`; do not edit it. A ratio is the peer's time over ours on one
core, the two in turn in one run: the median over pairs, with the smallest and the largest. The
floor is the time that our matrix products and convolutions would take at the speed that this core
reaches in one large product, measured in the same run. It says how much could be gained at most;
where the work is sorting or counting there is no such floor.
"""


def as_page(comparisons: Sequence[Comparison], facts: Mapping[str, str]) -> str:
    """The page: hardware, the table, and the peers that were missing."""
    where = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    parts = [HEAD, where + "\n", table([c for c in comparisons if not c.missing])]
    missing = [c for c in comparisons if c.missing]
    if missing:
        lines = [f"- {c.subject}, against {c.peer}: {c.missing}. Ours takes "
                 f"{duration(c.ours_seconds)}." for c in missing]  # fmt: skip
        parts.append("\nNot compared, because the peer is missing:\n\n" + "\n".join(lines))
    return "\n".join(parts) + "\n"


def table(comparisons: Sequence[Comparison]) -> str:
    """One row for each comparison, in Markdown."""
    head = ("what", "against", "ours", "peer", "ratio", "floor", "ours / floor")
    rows = [
        (c.subject, c.peer, duration(c.ours_seconds), duration(c.peer_seconds),
         f"{number(c.ratio)} ({number(c.low)} to {number(c.high)})",
         duration(c.floor) if c.floor else "", number(c.ours_seconds / c.floor) if c.floor else "")
        for c in comparisons
    ]  # fmt: skip
    lines = [head, ("---", "---", *["---:"] * 5), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def duration(seconds: float) -> str:
    """Seconds in a unit in which they are easy to read."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds / 1e-6)} µs"


def number(value: float) -> str:
    """Three digits, as a plain decimal."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
