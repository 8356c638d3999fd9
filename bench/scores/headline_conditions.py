"""The conditions under which a metric may head an aspect, evaluated on the scores of suite `cards`.

On each block:

- no impostor that is a cheat of the aspect (`CHEATS`) is better on average than the best trained
  row;
- the oracle is at least as good as plain;
- plain is better than untrained networks and than networks trained on shuffled labels: the 95 %
  interval of the difference, paired by seed, lies on the better side. Where one of these networks
  is undefined, the metric's null stands for it;
- plain is not worse than itself with its units rotated, and on one block at least it is better. A
  metric that sees single units must tell the two apart somewhere; on which data training favours
  the axes is a property of plain, not of the metric;
- reliability over rows that methods train is at least 0.7 (on suite `standard`, at its number of
  seeds). Accuracy is exempt: it is the price of every other aspect, and tuning keeps all methods
  within a hundredth of plain, so they hardly differ.

A metric declares which comparisons apply to it (`metric(compares=...)`, with the reason).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from legible.bench.execution.published import PACKAGED
from legible.bench.plugins import registry
from legible.bench.scoring.impostors import CHEATS, reads_activations
from legible.bench.statistics.intervals import paired_difference
from legible.bench.statistics.reliability import row_reliability
from legible.bench.suites.run_spec import Block
from legible.metrics.base import Metric, scope

#: The published conditions, results/cards/headlines.csv.
PUBLISHED = PACKAGED / "cards" / "headlines.csv"
#: The name of an impostor's rows in a score table: this and the impostor's name.
IMPOSTOR = "impostor: "
#: Least reliability of a headline.
RELIABLE = 0.7
#: Null networks and the oracle: they are no trained rows, although two of them train.
NOT_TRAINED = ("oracle", "untrained", "shuffled_labels", "plain_rotated")
#: Factor that widens the intervals of metrics that compare two seeds. Each network is in two of the
#: n pairs, so the mean over pairs has up to twice the variance.
PAIRED_SEEDS_FACTOR = math.sqrt(2)

#: The reliability over the trained rows of suite `cards`.
REPEATS = "reliability on cards"

ROTATED = "plain_rotated"
UNDECIDED = "no difference here; plain must be better on another block"
CHOOSES = "chooses between candidates; the condition itself is evaluated on suite standard"
CANNOT = "no impostor can be scored: the metric reads weights or runs the network again"
NO_STANDARD = "computed on suite standard, which is not published yet"
PRICE = "exempt: accuracy is the price of the other aspects, which tuning keeps near plain's"
#: The aspect of accuracy: a column of its own in tables, and exempt from reliability.
TASK = "task"
DESCRIPTIVE = "descriptive: no better direction, so no verdicts"


class Condition(NamedTuple):
    """One condition of one metric on one block: a row of results/cards/headlines.csv.

    ``ours`` and ``theirs`` are the two means that are compared, ``low`` the worse end of the 95 %
    interval of their difference (positive: ours is better). ``holds`` is "yes", "no", or "" where
    the condition could not be evaluated; ``note`` says why.
    """

    head: str
    metric: str
    headline: bool
    dataset: str
    backbone: str
    layer: str
    condition: str
    ours: float = math.nan
    theirs: float = math.nan
    low: float = math.nan
    seeds: int = 0
    holds: str = ""
    note: str = ""


#: A metric's value for each row (by method) and seed, on one block.
Values = pd.DataFrame


def conditions(
    scores: pd.DataFrame, metrics: Sequence[Metric], standard: pd.DataFrame | None = None
) -> list[Condition]:
    """All conditions of metrics on each block of a score table that has plain and no planted data.

    ``scores`` are those of suite `cards` with the rows of the impostors, ``standard`` those of
    suite `standard`, None if it is not published.
    """
    table = scores[(scores["params"] == "{}") & (scores["metric"] != "")]
    outcomes: list[Condition] = []
    for item in metrics:
        own = table[table["metric"] == item.name]
        for (dataset, backbone), part in own.groupby(["dataset", "backbone"], sort=True):
            block = Block(str(dataset), str(backbone))
            if (layer := shown_layer(part)) is not None and not is_planted(block):
                by_row = values_by_row(part[part["layer"] == layer])
                outcomes += _on_block(item, block, layer, by_row, standard)
    return _with_axes(outcomes)


def _with_axes(outcomes: Sequence[Condition]) -> list[Condition]:
    """The conditions, in which a metric that tells plain from its rotated units on no block fails
    that comparison on all of them."""
    seen = {c.metric for c in outcomes if c.condition == ROTATED and c.holds == "yes"}
    return [
        c._replace(holds="no", note="no difference on any block")
        if c.condition == ROTATED and c.note == UNDECIDED and c.metric not in seen
        else c
        for c in outcomes
    ]


def is_planted(block: Block) -> bool:
    """Whether a block is one of planted networks, whose answers are known."""
    return block.dataset.partition("(")[0] == "planted"


def shown_layer(part: pd.DataFrame) -> str | None:
    """The last layer at which plain has a value; None if it has none."""
    layers = part.loc[(part["method"] == "plain") & part["value"].notna(), "layer"].unique()
    return max(layers, key=lambda name: (len(name), name), default=None)


def values_by_row(part: pd.DataFrame) -> Values:
    """Rows of the leaderboard by seed."""
    return part.pivot(index="method", columns="seed", values="value")


def _of_row(values: Values, row: str) -> pd.Series:
    """The values of one row by seed."""
    return pd.Series(values.loc[row], dtype=float)


def _on_block(
    item: Metric, block: Block, layer: str, values: Values, standard: pd.DataFrame | None
) -> Iterator[Condition]:
    seeds = int(_of_row(values, "plain").notna().sum())
    base = Condition(item.heads, item.name, item.headline, *block, layer, condition="", seeds=seeds)
    if item.better == "neither":
        yield base._replace(condition="direction", note=DESCRIPTIVE)
        return
    sign = 1.0 if item.better == "higher" else -1.0
    yield from _cheats(item, base, sign, values)
    for other in item.compares:
        yield _comparison(item, base, sign, values, other)
    yield _reliability(base, block, standard)
    trained = values[[is_trained(str(name)) for name in values.index]].to_numpy(dtype=float)
    repeats = float(row_reliability(trained).mean)
    yield base._replace(condition=REPEATS, ours=repeats, theirs=RELIABLE, note=CHOOSES)


def _cheats(item: Metric, base: Condition, sign: float, values: Values) -> Iterator[Condition]:
    cheats = CHEATS.get(item.heads, ())
    if cheats and not reads_activations(item):
        yield base._replace(condition="impostors", note=CANNOT)
        return
    means = (sign * values.mean(axis=1)).dropna()
    trained = means[[name for name in means.index if is_trained(str(name))]]
    for name in cheats:
        row = base._replace(condition=f"impostor {name}", ours=sign * trained.max(),
                            note=f"best trained row: {trained.idxmax()}")  # fmt: skip
        if IMPOSTOR + name not in values.index:
            yield row._replace(note="this impostor was not scored")
            continue
        theirs, undefined = _mean_or_null(item, values, IMPOSTOR + name)
        better = sign * theirs <= trained.max() if math.isfinite(theirs) else undefined
        note = f"{row.note}; the impostor is undefined" if undefined else row.note
        yield row._replace(theirs=theirs, holds=_yes(better), note=note)


def is_trained(method: str) -> bool:
    """Whether a row of the leaderboard is trained by a method (plain too): no null row, control,
    impostor or row that is made from plain's networks."""
    if method in NOT_TRAINED or method.startswith(IMPOSTOR):
        return False
    cls = registry.METHODS.get(method)
    return cls is None or (cls.kind == "method" and not cls.parent)


def _mean_or_null(item: Metric, values: Values, row: str) -> tuple[float, bool]:
    """A row's mean, with the metric's null for seeds on which it is undefined; whether all are.

    The oracle is the same for all seeds, and has one row.
    """
    null = item.null if isinstance(item.null, float) else math.nan
    if row not in values.index or not values.loc[row].notna().any():
        return null, True
    if row == "oracle":
        return float(_of_row(values, row).mean()), False
    return float(_of_row(values, row).fillna(null).mean()), False


def _comparison(
    item: Metric, base: Condition, sign: float, values: Values, other: str
) -> Condition:
    """Plain against the oracle (at least as good) or against a null network (plain is better)."""
    row = base._replace(condition=other, ours=float(_of_row(values, "plain").mean()))
    if other not in values.index:
        return row._replace(note=f"no {other} was scored")
    theirs, undefined = _mean_or_null(item, values, other)
    row = row._replace(theirs=theirs, note="undefined there" if undefined else "")
    if other == "oracle":
        return row._replace(holds=_yes(sign * theirs >= sign * row.ours)) if not undefined else row
    plain = values.loc["plain"].to_numpy(dtype=float)
    null = np.full_like(plain, theirs) if undefined else values.loc[other].to_numpy(dtype=float)
    if undefined and not math.isfinite(theirs):
        return row._replace(holds="yes")
    null = np.where(np.isnan(null), item.null if isinstance(item.null, float) else np.nan, null)
    interval = paired_difference(sign * plain, sign * null)
    factor = PAIRED_SEEDS_FACTOR if scope(item.function) == "seeds" else 1.0
    low = float(interval.mean - factor * (interval.mean - interval.low))
    if other == ROTATED and low <= 0 < 2 * interval.mean - low:
        return row._replace(low=low, note=UNDECIDED)
    return row._replace(low=low, holds=_yes(low > 0) if math.isfinite(low) else "")


def _reliability(base: Condition, block: Block, standard: pd.DataFrame | None) -> Condition:
    row = base._replace(condition="reliability", theirs=RELIABLE)
    value = math.nan if standard is None else block_reliability(standard, base, block)
    if math.isnan(value):
        return row._replace(note=NO_STANDARD if standard is None else "not computed on this block")
    if base.head == TASK:
        return row._replace(ours=value, note=PRICE)
    return row._replace(ours=value, holds=_yes(value >= RELIABLE))


def block_reliability(scores: pd.DataFrame, base: Condition, block: Block) -> float:
    """The reliability of a metric over the trained rows of a block of a score table, on the seeds
    that several rows have: plain alone has further ones."""
    part = scores[
        (scores["dataset"] == block.dataset) & (scores["backbone"] == block.backbone)
        & (scores["metric"] == base.metric) & (scores["layer"] == base.layer)
        & scores["method"].map(is_trained)
    ]  # fmt: skip
    values = part.pivot(index=["method", "params"], columns="seed", values="value")
    values = values.loc[:, values.notna().sum() > 1]
    return float(row_reliability(values.to_numpy(dtype=float)).mean) if len(values) else math.nan


def _yes(holds: bool | np.bool_) -> str:
    return "yes" if holds else "no"


# ----------------------------------------------------------------- what follows from them


def failures(outcomes: Sequence[Condition]) -> dict[str, list[Condition]]:
    """The conditions that do not hold, by metric."""
    by_metric: dict[str, list[Condition]] = {}
    for condition in outcomes:
        by_metric.setdefault(condition.metric, [])
        if condition.holds == "no":
            by_metric[condition.metric].append(condition)
    return by_metric


def fault_text(fault: Condition) -> str:
    """A failed condition in words."""
    numbers = f"{fault.ours:.3g} against {fault.theirs:.3g}"
    return f"{fault.condition} on {fault.dataset} ({numbers})"


def to_frame(outcomes: Sequence[Condition]) -> pd.DataFrame:
    """The conditions as a table: the content of results/cards/headlines.csv."""
    return pd.DataFrame(outcomes, columns=list(Condition._fields))


def from_frame(table: pd.DataFrame) -> list[Condition]:
    """The conditions of a table that `to_frame` made."""
    texts = {name: table[name].fillna("") for name in ("layer", "holds", "note")}
    rows = table.assign(**texts).itertuples(index=False, name=None)
    return [Condition(*row) for row in rows]


@functools.cache
def published_conditions(path: Path = PUBLISHED) -> tuple[Condition, ...]:
    """The published conditions; none if the table does not exist."""
    return tuple(from_frame(pd.read_csv(path))) if path.is_file() else ()


def least_reliability(metric: str, outcomes: Sequence[Condition]) -> float:
    """The smallest reliability of a metric on suite `cards` over its blocks; NaN if there is none.

    A metric that fails no condition is a candidate. Of several, the most reliable one is chosen,
    if it reaches `RELIABLE` here.
    """
    own = [c.ours for c in outcomes if c.metric == metric and c.condition == REPEATS]
    return min(own, default=math.nan)


def may_head(metric: str, outcomes: Sequence[Condition], block: Block | None = None) -> bool:
    """Whether no condition of a metric fails, on all blocks or on one."""
    own = [c for c in outcomes if c.metric == metric]
    own = [c for c in own if block is None or (c.dataset, c.backbone) == block]
    return bool(own) and all(c.holds != "no" for c in own)
