"""Attributions by algorithm: which of Captum's algorithms can be trusted on which method."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.cells import Notes, row_name
from legible.bench.statistics.intervals import t_interval
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals, escape, grid, number

AUDIT = "attribution_audit"

READING = """\
An algorithm that fails its audit on a network is left out of that network's means: ✗ 1/3 says that
it failed with one of three seeds. Every metric by algorithm and seed is in
[attributions.csv](../attributions.csv)."""


def shown_metric(board: Board, scores: pd.DataFrame) -> str:
    """The metric that the table shows: the aspect's headline, else the first with a value."""
    measured = set(scores.loc[scores["value"].notna(), "metric"]) - {AUDIT}
    first = board.headlines.get("attribution", "")
    return first if first in measured else min(measured, default="")


def render_algorithms(board: Board, block: Block, rows: Sequence[Row]) -> str:
    """Rows by algorithms: the mean over seeds with half its 95 % t interval, and in how many
    seeds the algorithm failed its audit; empty where nothing was explained."""
    table = board.algorithms
    if table.empty:
        return ""
    here = table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]
    name = shown_metric(board, here)
    if not name:
        return ""
    algorithms = list(dict.fromkeys(here["algorithm"]))
    found = {
        (row.key, algorithm): here[
            (here["method"] == row.method)
            & (here["params"] == row.params)
            & (here["algorithm"] == algorithm)
        ]
        for row in rows
        for algorithm in algorithms
    }
    known = [row for row in rows if any(len(found[row.key, a]) for a in algorithms)]
    digits = decimals(here.loc[here["metric"] == name, "value"])
    lines = [
        [
            row_name(board, row, Notes()),
            *(_cell(found[row.key, a], name, digits) for a in algorithms),
        ]
        for row in known
    ]
    metric = board.metric(name)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.better, "")
    title = f"### By algorithm: {escape(metric.title)}{arrow}"
    heads = ["method", *(escape(a.replace("_", " ")) for a in algorithms)]
    return f"{title}\n\n{READING}\n\n{grid(heads, lines)}"


def _cell(scores: pd.DataFrame, name: str, digits: int) -> str:
    values = scores.loc[(scores["metric"] == name) & scores["value"].notna(), "value"]
    audits = scores.loc[scores["metric"] == AUDIT, "value"]
    failed = f"✗ {int((audits == 0).sum())}/{len(audits)}" if (audits == 0).any() else ""
    if values.empty:
        return failed or "—"
    interval = t_interval(values.to_numpy())
    half = float(interval.half)
    text = number(float(interval.mean), digits)
    text += f" ± {number(half, digits)}" if math.isfinite(half) else ""
    return f"{text}<br>{failed}" if failed else text
