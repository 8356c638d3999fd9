"""How watched metrics move while networks train (`Recipe.watch`), from the runs' histories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.figures.drawing import (
    DASHES,
    drawable,
    legend,
    look,
    panels,
    row_label,
)
from legible.bench.suites.run_spec import Block

#: What a history line calls a watched metric: this, its name, and ``@layer`` where it has one.
PREFIX = "watch."

Histories = Mapping[tuple[str, str], Mapping[str, Float[np.ndarray, "seeds epochs"]]]


def gather(
    runs: Iterable[tuple[Block, tuple[str, str], Sequence[Mapping[str, Any]]]],
) -> dict[Block, Histories]:
    """Runs as (block, method and params, history lines) -> for each block and row the watched
    metrics by seed and epoch, NaN where a run did not come so far. Blocks without are absent."""
    found: dict[Block, dict[tuple[str, str], list[Sequence[Mapping[str, Any]]]]] = {}
    for block, row, history in runs:
        if any(name.startswith(PREFIX) for line in history for name in line):
            found.setdefault(block, {}).setdefault(row, []).append(history)
    return {
        block: {row: _series(histories) for row, histories in rows.items()}
        for block, rows in found.items()
    }


def _series(histories: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, np.ndarray]:
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


def draw(board: Board, block: Block) -> Figure:
    """A panel a metric, a line a method: the mean over seeds by epoch, in a band from the lowest
    seed to the highest."""
    histories = board.dynamics[block]
    names = list(dict.fromkeys(name for rows in histories.values() for name in rows))
    figure, axes = panels(len(names), 3.2, 2.4)
    shown = [row for row in board.rows if row.key in histories]
    for axis, name in zip(axes, names, strict=True):
        for i, row in enumerate(shown):
            if name in histories[row.key]:
                _line(axis, i, row, histories[row.key][name], 0.6 / max(len(shown), 4))
        axis.set_title(drawable(_title(board, name)))
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, axes)
    figure.suptitle(drawable(" · ".join(block)), fontsize=10)
    return figure


def _line(
    axis: Axes, i: int, row: Row, values: Float[np.ndarray, "seeds epochs"], opacity: float
) -> None:
    """Methods are solid, controls and null rows hollow; what no seed has is left out."""
    known = np.isfinite(values).any(0)
    at = np.flatnonzero(known) + 1
    values = values[:, known]
    style: dict[str, Any] = look(i) | {
        "linestyle": DASHES[i % len(DASHES)],
        "markevery": max(len(at) // 6, 1),
    }
    style |= {} if row.ranked else {"markerfacecolor": "white"}
    axis.plot(at, np.nanmean(values, 0), linewidth=1.2, markersize=4, label=row_label(row),
              **style)  # fmt: skip
    if len(values) > 1:
        low, high = np.nanmin(values, 0), np.nanmax(values, 0)
        axis.fill_between(at, low, high, color=style["color"], alpha=opacity, linewidth=0)


def _title(board: Board, name: str) -> str:
    metric, _, layer = name.removeprefix(PREFIX).partition("@")
    known = board.metrics.get(metric)
    return ", ".join(filter(None, [known.title if known else metric.replace("_", " "), layer]))
