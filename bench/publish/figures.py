"""Figures drawn from the score table alone: accuracy against interpretability, aspect profiles."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.publish.board import Block, Board, Column, Row
from bench.publish.contest_figures import contest_figures
from bench.publish.drawing import drawable, look, panels
from bench.publish.standings import TASK, orientation, tensor
from bench.publish.text import settings
from bench.stats import t_interval


def label(row: Row) -> str:
    """A row's name in a figure."""
    extra = settings(row.params)
    return drawable(f"{row.label} ({extra})" if extra else row.label)


def pareto(board: Board, block: Block) -> Figure:
    """A panel an aspect: accuracy across, its headline metric upwards (better is up), with 95 % t
    intervals over seeds; a line joins ranked methods that no other beats in both. Nulls and
    controls are hollow."""
    columns = board.columns(block, board.headlines.values())
    accuracy = next((c for c in columns if c.metric.aspect == TASK), None)
    others = [c for c in columns if c.metric.aspect != TASK and c.metric.better != "neither"]
    if accuracy is None or not others:
        raise ValueError(f"{block.dataset} on {block.backbone}: no accuracy or no aspect to draw")
    figure, axes = panels(len(others), 3.2, 2.8)
    for axis, column in zip(axes, others, strict=True):
        _pareto_panel(board, block, axis, accuracy, column)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=7)
    figure.suptitle(drawable(f"{block.dataset} · {block.backbone}"), fontsize=10)
    return figure


def _pareto_panel(board: Board, block: Block, axis: Axes, accuracy: Column, column: Column) -> None:
    rows = board.rows
    values = board.values(block, rows, [accuracy, column])
    found = t_interval(values)
    for i, row in enumerate(rows):
        if np.isfinite(found.mean[i]).all():
            half = np.nan_to_num(found.half[i])
            style = look(i) | ({} if row.ranked else {"markerfacecolor": "white"})
            x, y = found.mean[i]
            axis.errorbar(x, y, xerr=half[0], yerr=half[1], linestyle="", markersize=5,
                          elinewidth=0.8, label=label(row), **style)  # fmt: skip
    sign = -1.0 if column.metric.better == "lower" else 1.0
    points = found.mean[[row.ranked for row in rows]]
    front = pareto_front(points * np.array([1.0, sign]))
    axis.plot(*points[front].T, color="#777777", linewidth=1, zorder=0)
    if sign < 0:
        axis.invert_yaxis()
    arrow = "axis turned: up is better" if sign < 0 else "up is better"
    axis.set_title(drawable(f"{column.metric.aspect} ({arrow})"))
    name = f"{column.metric.title}, {column.layer}".rstrip(", ")
    axis.set_ylabel(textwrap.fill(drawable(name), 28))
    axis.set_xlabel(drawable(accuracy.metric.title))


def pareto_front(points: np.ndarray) -> list[int]:
    """Indices of the points that no other beats in both columns (more is better), by the first."""
    known = np.isfinite(points).all(1)
    above = (points[None] >= points[:, None]).all(-1) & (points[None] > points[:, None]).any(-1)
    beaten = (above & known[None]).any(1)
    front = np.flatnonzero(known & ~beaten)
    return [int(i) for i in front[np.lexsort((points[front, 1], points[front, 0]))]]


def profile(board: Board) -> Figure:
    """A row an aspect, a marker a method: difference to plain in its headline metric, better to
    the right, as a multiple of the spread between methods in each block, averaged over blocks;
    bars are 95 % t intervals over seeds of that average."""
    rows = [row for row in board.rows if row.ranked and row is not board.baseline]
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    if board.baseline is None or not rows or not names:
        raise ValueError("a profile needs plain, another method and a headline with a direction")
    values = tensor(board, [board.baseline, *rows], names) * orientation(board, names)
    steps = standardised(values)
    found = t_interval(_nanmean(steps, 0)[0])
    figure, (axis,) = panels(1, 6.5, 1.0 + 0.16 * len(names) * max(len(rows), 3))
    for i, row in enumerate(rows):
        at = np.arange(len(names)) + (i - (len(rows) - 1) / 2) * 0.8 / len(rows)
        half = np.nan_to_num(found.half[i])
        axis.errorbar(found.mean[i], at, xerr=half, linestyle="", markersize=5, elinewidth=0.8,
                      label=label(row), **look(board.rows.index(row)))  # fmt: skip
    axis.axvline(0, color="#777777", linewidth=0.8)
    axis.set_yticks(range(len(names)), [drawable(_titled(board, n)) for n in names])
    axis.invert_yaxis()
    axis.set_xlabel("better than plain → (multiples of the spread between methods)")
    figure.legend(loc="outside lower center", ncols=4, fontsize=7)
    return figure


def _titled(board: Board, name: str) -> str:
    metric = board.metric(name)
    return f"{metric.aspect}: {metric.title}"


def standardised(values: np.ndarray) -> np.ndarray:
    """Differences to the first row over the standard deviation between rows, per block and metric.

    From (blocks, seeds, rows, metrics) to (blocks, seeds, rows - 1, metrics); NaN without spread.
    """
    mean = _nanmean(values, 1)
    centre = _nanmean(mean, 2)
    spread = np.sqrt(_nanmean((mean - centre) ** 2, 2))
    return (values[:, :, 1:] - values[:, :, :1]) / np.where(spread > 0, spread, np.nan)


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    known = np.isfinite(values)
    count = known.sum(axis, keepdims=True)
    total = np.where(known, values, 0).sum(axis, keepdims=True)
    return total / np.where(count > 0, count, np.nan)


def available(board: Board) -> list[tuple[str, str, Callable[[], Figure]]]:
    """(file stem, caption, drawing function) of every figure the table can give."""
    out: list[tuple[str, str, Callable[[], Figure]]] = []
    for number, block in enumerate(board.blocks):
        columns = board.columns(block, board.headlines.values())
        aspects = {c.metric.aspect for c in columns if c.metric.better != "neither"}
        if TASK in aspects and len(aspects) > 1:
            caption = "Accuracy against the headline metric of each aspect: " + " · ".join(block)
            out.append((f"pareto-{number}", caption, partial(pareto, board, block)))
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    methods = [row for row in board.rows if row.ranked and row is not board.baseline]
    if board.baseline is not None and methods and names:
        out.append(("profile", "Aspect profile: differences to plain", partial(profile, board)))
    return out + contest_figures(board)
