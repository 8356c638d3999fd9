"""Figures of a tuned suite, from its ledger alone: what strength does, and what it costs.

All values are on validation data, means over tuning seeds; each seed is a small point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.drawing import drawable, panels
from legible.bench.suites.run_spec import Block
from legible.bench.text import number
from legible.bench.tuning.ledger import Ledger, Outcome, Trial, outcomes

INK, BLUE, GREY = "#000000", "#0072B2", "#999999"
ACROSS = 4

Searched = dict[tuple[str, str, str, str], list[Trial]]


def contest_figures(board: Board) -> list[tuple[str, str, Callable[[], Figure]]]:
    """(file stem, caption, drawing function) for every block in which something was searched."""
    out: list[tuple[str, str, Callable[[], Figure]]] = []
    ledger = board.ledger
    for index, block in enumerate(board.blocks):
        if ledger is None or not searched(ledger, block):
            continue
        where = " · ".join(block)
        doses = f"{where}: {ledger.metric} and accuracy against strength (validation). {DOSES}"
        fronts = f"{where}: accuracy against {ledger.metric} (validation). {FRONTS}"
        out.append((f"doses-{index}", doses, partial(draw_doses, ledger, block)))
        out.append((f"fronts-{index}", fronts, partial(draw_fronts, ledger, block)))
    return out


DOSES = (
    "A panel a method; the values tried stand evenly apart. Line: mean over tuning seeds, points: "
    "seeds, crosses: further parameters changed as well. Dashed: plain; dotted: the least "
    "accuracy tolerated. The ring is the chosen setting."
)
FRONTS = (
    "A panel a method: its settings over those of all methods in grey. The line joins settings "
    "that no other of the method beats in both. Dotted: the least accuracy tolerated; cross: "
    "plain; ring: the chosen setting."
)


def searched(ledger: Ledger, block: Block) -> Searched:
    """The trials of each method of a block that had something to search."""
    return {
        key: trials
        for key, trials in ledger.groups.items()
        if key[:2] == tuple(block) and key not in ledger.fixed
    }


def dose(trials: Sequence[Trial]) -> str:
    """The parameter that was varied most: how much of a method there is."""
    tried: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in json.loads(trial.setting).items():
            tried.setdefault(name, set()).add(json.dumps(value))
    return max(tried, key=lambda name: (len(tried[name]), name == "strength", name))


def alone(settings: Sequence[Outcome], name: str) -> list[Outcome]:
    """Settings in which nothing is changed but the dose, by its value."""
    parsed = [(json.loads(o.setting), o) for o in settings]
    fewest = min((len(s) for s, _ in parsed if name in s), default=0)
    chosen = [(s[name], o) for s, o in parsed if name in s and len(s) == fewest]
    return [o for _, o in sorted(chosen, key=lambda pair: _order(pair[0]))]


def _order(value: object) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (math.inf, str(value))


def draw_doses(ledger: Ledger, block: Block) -> Figure:
    """Metric above and accuracy below, against the dose, a column of two axes a method."""
    groups = searched(ledger, block)
    across = min(len(groups), ACROSS)
    rows = math.ceil(len(groups) / across)
    figure = Figure(figsize=(2.3 * across, 2.9 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, across, squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    reference = ledger.reference(block)
    for index, (key, trials) in enumerate(groups.items()):
        row, column = divmod(index, across)
        pair = [axes[2 * row, column], axes[2 * row + 1, column]]
        pair[0].set_title(_name(key))
        _dose_panel(pair[0], ledger, trials, "value", ledger.metric, reference.value)
        _dose_panel(pair[1], ledger, trials, "accuracy", "accuracy", reference.accuracy)
        pair[1].axhline(reference.accuracy - ledger.tolerance, color=INK, linewidth=0.8,
                        linestyle=":")  # fmt: skip
        pair[0].tick_params(labelbottom=False)
        pair[1].set_xlabel(drawable(dose(trials)))
    for kind in (0, 1):
        _alike([axes[2 * (i // across) + kind, i % across] for i in range(len(groups))])
    return figure


def _alike(axes: Sequence[Axes]) -> None:
    """One range for all panels of a kind, so that methods can be compared by eye."""
    limits = np.array([axis.get_ylim() for axis in axes])
    for axis in axes:
        room = 0.05 * (limits[:, 1].max() - limits[:, 0].min())  # for the rings
        axis.set_ylim(limits[:, 0].min() - room, limits[:, 1].max() + room)


def _dose_panel(
    axis: Axes, ledger: Ledger, trials: Sequence[Trial], what: str, named: str, plain: float
) -> None:
    axis.set_visible(True)
    name, tried = dose(trials), outcomes(trials)
    line = alone(tried, name)
    values = [json.loads(o.setting)[name] for o in line]
    at = {json.dumps(value): i for i, value in enumerate(values)}
    axis.axhline(plain, color=INK, linewidth=0.8, linestyle="--")
    axis.plot(range(len(line)), [getattr(o, what) for o in line], color=BLUE, linewidth=1.2)
    on_line = {o.number for o in line}
    for trial in trials:
        x = at.get(json.dumps(json.loads(trial.setting).get(name)))
        y = getattr(trial, what)
        if x is not None and y is not None:
            marker = "o" if trial.number in on_line else "x"
            axis.plot(x, y, marker, color=BLUE, markersize=3.5)
    chosen = ledger.choices[(*trials[0].block, *trials[0].row)].outcome
    x = at.get(json.dumps(json.loads(chosen.setting).get(name)))
    if x is not None:
        _ring(axis, x, getattr(chosen, what))
    axis.set_xticks(range(len(values)), [drawable(_short(v), 12) for v in values], fontsize=7)
    axis.set_xlim(-0.4, len(values) - 0.6)
    axis.set_ylabel(drawable(named), fontsize=7)
    axis.tick_params(axis="y", labelsize=7)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ring(axis: Axes, x: float | int, y: float) -> None:
    axis.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK)


def _name(key: tuple[str, str, str, str]) -> str:
    given = ", ".join(f"{k}={v}" for k, v in json.loads(key[3]).items())
    return drawable(f"{key[2]} ({given})" if given else key[2], 30)


def draw_fronts(ledger: Ledger, block: Block) -> Figure:
    """A panel a method: accuracy across, the metric upwards (turned where less is better)."""
    from legible.bench.leaderboard.figures.charts import pareto_front

    groups = searched(ledger, block)
    figure, axes = panels(len(groups), 2.3, 2.1, ACROSS)
    everything = np.array([(o.accuracy, o.value) for g in groups.values() for o in outcomes(g)])
    reference = ledger.reference(block)
    sign = -1.0 if ledger.better == "lower" else 1.0
    for axis, (key, trials) in zip(axes, groups.items(), strict=True):
        own = np.array([(o.accuracy, o.value) for o in outcomes(trials)])
        axis.plot(*everything.T, "o", color=GREY, markersize=2)
        axis.axvline(reference.accuracy - ledger.tolerance, color=INK, linewidth=0.8, linestyle=":")
        front = pareto_front(own * np.array([1.0, sign]))
        axis.plot(*own[front].T, color=BLUE, linewidth=1.2)
        axis.plot(*own.T, "o", color=BLUE, markersize=4.5)
        axis.plot(reference.accuracy, reference.value, "+", color=INK, markersize=8)
        chosen = ledger.choices[key].outcome
        _ring(axis, chosen.accuracy, chosen.value)
        axis.set_title(_name(key))
        axis.tick_params(labelsize=7)
        if sign < 0:
            axis.invert_yaxis()
    return _labelled(figure, axes, ledger, reference)


def _labelled(figure: Figure, axes: Sequence[Axes], ledger: Ledger, plain: Outcome) -> Figure:
    turned = " (axis turned: up is better)" if ledger.better == "lower" else ""
    figure.supylabel(drawable(ledger.metric + turned), fontsize=9)
    cost = number(plain.accuracy - ledger.tolerance, 3)
    figure.supxlabel(drawable(f"validation accuracy (dotted: {cost})"), fontsize=9)
    return figure
