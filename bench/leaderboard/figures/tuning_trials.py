"""The trials of a tuned suite: what strength does to a metric, and what it costs in accuracy.

All values are on validation data, means over tuning seeds; each seed is a small point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legible.bench.leaderboard.figures.front import front_of
from legible.bench.leaderboard.figures.style import drawable, panels
from legible.bench.suites.run_spec import Block
from legible.bench.text import number
from legible.bench.tuning.ledger import Ledger, Outcome, Trial, outcomes

INK, BLUE, GREY = "#000000", "#0072B2", "#999999"
ACROSS = 4

DOSES = (
    "One panel for each method; the values are evenly spaced. Line: mean over tuning seeds. "
    "Points: single seeds. Crosses: settings that change further parameters too. Dashed: plain. "
    "Dotted: the lowest accuracy allowed. Ring: the chosen setting"
)
FRONTS = (
    "One panel for each method: its settings, with those of all methods in grey. The line joins "
    "the settings of the method that no other beats in both. Dotted: the lowest accuracy allowed. "
    "Cross: plain. Ring: the chosen setting"
)


def searched_trials(ledger: Ledger, block: Block) -> dict[tuple[str, str, str, str], list[Trial]]:
    """The trials on a block of each method that has a search space."""
    return {
        key: trials
        for key, trials in ledger.groups.items()
        if key[:2] == tuple(block) and key not in ledger.fixed
    }


def dose(trials: Sequence[Trial]) -> str:
    """The parameter with the most different values: the strength of a method."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in json.loads(trial.setting).items():
            values.setdefault(name, set()).add(json.dumps(value))
    return max(values, key=lambda name: (len(values[name]), name == "strength", name))


def settings_of_dose(settings: Sequence[Outcome], name: str) -> list[Outcome]:
    """The settings that change only the dose, ordered by its value."""
    parsed = [(json.loads(o.setting), o) for o in settings]
    fewest = min((len(s) for s, _ in parsed if name in s), default=0)
    pairs = [(s[name], o) for s, o in parsed if name in s and len(s) == fewest]
    return [o for _, o in sorted(pairs, key=lambda pair: _order(pair[0]))]


def _order(value: object) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (math.inf, str(value))


def draw_doses(ledger: Ledger, block: Block) -> Figure:
    """Draws the metric and, below it, accuracy by dose: two axes for each method."""
    groups = searched_trials(ledger, block)
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
    """Gives all panels of a kind one range, so that methods can be compared by eye."""
    limits = np.array([axis.get_ylim() for axis in axes])
    for axis in axes:
        room = 0.05 * (limits[:, 1].max() - limits[:, 0].min())  # for the rings
        axis.set_ylim(limits[:, 0].min() - room, limits[:, 1].max() + room)


def _dose_panel(
    axis: Axes, ledger: Ledger, trials: Sequence[Trial], what: str, label: str, plain: float
) -> None:
    axis.set_visible(True)
    name = dose(trials)
    line = settings_of_dose(outcomes(trials), name)
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
    choice = ledger.choices[(*trials[0].block, *trials[0].row)].outcome
    x = at.get(json.dumps(json.loads(choice.setting).get(name)))
    if x is not None:
        _ring(axis, x, getattr(choice, what))
    axis.set_xticks(range(len(values)), [drawable(_short(v), 12) for v in values], fontsize=7)
    axis.set_xlim(-0.4, len(values) - 0.6)
    axis.set_ylabel(drawable(label), fontsize=7)
    axis.tick_params(axis="y", labelsize=7)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ring(axis: Axes, x: float | int, y: float) -> None:
    axis.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK)


def _name(key: tuple[str, str, str, str]) -> str:
    declared = ", ".join(f"{k}={v}" for k, v in json.loads(key[3]).items())
    return drawable(f"{key[2]} ({declared})" if declared else key[2], 30)


def draw_fronts(ledger: Ledger, block: Block) -> Figure:
    """Draws a panel for each method: accuracy on the x axis, the metric on the y axis, turned if
    less is better."""
    groups = searched_trials(ledger, block)
    figure, axes = panels(len(groups), 2.3, 2.1, ACROSS)
    everything = np.array([(o.accuracy, o.value) for g in groups.values() for o in outcomes(g)])
    reference = ledger.reference(block)
    sign = -1.0 if ledger.better == "lower" else 1.0
    for axis, (key, trials) in zip(axes, groups.items(), strict=True):
        own = np.array([(o.accuracy, o.value) for o in outcomes(trials)])
        axis.plot(*everything.T, "o", color=GREY, markersize=2)
        axis.axvline(reference.accuracy - ledger.tolerance, color=INK, linewidth=0.8, linestyle=":")
        front = front_of(own * np.array([1.0, sign]))
        axis.plot(*own[front].T, color=BLUE, linewidth=1.2)
        axis.plot(*own.T, "o", color=BLUE, markersize=4.5)
        axis.plot(reference.accuracy, reference.value, "+", color=INK, markersize=8)
        choice = ledger.choices[key].outcome
        _ring(axis, choice.accuracy, choice.value)
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
