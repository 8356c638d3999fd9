"""What can be concluded from a leaderboard, as sentences generated from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from legible.bench.leaderboard.board import Row
from legible.bench.leaderboard.standings import (
    TASK,
    PooledDifferences,
    Standings,
    pooled_differences,
)
from legible.bench.leaderboard.tables.table import ARROWS
from legible.bench.text import (
    decimals,
    digits_with_half,
    listed,
    mean_and_half,
    number,
    settings,
)

#: How the differences in the sentences were computed.
METHOD = (
    "Differences to plain in the headline metric of each aspect, paired by seed and averaged over "
    "the blocks, each ± the half-width of the 95 % interval. The intervals say how much the result "
    "would change with new seeds on the same blocks; they say nothing about other data. A "
    "difference is listed if Holm's correction over all methods and aspects leaves p < .05."
)
UNTESTED = (
    "no method shares at least two seeds with plain, so a difference cannot be distinguished from "
    "training noise"
)
SUGGESTIVE = "Suggestive only: the interval excludes 0, but not after correction for {} tests"


class Sentence(NamedTuple):
    """One statement: its subject and the statement itself, as plain text."""

    about: str
    text: str


def conclude(standings: Standings) -> list[Sentence]:
    """All statements, in reading order. Empty if there is nothing to compare with plain."""
    board = standings.board
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    nulls = [row for row in board.rows if row.kind == "null"]
    differences = pooled_differences(board, standings.others, names)
    if differences is None:
        return []
    if np.isnan(differences.adjusted).all():
        return [Sentence("Nothing can be concluded yet", UNTESTED)]
    interval, significant = differences.interval, differences.significant
    suggestive = ~significant & (np.abs(interval.mean) > interval.half)
    out = [Sentence(about[:1].upper() + about[1:], text)
           for about, text in _by_metric(standings, differences, significant)]  # fmt: skip
    out += _without_difference(differences)
    parts = [f"{about}: {text}" for about, text in _by_metric(standings, differences, suggestive)]
    tests = np.isfinite(differences.adjusted).sum()
    out += [Sentence(SUGGESTIVE.format(tests), "; ".join(parts))] if parts else []
    out += [*_single_blocks(standings, differences), *_tiers(standings)]
    out += _null_rows(standings, nulls, [n for n in names if board.metric(n).aspect != TASK])
    return [*out, _smallest_effects(differences), *_shared(standings)]


def _name(row: Row) -> str:
    extra = settings(row.params)
    return f"{row.label} [{extra}]" if extra else row.label


def difference_digits(differences: PooledDifferences, metric: int) -> int:
    """Digits after the point for the differences in one metric."""
    interval = differences.interval
    return digits_with_half(interval.mean[:, metric], interval.half[:, metric])


def _by_metric(
    standings: Standings, differences: PooledDifferences, listable: Bool[np.ndarray, "rows metrics"]
) -> list[Sentence]:
    """A sentence for each metric with a listable difference: who is better or worse than plain."""
    out = []
    for c, metric in enumerate(differences.metrics):
        better = differences.better[:, c]
        parts = []
        for word, side in (("better", better), ("worse", ~better)):
            names = [
                _difference(standings, differences, i, c)
                for i in np.flatnonzero(listable[:, c] & side).tolist()
            ]
            parts += [f"{word} than plain: {listed(names)}"] if names else []
        about = f"{metric.aspect} ({metric.title} {ARROWS[metric.better]})"
        out += [Sentence(about, "; ".join(parts))] if parts else []
    return out


def _difference(standings: Standings, differences: PooledDifferences, i: int, c: int) -> str:
    mean, half = float(differences.interval.mean[i, c]), float(differences.interval.half[i, c])
    row, metric = differences.rows[i], differences.metrics[c]
    trained = metric.name in standings.board.trained_on.get(row.method, ())
    more = " (its own loss trains on this)" if trained else ""
    digits = difference_digits(differences, c)
    return f"{_name(row)} {mean_and_half(mean, half, digits, signed=True)}{more}"


def _without_difference(differences: PooledDifferences) -> list[Sentence]:
    about, significant = "No difference from plain was shown", differences.significant
    if not significant.any():
        return [Sentence(about, "in any aspect, by any method")]
    rows = [_name(row) for i, row in enumerate(differences.rows) if not significant[i].any()]
    aspects = [m.aspect for c, m in enumerate(differences.metrics) if not significant[:, c].any()]
    parts = [f"in {listed(aspects)}, by any method"] if aspects else []
    parts += [f"by {listed(rows)}, in any aspect"] if rows else []
    return [Sentence(about, "; ".join(parts))] if parts else []


def _single_blocks(standings: Standings, pooled: PooledDifferences) -> list[Sentence]:
    """Differences that are significant on one of several blocks, but not averaged over all."""
    out = []
    blocks = standings.board.blocks
    names = [metric.name for metric in pooled.metrics]
    for block in blocks if len(blocks) > 1 else []:
        single = standings.differences_in(block, names)
        if single is None:
            continue
        parts = [
            f"{_name(single.rows[i])} {'better' if sign == '▲' else 'worse'} in "
            f"{single.columns[c].metric.aspect}"
            for i, c in np.argwhere(single.adjusted < 0.05).tolist()
            if (sign := single.sign(i, c))
            and not pooled.significant[
                pooled.rows.index(single.rows[i]), names.index(single.columns[c].metric.name)
            ]
        ]
        out += [Sentence(f"On {' · '.join(block)} alone", listed(parts))] if parts else []
    return out


def _tiers(standings: Standings) -> list[Sentence]:
    overall = standings.overall
    if overall is None or len(standings.rows) < 2 or not overall.tier.any():
        return []
    if overall.tier.max() == 1:
        return [Sentence("Overall", "no two methods differ significantly in their mean rank")]
    first = [_name(row) for row, tier in zip(standings.rows, overall.tier, strict=True)
             if tier == 1]  # fmt: skip
    text = f"the first of {overall.tier.max()} tiers by mean rank is {listed(first)}"
    return [Sentence("Overall", text)]


def _null_rows(standings: Standings, nulls: Sequence[Row], names: Sequence[str]) -> list[Sentence]:
    """The aspects in which plain training does not significantly beat a null row."""
    differences = pooled_differences(standings.board, nulls, names)
    if differences is None:
        return []
    null_rows_beaten = differences.significant & ~differences.better
    was_tested = np.isfinite(differences.adjusted)
    parts = []
    for c, metric in enumerate(differences.metrics):
        rows = [_name(row) for i, row in enumerate(differences.rows)
                if was_tested[i, c] and not null_rows_beaten[i, c]]  # fmt: skip
        parts += [f"{metric.aspect} ({listed(rows)})"] if rows else []
    if not parts:
        return []
    text = (
        f"{'; '.join(parts)}. In these, a lead over plain proves nothing, because a null row "
        "scores as high without training for interpretability"
    )
    about = "Aspects in which plain training does not significantly beat a null row"
    return [Sentence(about, text)]


def _smallest_effects(differences: PooledDifferences) -> Sentence:
    """How large a difference must be to be detected."""
    parts = []
    for c, metric in enumerate(differences.metrics):
        half = differences.interval.half[:, c]
        if np.isfinite(half).any():
            typical = float(np.nanmedian(half))
            parts.append(f"{metric.title} ±{number(typical, decimals([typical]) - 1)}")
    return Sentence(
        "Smallest effects this suite can detect",
        "the median half-width of the 95 % interval of a method's difference to plain is, before "
        "any correction, " + ", ".join(parts),
    )


def _shared(standings: Standings) -> list[Sentence]:
    """Which datasets and backbones are in several blocks."""
    blocks = standings.board.blocks
    if len(blocks) < 2:
        return [Sentence("One dataset on one backbone", "other data may give other results")]
    parts = []
    for names in ([b.dataset.partition("(")[0] for b in blocks], [b.backbone for b in blocks]):
        parts += [f"{name} in {names.count(name)} of {len(blocks)}"
                  for name in dict.fromkeys(names) if names.count(name) > 1]  # fmt: skip
    if not parts:
        return []
    text = (
        f"{listed(parts)}. The intervals here say how much the result would change with new "
        "seeds on the same blocks, for which independence is not needed; they say nothing about "
        "other data"
    )
    return [Sentence("The blocks are not independent", text)]
