"""What the numbers allow to be said, in sentences generated from them, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from legible.bench.leaderboard.blocks import rows_of, triangle
from legible.bench.leaderboard.board import Row
from legible.bench.leaderboard.cells import ARROWS
from legible.bench.leaderboard.standings import (
    TASK,
    Against,
    Standings,
    against_plain,
    block_differences,
)
from legible.bench.text import decimals, digits_with_half, number, settings
from legible.metrics.base import Metric


class Sentence(NamedTuple):
    """One statement: what it is about, and the statement, in plain text."""

    about: str
    text: str


def conclusions(standings: Standings) -> list[Sentence]:
    """The statements, in reading order. Empty where there is nothing to compare with plain."""
    board = standings.board
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    methods = [row for row in standings.rows if row is not board.baseline]
    nulls = [row for row in board.rows if row.kind == "null"]
    found = against_plain(board, methods, names)
    if found is None:
        return []
    if np.isnan(found.adjusted).all():
        return [Sentence("Nothing can be concluded yet", UNTESTED)]
    metrics = [board.metric(name) for name in names]
    clear = found.clear
    hinted = ~clear & (np.abs(found.interval.mean) > found.interval.half)
    out = [Sentence(a[:1].upper() + a[1:], t) for a, t in _named(standings, found, metrics, clear)]
    out += _undecided(found, metrics, clear)
    hints = [f"{about}: {text}" for about, text in _named(standings, found, metrics, hinted)]
    tests = np.isfinite(found.adjusted).sum()
    out += [Sentence(HINTS.format(tests), "; ".join(hints))] if hints else []
    out += [*_single_blocks(standings, found, metrics), *_tiers(standings)]
    out += _unbeaten(standings, nulls, [m.name for m in metrics if m.aspect != TASK])
    return [*out, _resolution(found, metrics), *_shared(standings)]


HINTS = "Hints, lost in the correction for {} comparisons (the interval excludes 0)"

UNTESTED = (
    "no method has two seeds beside plain, so no difference can be told from the noise of training"
)


def _name(row: Row) -> str:
    extra = settings(row.params)
    return f"{row.label} [{extra}]" if extra else row.label


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _named(
    standings: Standings,
    found: Against,
    metrics: Sequence[Metric],
    chosen: Bool[np.ndarray, "rows metrics"],
) -> list[Sentence]:
    """A sentence for each metric with a chosen difference: which methods are better or worse."""
    out = []
    for c, metric in enumerate(metrics):
        digits = places(found, c)
        parts = []
        for word, good in (("better", found.better[:, c]), ("worse", ~found.better[:, c])):
            said = [
                _difference(standings, found.rows[i], metric, found, i, c, digits)
                for i in np.flatnonzero(chosen[:, c] & good).tolist()
            ]
            parts += [f"{word} than plain {listed(said)}"] if said else []
        about = f"{metric.aspect} ({metric.title} {ARROWS[metric.better]})"
        out += [Sentence(about, ", ".join(parts))] if parts else []
    return out


def places(found: Against, c: int) -> int:
    """Digits after the point for a metric's differences."""
    return digits_with_half(found.interval.mean[:, c], found.interval.half[:, c])


def _difference(
    standings: Standings, row: Row, metric: Metric, found: Against, i: int, c: int, digits: int
) -> str:
    mean, half = float(found.interval.mean[i, c]), float(found.interval.half[i, c])
    trained = metric.name in standings.board.trained_on.get(row.method, ())
    more = " (its own loss trains on this)" if trained else ""
    return f"{_name(row)} {number(mean, digits, signed=True)} ± {number(half, digits)}{more}"


def _undecided(
    found: Against, metrics: Sequence[Metric], clear: Bool[np.ndarray, "rows metrics"]
) -> list[Sentence]:
    if not clear.any():
        return [Sentence("No difference from plain was shown", "in any aspect, by any method")]
    none = [_name(row) for i, row in enumerate(found.rows) if not clear[i].any()]
    aspects = [metric.aspect for c, metric in enumerate(metrics) if not clear[:, c].any()]
    parts = [f"in {listed(aspects)}, by any method"] if aspects else []
    parts += [f"by {listed(none)}, in any aspect"] if none else []
    return [Sentence("No difference from plain was shown", "; ".join(parts))] if parts else []


def _single_blocks(
    standings: Standings, over_all: Against, metrics: Sequence[Metric]
) -> list[Sentence]:
    """What was shown on one of several blocks, each corrected for by itself, and not over all."""
    board = standings.board
    out = []
    for block in board.blocks if len(board.blocks) > 1 else []:
        columns = board.columns(block, [metric.name for metric in metrics])
        found = block_differences(board, block, rows_of(board, block), columns)
        if found is None:
            continue
        parts = [
            f"{_name(found.rows[i])} {'better' if mark == ' ▲' else 'worse'} in "
            f"{columns[c].metric.aspect}"
            for i, c in np.argwhere(found.adjusted < 0.05).tolist()
            if (mark := triangle(columns[c], found, i, c))
            and not over_all.clear[
                over_all.rows.index(found.rows[i]), metrics.index(columns[c].metric)
            ]
        ]
        out += [Sentence(f"On {' · '.join(block)} alone", listed(parts))] if parts else []
    return out


def _tiers(standings: Standings) -> list[Sentence]:
    overall = standings.overall
    if overall is None or len(standings.rows) < 2 or not overall.tier.any():
        return []
    if overall.tier.max() == 1:
        text = "no two methods are told apart by their mean rank over the aspects"
    else:
        first = [_name(row) for row, tier in zip(standings.rows, overall.tier, strict=True)
                 if tier == 1]  # fmt: skip
        text = f"first tier of {overall.tier.max()} by mean rank: {listed(first)}"
    return [Sentence("Overall", text)]


def _unbeaten(standings: Standings, nulls: Sequence[Row], names: Sequence[str]) -> list[Sentence]:
    """Null rows that plain training does not beat: there, a high value proves little."""
    board = standings.board
    found = against_plain(board, nulls, names)
    if found is None:
        return []
    metrics = [board.metric(name) for name in names]
    beaten = found.clear & ~found.better
    tested = np.isfinite(found.adjusted)
    parts = []
    for c, metric in enumerate(metrics):
        rows = [_name(row) for i, row in enumerate(found.rows)
                if tested[i, c] and not beaten[i, c]]  # fmt: skip
        parts += [f"{metric.aspect} ({listed(rows)})"] if rows else []
    if not parts:
        return []
    text = (
        f"{'; '.join(parts)}. In these aspects a method's lead over plain is no evidence by "
        "itself: what a null row reaches too needs no training for interpretability"
    )
    return [Sentence("Plain training is not shown to beat a null row in", text)]


def _resolution(found: Against, metrics: Sequence[Metric]) -> Sentence:
    """How large a difference had to be to be seen."""
    parts = []
    for c, metric in enumerate(metrics):
        half = found.interval.half[:, c]
        if np.isfinite(half).any():
            typical = float(np.nanmedian(half))
            parts.append(f"{metric.title} ±{number(typical, decimals([typical]) - 1)}")
    return Sentence(
        "Not shown is not absent",
        "the median 95 % interval of a method's difference to plain is, before any correction, "
        + ", ".join(parts),
    )


def _shared(standings: Standings) -> list[Sentence]:
    """Which datasets and backbones stand in several blocks."""
    blocks = standings.board.blocks
    if len(blocks) < 2:
        return [Sentence("One dataset on one backbone", "nothing is said about others")]
    parts = []
    for names in ([b.dataset.partition("(")[0] for b in blocks], [b.backbone for b in blocks]):
        parts += [f"{name} in {names.count(name)} of {len(blocks)}"
                  for name in dict.fromkeys(names) if names.count(name) > 1]  # fmt: skip
    if not parts:
        return []
    text = (
        f"{listed(parts)}. The intervals here are about further seeds on these very blocks, "
        "which does not need them independent; nothing is said about other data"
    )
    return [Sentence("The blocks are not independent", text)]
