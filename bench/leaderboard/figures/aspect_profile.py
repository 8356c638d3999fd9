"""The aspect profile: each method's difference to plain, aspect by aspect."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.figures.style import drawable, frame, row_label
from legible.bench.leaderboard.standings import PooledDifferences, pooled_differences
from legible.metrics.base import Metric


def draw_profile(board: Board) -> Figure:
    """Draws a panel for each aspect with a line for each method: the difference to plain in the
    headline metric, in its own unit, averaged over blocks, with the 95 % interval over seeds.

    Better is to the right. A filled marker: significant after Holm's correction over all methods
    and aspects. Null rows and controls are below a line. The axes fit the methods; other points
    outside are drawn at the edge. Raises ValueError if there is nothing to compare with plain.
    """
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    rows = profile_rows(board)
    ranked = [row for row in rows if row.ranked]
    differences = pooled_differences(board, rows, names)
    tested = pooled_differences(board, ranked, names)
    if differences is None or tested is None:
        raise ValueError("a profile needs plain, another method and a headline with a direction")
    labels = [row_label(row) for row in rows]
    left = 0.6 + 0.062 * max(map(len, labels))
    width, height = left + 1.4 * len(names), 1.25 + 0.21 * len(rows)
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left / width, 0.55 / height, 1 - 0.1 / width, 1 - 0.6 / height, 0.3)
    for c, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _panel(axis, board.metric(name), differences, tested, c)
    axes[0].set_yticks(range(len(rows)), labels)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for axis in axes[1:]:
        axis.tick_params(left=False)
    figure.supxlabel("difference to plain, better to the right", fontsize=8, y=0.06 / height)
    return figure


def profile_rows(board: Board) -> list[Row]:
    """The rows of a profile: all but plain, ranked ones first."""
    rows = [row for row in board.rows if row is not board.baseline]
    return sorted(rows, key=lambda row: not row.ranked)


def _panel(
    axis: Axes, metric: Metric, all_rows: PooledDifferences, tested: PooledDifferences, c: int
) -> None:
    mean, half = all_rows.interval.mean[:, c], np.nan_to_num(all_rows.interval.half[:, c])
    ranked = np.array([row.ranked for row in all_rows.rows])
    low, high = frame(mean[ranked], half[ranked], 0.0)
    axis.axvline(0, color="#777777", linewidth=0.8, zorder=0)
    if not ranked.all():
        axis.axhline(ranked.sum() - 0.5, color="#bbbbbb", linewidth=0.8)
    for i, row in enumerate(all_rows.rows):
        if not np.isfinite(mean[i]):
            axis.text((low + high) / 2, i, "–", ha="center", va="center", color="#555555")
            continue
        significant = row.ranked and bool(tested.significant[tested.rows.index(row), c])
        x = float(np.clip(mean[i], low, high))
        marker = "o" if x == mean[i] else _pointer(x > 0, metric)
        axis.plot([mean[i] - half[i], mean[i] + half[i]], [i, i], color="#333333", linewidth=0.9)
        axis.plot(x, i, marker, color="#0072B2" if row.ranked else "#777777", clip_on=False,
                  markersize=5, markerfacecolor=None if significant else "white")  # fmt: skip
    axis.set_xlim((high, low) if metric.better == "lower" else (low, high))
    axis.locator_params(axis="x", nbins=2)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(f"{metric.aspect}\n{textwrap.fill(drawable(metric.title), 20)}", fontsize=7)


def _pointer(right: bool, metric: Metric) -> str:
    """A marker that points outwards; the axis is turned if less is better."""
    return ">" if right != (metric.better == "lower") else "<"
