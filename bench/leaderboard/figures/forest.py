"""The forest plot: each row's difference to plain in each aspect, with its interval and verdict."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.figures.style import central, drawable, frame, row_label
from legible.bench.leaderboard.verdicts import TASK, AspectColumn, Standings

#: Colours of verdicts; the markers tell them apart in grey too.
BETTER, WORSE, GREY = "#0072B2", "#D55E00", "#777777"
#: Colour, marker, and whether it is filled.
MARKS = {
    "▲": (BETTER, "^", True), "△": (BETTER, "^", False), "▼": (WORSE, "v", True),
    "▽": (WORSE, "v", False), "≈": ("#000000", "s", True), "?": (GREY, "o", False),
    "": (GREY, ".", True),
}  # fmt: skip


def draw_forest(standings: Standings) -> Figure:
    """Draws a panel for accuracy and each aspect with a better direction, a line for each row.

    Better is to the right. The band is the margin. Groups of rows are set apart by lines. The axes
    fit the bulk of the methods (`style.central`); points outside are drawn at the edge. Raises
    ValueError if there is nothing to compare with plain.
    """
    columns = forest_columns(standings)
    rows = [i for i, row in enumerate(standings.board.rows) if row is not standings.board.baseline]
    if not columns or not rows:
        raise ValueError("a forest plot needs plain, another row and an aspect with a direction")
    labels = [row_label(standings.board.rows[i]) for i in rows]
    left = 0.6 + 0.062 * max(map(len, labels))
    width, height = left + 1.5 * len(columns), 1.35 + 0.21 * len(rows)
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left / width, 0.6 / height, 1 - 0.1 / width, 1 - 0.7 / height, 0.2)
    for axis, column in zip(axes, columns, strict=True):
        _panel(axis, standings, column, rows)
    axes[0].set_yticks(range(len(rows)), labels)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for axis in axes[1:]:
        axis.tick_params(left=False)
    figure.supxlabel("difference to plain, better to the right", fontsize=8, y=0.06 / height)
    return figure


def forest_columns(standings: Standings) -> list[AspectColumn]:
    """Accuracy, then the aspects with a better direction."""
    return [*filter(None, [standings.columns.get(TASK)]), *standings.signed.values()]


def _panel(axis: Axes, standings: Standings, column: AspectColumn, rows: list[int]) -> None:
    board = standings.board
    mean, half = column.interval.mean[rows], np.nan_to_num(column.interval.half[rows])
    methods = np.array([board.rows[i].trained for i in rows])
    bulk = np.isfinite(mean) & (methods if np.isfinite(mean[methods]).any() else True)
    bulk[bulk] = central(mean[bulk, None], half[bulk, None])
    low, high = frame(mean[bulk], half[bulk], 0.0)
    if np.isfinite(column.margin):
        axis.axvspan(max(-column.margin, low), min(column.margin, high), color="#eeeeee", zorder=0)
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for i in range(1, len(rows)):
        if board.rows[rows[i]].group != board.rows[rows[i - 1]].group:
            axis.axhline(i - 0.5, color="#bbbbbb", linewidth=0.8)
    for i, row in enumerate(rows):
        if not np.isfinite(mean[i]):
            axis.text((low + high) / 2, i, "–", ha="center", va="center", color=GREY)
            continue
        colour, marker, filled = MARKS[column.symbol(row)]
        x = float(np.clip(mean[i], low, high))
        marker = marker if x == mean[i] else ">" if mean[i] > high else "<"
        ends = np.clip([mean[i] - half[i], mean[i] + half[i]], low, high)
        axis.plot(ends, [i, i], color=colour, linewidth=0.9)
        axis.plot(x, i, marker, color=colour, clip_on=False, markersize=5,
                  markerfacecolor=None if filled else "white")  # fmt: skip
    axis.set_xlim(low, high)
    axis.locator_params(axis="x", nbins=3)
    axis.tick_params(axis="x", labelsize=7)
    unit = "\n(in margins)" if column.in_margins else ""
    title = textwrap.fill(drawable(column.metric.title), 20)
    axis.set_title(f"{column.aspect}\n{title}{unit}", fontsize=7)
