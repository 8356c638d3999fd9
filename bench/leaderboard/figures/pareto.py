"""Accuracy against the headline metric of each aspect, with the Pareto front."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.figures.style import (
    MARKERS,
    drawable,
    frame,
    legend,
    panels,
    row_label,
    row_style,
)
from legible.bench.leaderboard.standings import TASK
from legible.bench.statistics.intervals import t_interval
from legible.bench.suites.run_spec import Block


def draw_pareto(board: Board, block: Block) -> Figure:
    """Draws a panel for each aspect: accuracy on the x axis, the headline metric on the y axis,
    turned so that up is better, with 95 % t intervals over seeds.

    A line joins the ranked methods that no other beats in both. Controls and null rows are hollow.
    The axes fit the ranked methods; other points outside are drawn at the edge. With more than ten
    rows, numbers stand for methods. Raises ValueError without accuracy or without an aspect.
    """
    columns = board.columns(block, board.headlines.values())
    accuracy = next((c for c in columns if c.metric.aspect == TASK), None)
    others = [c for c in columns if c.metric.aspect != TASK and c.metric.better != "neither"]
    if accuracy is None or not others:
        raise ValueError(f"{block.dataset} on {block.backbone}: no accuracy or no aspect to draw")
    figure, axes = panels(len(others), 3.2, 2.8)
    for axis, column in zip(axes, others, strict=True):
        _pareto_panel(board, block, axis, accuracy, column)
    legend(figure, axes)
    figure.suptitle(drawable(f"{block.dataset} · {block.backbone}"), fontsize=10)
    return figure


def _pareto_panel(board: Board, block: Block, axis: Axes, accuracy: Column, column: Column) -> None:
    rows = board.rows
    ranked = np.array([row.ranked for row in rows])
    interval = t_interval(board.values(block, rows, [accuracy, column]))
    mean, half = interval.mean, np.nan_to_num(interval.half)
    complete = np.isfinite(mean).all(1)
    inside = complete & ranked if (complete & ranked).any() else complete
    x_limits, y_limits = (frame(mean[inside, i], half[inside, i]) for i in range(2))
    for i, row in enumerate(rows):
        if complete[i]:
            x, y = np.clip(mean[i], *np.transpose([x_limits, y_limits])).tolist()
            if (x, y) == tuple(mean[i]):
                axis.errorbar(x, y, half[i, 1], half[i, 0], fmt="none", color=row_style(i)["color"],
                              elinewidth=0.8)  # fmt: skip
            _mark(axis, x, y, i, len(rows), row)
    sign = -1.0 if column.metric.better == "lower" else 1.0
    points = mean[ranked]
    front = pareto_front(points * np.array([1.0, sign]))
    axis.plot(*points[front].T, color="#777777", linewidth=1, zorder=0)
    axis.set_xlim(x_limits)
    axis.set_ylim(y_limits[::-1] if sign < 0 else y_limits)
    arrow = "axis turned: up is better" if sign < 0 else "up is better"
    axis.set_title(drawable(f"{column.metric.aspect} ({arrow})"))
    name = f"{column.metric.title}, {column.layer}".rstrip(", ")
    axis.set_ylabel(textwrap.fill(drawable(name), 28))
    axis.set_xlabel(drawable(accuracy.metric.title))


def _mark(axis: Axes, x: float, y: float, i: int, count: int, row: Row) -> None:
    """Draws a row's marker, or its number if there are more rows than markers."""
    style: dict[str, Any] = row_style(i) | ({} if row.ranked else {"markerfacecolor": "white"})
    name = row_label(row)
    if count > len(MARKERS):
        colour = style["color"] if row.ranked else "#777777"
        axis.text(x, y, str(i + 1), ha="center", va="center", fontsize=7, color=colour,
                  fontweight="bold" if row.ranked else "normal")  # fmt: skip
        style, name = {"color": "none"}, f"{i + 1}  {name}"
    axis.plot(x, y, linestyle="", markersize=5, label=name, clip_on=False, **style)


def pareto_front(points: np.ndarray) -> list[int]:
    """Indices of the points that no other beats in both columns (higher is better), ordered by the
    first column."""
    complete = np.isfinite(points).all(1)
    above = (points[None] >= points[:, None]).all(-1) & (points[None] > points[:, None]).any(-1)
    beaten = (above & complete[None]).any(1)
    front = np.flatnonzero(complete & ~beaten)
    return [int(i) for i in front[np.lexsort((points[front, 1], points[front, 0]))]]
