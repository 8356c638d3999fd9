"""What the networks of suite `cards` gave each metric, and whether a metric tells them apart."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.statistics.intervals import Interval, paired_difference, t_interval
from legible.bench.suites.run_spec import Block
from legible.metrics.base import ASPECTS, METRICS, Metric, scope

#: The committed table, written by `legible publish cards`.
TABLE = Path(__file__).resolve().parent.parent / "results" / "cards" / "scores.csv"
#: The networks of a card, by method; what a claim has to be told apart from comes after plain.
NETWORKS = {
    "oracle": "oracle",
    "plain": "plain",
    "untrained": "untrained",
    "shuffled_labels": "shuffled labels",
    "plain_rotated": "rotated",
}
NULLS = ("untrained", "plain_rotated")
#: With a network in two pairs, the mean over n pairs in a ring has up to twice the variance.
RING = math.sqrt(2)


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric on one block: intervals by method, and plain less each null network."""

    block: Block
    layer: str
    values: Mapping[str, Interval]
    differences: Mapping[str, Interval]

    def apart(self, null: str) -> bool:
        """Whether plain less this network excludes zero."""
        found = self.differences.get(null)
        return found is not None and bool(found.low > 0 or found.high < 0)

    def better(self, null: str, item: Metric) -> bool:
        """Whether plain is not worse than this network, where the metric has a direction."""
        mean = float(self.differences[null].mean)
        return item.better == "neither" or (mean > 0) == (item.better == "higher")


def asked(item: Metric) -> tuple[str, ...]:
    """The networks that a metric has to tell from plain: a rotated one answers as plain does, so
    a metric of the network's answers cannot."""
    return NULLS if scope(item.function) != "network" else NULLS[:1]


@functools.cache
def read(path: Path = TABLE) -> Board | None:
    """The table as a board; None where there is none."""
    from legible.bench.scores.score_table import read_scores

    return Board(read_scores(path)) if path.is_file() else None


def measured(item: Metric, board: Board | None) -> list[Measured]:
    """A metric on each block of trained networks that has values."""
    blocks = [b for b in board.blocks if b.dataset.partition("(")[0] != "planted"] if board else []
    found = [_on_block(item, board, block) for block in blocks if board is not None]
    return [m for m in found if m is not None and "plain" in m.values]


def planted(item: Metric, board: Board | None) -> dict[str, float]:
    """A metric's mean on each planted network that has a value, by backbone."""
    out = {}
    for block in board.blocks if board else []:
        found = _on_block(item, board, block) if board is not None else None
        if block.dataset.partition("(")[0] == "planted" and found and "untrained" in found.values:
            out[block.backbone] = float(found.values["untrained"].mean)
    return out


def _on_block(item: Metric, board: Board, block: Block) -> Measured | None:
    columns = board.columns(block, [item.name])
    if not columns:
        return None
    rows = {row.method: row for row in board.rows if row.method in NETWORKS and row.params == "{}"}
    series = {name: _series(board, block, row, columns[0]) for name, row in rows.items()}
    widen = RING if scope(item.function) == "seeds" else 1.0
    values = {
        name: _wider(t_interval(s.to_numpy()), widen)
        for name, s in series.items()
        if np.isfinite(s.to_numpy()).any()
    }
    differences = {
        null: _wider(_difference(series["plain"], series[null]), widen)
        for null in NULLS
        if "plain" in values and null in values
    }
    return Measured(block, columns[0].layer, values, differences)


def _series(board: Board, block: Block, row: Row, column: Column) -> pd.Series:
    cell = board.cell(block, row, column)
    return pd.Series(cell.values, index=list(cell.seeds), dtype=float)


def _difference(plain: pd.Series, null: pd.Series) -> Interval:
    both = pd.DataFrame({"plain": plain, "null": null})
    return paired_difference(both["plain"].to_numpy(), both["null"].to_numpy())


def _wider(found: Interval, factor: float) -> Interval:
    return found._replace(
        low=found.mean - factor * (found.mean - found.low),
        high=found.mean + factor * (found.high - found.mean),
    )


# ----------------------------------------------------------------- verdicts


def verdict(item: Metric, found: list[Measured]) -> str:
    """Whether a metric tells plain from the null networks, on every block; "" if not measured."""
    if not found:
        return ""
    faults = [
        f"{NETWORKS[null]} on {m.block.dataset}"
        for null in asked(item)
        for m in found
        if not m.apart(null)
    ]
    if faults:
        return f"does not separate plain from {', '.join(faults)}"
    worse = sorted({NETWORKS[n] for n in asked(item) for m in found if not m.better(n, item)})
    names = " and ".join(NETWORKS[null] for null in asked(item))
    beaten = f"; {' and '.join(worse)} networks score better than plain ones" if worse else ""
    return f"separates plain from {names}{beaten}"


def separates(item: Metric, board: Board | None) -> bool:
    """Whether a metric tells plain from all null networks asked, and has plain as the better."""
    found = verdict(item, measured(item, board))
    return found.startswith("separates") and ";" not in found


def aspect_verdict(aspect: str, board: Board | None) -> str:
    """What the evidence says of an aspect's headline; "" where it separates or nothing is known."""
    headline = next((m for m in METRICS.values() if m.aspect == aspect and m.headline), None)
    if headline is None or not (found := measured(headline, board)) or separates(headline, board):
        return ""
    others = sorted(
        m.name
        for m in METRICS.values()
        if m.aspect == aspect and m.better != "neither" and separates(m, board)
    )
    instead = f"these do: {', '.join(others)}" if others else "no metric of this aspect does"
    return f"{verdict(headline, found)} beyond its 95 % intervals; {instead} (docs/metrics.md)"


def remarks(board: Board | None) -> dict[str, str]:
    """What the leaderboard says beside a metric: laws it breaks, and headlines that do not
    separate the networks of suite `cards`."""
    said = {name: list(_broken(item)) for name, item in METRICS.items()}
    for aspect in ASPECTS:
        if text := aspect_verdict(aspect, board):
            headline = next(m for m in METRICS.values() if m.aspect == aspect and m.headline)
            said[headline.name].append(text)
    return {name: "; ".join(texts) for name, texts in said.items() if texts}


def _broken(item: Metric) -> list[str]:
    texts = [f"breaks law '{law}': {reason}" for law, reason in item.breaks.items()]
    if scope(item.function) == "seeds":
        texts.append("each network is in two pairs of seeds: intervals up to 1.4 x too narrow")
    return texts
