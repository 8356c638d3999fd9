"""Watched metrics by epoch (`Recipe.watch`): read from the histories of runs, and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board, Histories, Row
from legible.bench.leaderboard.figures.style import (
    DASHES,
    drawable,
    legend,
    panels,
    row_label,
    row_style,
)
from legible.bench.suites.run_spec import Block, RowKey

#: Name of a watched metric in a history: this, the metric's name, and ``@layer`` if it has one.
PREFIX = "watch."

History = Sequence[Mapping[str, Any]]


def gather_histories(
    runs: Iterable[tuple[Block, RowKey, History]],
) -> dict[Block, dict[RowKey, Histories]]:
    """The watched metrics of each block and row by seed and epoch.

    A run's history has one entry for each epoch. NaN: the run ended earlier. Blocks without
    watched metrics are left out.
    """
    histories: dict[Block, dict[RowKey, list[History]]] = {}
    for block, row, history in runs:
        if any(name.startswith(PREFIX) for line in history for name in line):
            histories.setdefault(block, {}).setdefault(row, []).append(history)
    return {
        block: {row: _series(of_row) for row, of_row in rows.items()}
        for block, rows in histories.items()
    }


def _series(histories: Sequence[History]) -> dict[str, np.ndarray]:
    epochs = max(map(len, histories))
    names = dict.fromkeys(
        name for history in histories for line in history for name in line
        if name.startswith(PREFIX)
    )  # fmt: skip
    out = {name: np.full((len(histories), epochs), np.nan) for name in names}
    for i, history in enumerate(histories):
        for j, line in enumerate(history):
            for name in names:
                value = line.get(name)
                out[name][i, j] = np.nan if value is None else value
    return out


def draw_training_curves(board: Board, block: Block) -> Figure:
    """Draws a panel for each metric with a line for each method: the mean over seeds by epoch, in a
    band from the lowest to the highest seed."""
    histories = board.dynamics[block]
    names = list(dict.fromkeys(name for series in histories.values() for name in series))
    figure, axes = panels(len(names), 3.2, 2.4)
    rows = [row for row in board.rows if row.key in histories]
    for axis, name in zip(axes, names, strict=True):
        for i, row in enumerate(rows):
            if name in histories[row.key]:
                _line(axis, i, row, histories[row.key][name], 0.6 / max(len(rows), 4))
        axis.set_title(drawable(_title(board, name)))
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, axes)
    figure.suptitle(drawable(board.block_title(block)), fontsize=10)
    return figure


def _line(
    axis: Axes, i: int, row: Row, values: Float[np.ndarray, "seeds epochs"], opacity: float
) -> None:
    """Draws one row. Controls and null rows have hollow markers; epochs without a value are left
    out."""
    present = np.isfinite(values).any(0)
    at = np.flatnonzero(present) + 1
    values = values[:, present]
    style: dict[str, Any] = row_style(i) | {
        "linestyle": DASHES[i % len(DASHES)],
        "markevery": max(len(at) // 6, 1),
    }
    style |= {} if row.trained else {"markerfacecolor": "white"}
    axis.plot(at, np.nanmean(values, 0), linewidth=1.2, markersize=4, label=row_label(row),
              **style)  # fmt: skip
    if len(values) > 1:
        low, high = np.nanmin(values, 0), np.nanmax(values, 0)
        axis.fill_between(at, low, high, color=style["color"], alpha=opacity, linewidth=0)


def _title(board: Board, name: str) -> str:
    metric, _, layer = name.removeprefix(PREFIX).partition("@")
    description = board.metrics.get(metric)
    title = description.title if description else metric.replace("_", " ")
    return ", ".join(filter(None, [title, layer]))
