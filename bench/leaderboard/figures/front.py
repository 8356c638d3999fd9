"""The front of accuracy and interpretability: what each row costs, and what it gains."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Row
from legible.bench.leaderboard.figures.style import (
    MARKERS,
    central,
    drawable,
    frame,
    legend,
    panels,
    row_label,
    row_style,
)
from legible.bench.leaderboard.verdicts import TASK, AspectColumn, Standings


def draw_front(standings: Standings) -> Figure:
    """Draws a panel for each aspect with a better direction: the difference to plain in accuracy on
    the x axis, in the aspect on the y axis, both better when larger, with 95 % intervals.

    Plain is at (0, 0). A line joins the trained rows that no other beats in both. Other rows are
    hollow. The axes fit the bulk of the methods (`style.central`); points outside are drawn at the
    edge. With more than ten rows, numbers stand for rows, without intervals. Raises ValueError
    without accuracy or without an aspect.
    """
    accuracy, others = standings.columns.get(TASK), list(standings.signed.values())
    if accuracy is None or not others:
        raise ValueError("no accuracy or no aspect to draw")
    figure, axes = panels(len(others), 3.2, 2.8)
    for axis, column in zip(axes, others, strict=True):
        _panel(standings, axis, accuracy, column)
    legend(figure, axes)
    return figure


def _panel(standings: Standings, axis: Axes, accuracy: AspectColumn, column: AspectColumn) -> None:
    rows = standings.board.rows
    mean, half = (
        np.stack([getattr(c.interval, name) for c in (accuracy, column)], 1)
        for name in ("mean", "half")
    )
    mean[[row is standings.board.baseline for row in rows]] = 0.0
    half = np.nan_to_num(half)
    complete = np.isfinite(mean).all(1)
    few = len(rows) <= len(MARKERS)
    bulk = complete & np.array([row.trained for row in rows])
    bulk[bulk] = central(mean[bulk], half[bulk])
    limits = [frame(mean[bulk, i], half[bulk, i] * few, 0.0) for i in range(2)]
    for i, row in enumerate(rows):
        if complete[i]:
            x, y = np.clip(mean[i], *np.transpose(limits)).tolist()
            if few and (x, y) == tuple(mean[i]):
                axis.errorbar(x, y, half[i, 1], half[i, 0], fmt="none", color=row_style(i)["color"],
                              elinewidth=0.6, alpha=0.6)  # fmt: skip
            _mark(axis, x, y, i, len(rows), row)
    points = np.clip(mean[[row.trained for row in rows]], *np.transpose(limits))
    axis.plot(*points[front_of(points)].T, color="#777777", linewidth=1, zorder=0)
    for draw in (axis.axvline, axis.axhline):
        draw(0, color="#cccccc", linewidth=0.7, zorder=0)
    axis.set_xlim(limits[0])
    axis.set_ylim(limits[1])
    unit = "in margins" if column.in_margins else column.metric.title
    axis.set_title(drawable(column.aspect))
    axis.set_ylabel(textwrap.fill(drawable(f"{unit} − plain"), 30), fontsize=8)
    axis.set_xlabel(drawable(f"{accuracy.metric.title} − plain"), fontsize=8)


def _mark(axis: Axes, x: float, y: float, i: int, count: int, row: Row) -> None:
    """Draws a row's marker, or its number if there are more rows than markers."""
    style: dict[str, Any] = row_style(i) | ({} if row.trained else {"markerfacecolor": "white"})
    name = row_label(row)
    if count > len(MARKERS):
        colour = style["color"] if row.trained else "#777777"
        axis.text(x, y, str(i + 1), ha="center", va="center", fontsize=7, color=colour,
                  fontweight="bold" if row.trained else "normal")  # fmt: skip
        style, name = {"color": "none"}, f"{i + 1}  {name}"
    axis.plot(x, y, linestyle="", markersize=5, label=name, clip_on=False, **style)


def front_of(points: Float[np.ndarray, "points 2"]) -> list[int]:
    """Indices of the points that no other beats in both columns (higher is better), ordered by the
    first column."""
    complete = np.isfinite(points).all(1)
    above = (points[None] >= points[:, None]).all(-1) & (points[None] > points[:, None]).any(-1)
    beaten = (above & complete[None]).any(1)
    best = np.flatnonzero(complete & ~beaten)
    return [int(i) for i in best[np.lexsort((points[best, 1], points[best, 0]))]]
