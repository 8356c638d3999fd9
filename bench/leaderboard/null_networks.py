"""Whether a metric tells trained networks from null networks, from the scores of suite `cards`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from legible.bench.execution.published import PACKAGED, SCORES
from legible.bench.leaderboard.board import NULLS as NULLS
from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.scores.score_table import read_scores
from legible.bench.statistics.intervals import Interval, paired_difference, t_interval
from legible.bench.suites.run_spec import Block
from legible.metrics.base import ASPECTS, METRICS, Metric, scope

#: The published score table of suite `cards`.
TABLE = PACKAGED / "cards" / SCORES
#: The networks of a card: method and name.
NETWORKS = {
    "oracle": "oracle",
    "plain": "plain",
    "untrained": "untrained",
    "shuffled_labels": "shuffled labels",
    "plain_rotated": "rotated",
}
#: Factor that widens the intervals of metrics that compare two seeds. Each network is in two of the
#: n pairs, so the mean over pairs has up to twice the variance.
PAIRED_SEEDS_FACTOR = math.sqrt(2)


@dataclass(frozen=True, eq=False)
class NetworkScores:
    """One metric on one block: the mean of each network, and plain's difference to each null
    network, all with 95 % intervals."""

    block: Block
    layer: str
    values: Mapping[str, Interval]
    differences: Mapping[str, Interval]

    def separates(self, null: str) -> bool:
        """Whether plain's difference to a null network excludes zero."""
        difference = self.differences.get(null)
        return difference is not None and bool(difference.low > 0 or difference.high < 0)

    def plain_is_better(self, null: str, metric: Metric) -> bool:
        """Whether plain's mean is better than the null network's; also true if the metric has no
        better direction."""
        mean = float(self.differences[null].mean)
        return metric.better == "neither" or (mean > 0) == (metric.better == "higher")


def required_nulls(metric: Metric) -> tuple[str, ...]:
    """The null networks that a metric must tell from plain.

    A rotated network computes the same function as plain, so a metric of the network's answers
    cannot tell them apart.
    """
    return NULLS if scope(metric.function) != "network" else NULLS[:1]


@functools.cache
def published_cards(path: Path = TABLE) -> Board | None:
    """The published scores of suite `cards`; None if there are none."""
    return Board(read_scores(path)) if path.is_file() else None


def network_scores(metric: Metric, board: Board | None) -> list[NetworkScores]:
    """A metric's scores on each block on which plain has a value, planted networks left out."""
    if board is None:
        return []
    scores = (_on_block(metric, board, b) for b in board.blocks if not _is_planted(b))
    return [s for s in scores if s is not None and "plain" in s.values]


def planted_means(metric: Metric, board: Board | None) -> dict[str, float]:
    """A metric's mean on each planted network on which it has a value, by backbone."""
    means = {}
    for block in board.blocks if board is not None else []:
        scores = _on_block(metric, board, block) if board and _is_planted(block) else None
        if scores is not None and "untrained" in scores.values:
            means[block.backbone] = float(scores.values["untrained"].mean)
    return means


def _is_planted(block: Block) -> bool:
    return block.dataset.partition("(")[0] == "planted"


def _on_block(metric: Metric, board: Board, block: Block) -> NetworkScores | None:
    columns = board.columns(block, [metric.name])
    if not columns:
        return None
    rows = {row.method: row for row in board.rows if row.method in NETWORKS and row.params == "{}"}
    series = {name: _series(board, block, row, columns[0]) for name, row in rows.items()}
    factor = PAIRED_SEEDS_FACTOR if scope(metric.function) == "seeds" else 1.0
    values = {
        name: _wider(t_interval(s.to_numpy()), factor)
        for name, s in series.items()
        if np.isfinite(s.to_numpy()).any()
    }
    differences = {
        null: _wider(_difference(series["plain"], series[null]), factor)
        for null in NULLS
        if "plain" in values and null in values
    }
    return NetworkScores(block, columns[0].layer, values, differences)


def _series(board: Board, block: Block, row: Row, column: Column) -> pd.Series:
    values = board.seed_values(block, row, column)
    return pd.Series(values.values, index=list(values.seeds), dtype=float)


def _difference(plain: pd.Series, null: pd.Series) -> Interval:
    both = pd.DataFrame({"plain": plain, "null": null})
    return paired_difference(both["plain"].to_numpy(), both["null"].to_numpy())


def _wider(interval: Interval, factor: float) -> Interval:
    return interval._replace(
        low=interval.mean - factor * (interval.mean - interval.low),
        high=interval.mean + factor * (interval.high - interval.mean),
    )


# ----------------------------------------------------------------- verdicts


def verdict(metric: Metric, scores: list[NetworkScores]) -> str:
    """Whether a metric tells plain from the null networks on every block; "" without scores."""
    if not scores:
        return ""
    nulls = required_nulls(metric)
    faults = [
        f"{NETWORKS[null]} on {s.block.dataset}"
        for null in nulls
        for s in scores
        if not s.separates(null)
    ]
    if faults:
        return f"does not separate plain from {', '.join(faults)}"
    worse = {NETWORKS[n] for n in nulls for s in scores if not s.plain_is_better(n, metric)}
    names = " and ".join(NETWORKS[null] for null in nulls)
    more = f"; {' and '.join(sorted(worse))} networks score better than plain ones" if worse else ""
    return f"separates plain from {names}{more}"


def separates_plain(metric: Metric, board: Board | None) -> bool:
    """Whether a metric tells plain from all required null networks, with plain as the better."""
    text = verdict(metric, network_scores(metric, board))
    return text.startswith("separates") and ";" not in text


def aspect_verdict(aspect: str, board: Board | None) -> str:
    """What is wrong with an aspect's headline metric; "" if nothing is, or without scores."""
    headline = next((m for m in METRICS.values() if m.aspect == aspect and m.headline), None)
    if headline is None or separates_plain(headline, board):
        return ""
    scores = network_scores(headline, board)
    if not scores:
        return ""
    others = sorted(
        m.name
        for m in METRICS.values()
        if m.aspect == aspect and m.better != "neither" and separates_plain(m, board)
    )
    names = ", ".join(others) or "none"
    text = verdict(headline, scores)
    if text.startswith("does not separate"):
        text = f"its 95 % interval {text}; metrics of this aspect that do: {names}"
    else:
        text = f"{text}; metrics of this aspect that score plain as better: {names}"
    return f"{text} (docs/metrics.md)"


def metric_remarks(board: Board | None) -> dict[str, str]:
    """What the leaderboard remarks about metrics: laws that a metric breaks, and headline metrics
    that do not separate the networks of suite `cards`."""
    remarks = {name: list(_limitations(metric)) for name, metric in METRICS.items()}
    for aspect in ASPECTS:
        if text := aspect_verdict(aspect, board):
            headline = next(m for m in METRICS.values() if m.aspect == aspect and m.headline)
            remarks[headline.name].append(text)
    return {name: "; ".join(texts) for name, texts in remarks.items() if texts}


def _limitations(metric: Metric) -> list[str]:
    texts = [f"breaks law '{law}': {reason}" for law, reason in metric.breaks.items()]
    if scope(metric.function) == "seeds":
        texts.append("each network is in two pairs of seeds: intervals are up to 1.4 x too narrow")
    return texts
