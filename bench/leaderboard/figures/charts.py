"""Figures drawn from the score table: accuracy against interpretability, and which there are."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.figures import dynamics
from legible.bench.leaderboard.figures.drawing import (
    MARKERS,
    drawable,
    frame,
    legend,
    look,
    panels,
    row_label,
)
from legible.bench.leaderboard.figures.profile import profile
from legible.bench.leaderboard.figures.tuning import contest_figures
from legible.bench.leaderboard.standings import TASK
from legible.bench.statistics.intervals import t_interval
from legible.bench.suites.run_spec import Block


def pareto(board: Board, block: Block) -> Figure:
    """A panel an aspect: accuracy across, its headline metric upwards (better is up), with 95 % t
    intervals over seeds; a line joins ranked methods that no other beats in both. Controls and
    null rows are hollow; the frame is made for the ranked methods, what lies outside is drawn at
    its edge. Beyond ten rows numbers stand for methods."""
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
    found = t_interval(board.values(block, rows, [accuracy, column]))
    mean, half = found.mean, np.nan_to_num(found.half)
    known = np.isfinite(mean).all(1)
    inside = known & ranked if (known & ranked).any() else known
    x_limits, y_limits = (frame(mean[inside, i], half[inside, i]) for i in range(2))
    for i, row in enumerate(rows):
        if known[i]:
            x, y = np.clip(mean[i], *np.transpose([x_limits, y_limits])).tolist()
            if (x, y) == tuple(mean[i]):
                axis.errorbar(x, y, half[i, 1], half[i, 0], fmt="none", color=look(i)["color"],
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
    """A row's marker; its number where there are more rows than markers."""
    style: dict[str, Any] = look(i) | ({} if row.ranked else {"markerfacecolor": "white"})
    name = row_label(row)
    if count > len(MARKERS):
        colour = style["color"] if row.ranked else "#777777"
        axis.text(x, y, str(i + 1), ha="center", va="center", fontsize=7, color=colour,
                  fontweight="bold" if row.ranked else "normal")  # fmt: skip
        style, name = {"color": "none"}, f"{i + 1}  {name}"
    axis.plot(x, y, linestyle="", markersize=5, label=name, clip_on=False, **style)


def pareto_front(points: np.ndarray) -> list[int]:
    """Indices of the points that no other beats in both columns (more is better), by the first."""
    known = np.isfinite(points).all(1)
    above = (points[None] >= points[:, None]).all(-1) & (points[None] > points[:, None]).any(-1)
    beaten = (above & known[None]).any(1)
    front = np.flatnonzero(known & ~beaten)
    return [int(i) for i in front[np.lexsort((points[front, 1], points[front, 0]))]]


def available(board: Board) -> list[tuple[str, str, Callable[[], Figure]]]:
    """(file stem, caption, drawing function) of every figure the table can give."""
    out: list[tuple[str, str, Callable[[], Figure]]] = []
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    methods = [row for row in board.rows if row.ranked and row is not board.baseline]
    if board.baseline is not None and methods and names:
        out.append(("profile", PROFILE, partial(profile, board)))
    for number, block in enumerate(board.blocks):
        columns = board.columns(block, board.headlines.values())
        aspects = {c.metric.aspect for c in columns if c.metric.better != "neither"}
        if TASK in aspects and len(aspects) > 1:
            caption = f"{' · '.join(block)}: {PARETO}"
            out.append((f"pareto-{number}", caption, partial(pareto, board, block)))
        if block in board.dynamics:
            stem = "dynamics" if len(board.dynamics) == 1 else f"dynamics-{number}"
            out.append(
                (stem, f"{' · '.join(block)}: {DYNAMICS}", partial(dynamics.draw, board, block))
            )
    return out + contest_figures(board)


PROFILE = (
    "Aspect profile: difference to plain in each headline metric, in its own unit, averaged over "
    "blocks, better to the right, with 95 % intervals over seeds. Filled: different after Holm's "
    "correction. Below the line: controls and null rows; arrows: outside the frame"
)
PARETO = (
    "accuracy against the headline metric of each aspect, with 95 % intervals over seeds. The line "
    "joins methods that no other beats in both. Hollow or grey: controls and null rows, drawn at "
    "the edge where they lie outside"
)
DYNAMICS = (
    "metrics of validation images by epoch, the mean over seeds in a band from the lowest to the "
    "highest seed"
)
