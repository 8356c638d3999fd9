"""Differences to plain as table cells: with a sign, an interval, and why there is none."""

from __future__ import annotations

import math

import numpy as np

from legible.bench.leaderboard.tables.table import Estimate, Notes, TableCell
from legible.bench.leaderboard.verdicts import AspectColumn, BlockColumn
from legible.bench.statistics.contrasts import FEWEST_SEEDS, varies
from legible.bench.statistics.intervals import INTERVAL_SEEDS
from legible.bench.text import digits_with_half
from legible.metrics.base import Metric

FOLLOWS = "not tested: with so few seeds the row follows plain exactly"
SAME = "not tested: in every seed the same as plain"
TWO_SEEDS = "no interval is shown for two seeds"
TOO_WIDE = "no interval is shown: it would be wider than the range of the metric"
NO_TEST = {
    "no spread": "not tested: all seeds gave the same value",
    "one seed": "not tested: one seed",
}


def column_digits(column: AspectColumn) -> int:
    """Digits after the point for the differences of an aspect."""
    rows = np.isin(column.verdicts.reason, ("", "few seeds"))
    rows = rows if rows.any() else np.isfinite(column.contrast.difference)
    return digits_with_half(column.interval.mean[rows], column.interval.half[rows])


def aspect_cell(column: AspectColumn, row: int, digits: int, notes: Notes) -> TableCell:
    """A row's difference in an aspect. An undecided one says what would decide."""
    mean, half = float(column.interval.mean[row]), float(column.interval.half[row])
    sign, reason = column.symbol(row), column.reason(row)
    remarks = [NO_TEST[reason]] if reason in NO_TEST and not column.descriptive else []
    if (
        remarks
        and reason == "no spread"
        and any(varies(part.data.values[row]) for part in column.parts)
    ):
        derived = column.parts[0].data.derived[row]
        remarks = [SAME if derived else FOLLOWS]  # of two seeds, plain's slope leaves nothing
    blocks = sum(np.isfinite(part.contrast.difference[row]) for part in column.parts)
    if 0 < blocks < len(column.parts):
        remarks.append(f"on {blocks} of {len(column.parts)} blocks")
    if column.contrast.seeds[row] == INTERVAL_SEEDS - 1 and not remarks:
        remarks.append(TWO_SEEDS)
    if not column.in_margins and is_too_wide(half, column.metric):
        half = math.nan
        remarks.append(TOO_WIDE)
    below = what_would_decide(column, row) if sign == "?" else ""
    return TableCell(
        Estimate(mean, half, digits, True, sign), below=below, notes=notes.numbers(remarks)
    )


def what_would_decide(column: AspectColumn, row: int) -> str:
    """Why a row is undecided: how many seeds would decide, or what more seeds do not mend."""
    own = int(column.contrast.seeds[row])
    if column.lacks_values[row]:
        return f"{own} of {column.most_seeds} seeds have a value"
    if column.blocks_differ[row]:
        return "the blocks differ"
    return seeds_text(float(column.seeds_needed[row]))


def seeds_text(seeds: float) -> str:
    """How many seeds would decide, in few words; "" if it cannot be said."""
    if math.isnan(seeds):
        return ""
    return f"{seeds:.0f} seeds" if math.isfinite(seeds) else "> 1000 seeds"


def is_too_wide(half: float, metric: Metric) -> bool:
    """Whether an interval tells nothing, because every possible difference lies within its half
    width."""
    return math.isfinite(half) and half > metric.limits[1] - metric.limits[0]


def block_difference(column: BlockColumn | None, row: int, digits: int) -> Estimate | None:
    """A row's difference on one block, in the metric's own direction; None where there is none.

    Undecided differences have no sign here.
    """
    if column is None or not np.isfinite(column.contrast.difference[row]):
        return None
    interval = column.contrast.interval()
    turn = -1.0 if column.column.metric.better == "lower" else 1.0
    half = float(interval.half[row])
    if is_too_wide(half, column.column.metric):
        half = math.nan
    sign = column.symbol(row).replace("?", "")
    return Estimate(turn * float(interval.mean[row]), half, digits, True, sign)


#: How to read signs and intervals, for the pages of details.
READING = f"""\
First line of a table cell: the mean over seeds ± half of its 95 % t interval. Second line: the
difference to plain with its own interval. ▲ better and ▼ worse than plain, △ and ▽ better and worse
by less than the margin, ≈ shown equal within the margin: each by Holm's correction over the rows of
the column, 5 % per column, and only from {FEWEST_SEEDS} seeds on. ↑ more is better, ↓ less is
better. ∅n/m: n of m units (over all seeds) have no defined value and count as the metric's null
value. A raised t: the method's own loss nearly minimises this metric. Intervals are about further
seeds on the same data, backbone and recipe, not about other data."""
