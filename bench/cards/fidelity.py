"""Results of each method in its fidelity card, docs/cards/METHOD.md.

`python -m legible.bench.cards.fidelity` writes them from results/standard/scores.csv, in a checkout
of the repository. A card holds a table between two markers: accuracy and the metrics that the
method's paper claims to improve (`Method.claims`), as plain's mean and the method's difference to
it, with the sign of the leaderboard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.common_algorithms import read_algorithms
from legible.bench.leaderboard.render.markdown import grid
from legible.bench.leaderboard.tables.table import ARROWS
from legible.bench.leaderboard.verdicts import block_column
from legible.bench.plugins import registry
from legible.bench.scores.score_table import COLUMNS, read_scores
from legible.bench.suites.run_spec import BASELINE, Block
from legible.bench.text import mean_and_half, number
from legible.metrics.base import METRICS

ROOT = Path(__file__).resolve().parents[2]
SUITE = "standard"
CARDS, TABLE = ROOT / "docs" / "cards", ROOT / "results" / SUITE / "scores.csv"
BEGIN = "<!-- results: written by python -m legible.bench.cards.fidelity, do not edit -->"
END = "<!-- end of results -->"
INTERVAL_FROM = 3  # seeds: with fewer, an interval says nothing
NOT_PUBLISHED = f"No results yet: results/{SUITE} is not published."


def published_board() -> Board:
    """The board of the published table; an empty one if nothing is published yet."""
    scores = read_scores(TABLE) if TABLE.is_file() else pd.DataFrame(columns=COLUMNS)
    derived = [name for name, cls in registry.METHODS.items() if cls.parent]
    return Board(scores, derived=derived, algorithms=read_algorithms(TABLE.parent))


def with_results(text: str, name: str, board: Board) -> str:
    """A card with its results put between the markers, or at its end if it has no markers."""
    block = f"{BEGIN}\n{results(name, board)}\n{END}"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + block + after if begin and end else f"{text.rstrip()}\n\n{block}\n"


def results(name: str, board: Board) -> str:
    """The table of one method with its tuned setting; a sentence if it has no scores."""
    if not board.rows:
        return NOT_PUBLISHED
    row = next((r for r in board.rows if r.key == (name, "{}")), None)
    if row is None:
        return f"No row in results/{SUITE}."
    failures = [reason for block in board.blocks
                for reason in board.failures.get((block, row.key), ())]  # fmt: skip
    metrics = sorted(registry.METHODS[name].claims - {"accuracy"})
    rows = [line for metric in ["accuracy", *metrics] for line in _rows(board, row, metric)]
    if not rows:
        return f"No scores in results/{SUITE}: {failures[0] if failures else 'none applies'}."
    head = f"From results/{SUITE}/scores.csv, with the setting of ledger.csv"
    table = grid(["where", "metric", "plain", f"{name} − plain", "seeds"], rows, ["---"] * 4)
    return (
        f"{head}. ± half of the 95 % interval, with the sign of the leaderboard on this block. ↑ "
        f"more is better, ↓ less is better, * claimed by the paper.\n\n{table}"
    )


def _rows(board: Board, row: Row, metric: str) -> Iterator[list[str]]:
    """A line for each block and layer at which the method has the metric."""
    of_metric = board.table[board.table["metric"] == metric]
    own = of_metric[(of_metric["method"] == row.method) & (of_metric["params"] == row.params)]
    claimed = metric in registry.METHODS[row.method].claims
    title = f"{metric} {ARROWS[METRICS[metric].better]}".rstrip() + " *" * claimed
    for dataset, backbone, layer in sorted(set(zip(own["dataset"], own["backbone"], own["layer"],
                                                   strict=True))):  # fmt: skip
        block, column = Block(dataset, backbone), Column(METRICS[metric], layer)
        where = " · ".join(filter(None, (*block, layer)))
        values = board.seed_values(block, row, column).values
        seeds = str(int(np.isfinite(values).sum()))
        yield [where, title, *_numbers(board, block, row, column), seeds]


def _numbers(board: Board, block: Block, row: Row, column: Column) -> tuple[str, str]:
    """Plain's mean, and the difference to it with an interval if there are enough seeds."""
    own = board.seed_values(block, row, column).mean
    plain = math.nan
    if board.baseline is not None:
        plain = board.seed_values(block, board.baseline, column).mean
    mean = number(plain, 3) if math.isfinite(plain) else "undefined"
    if row.key == BASELINE:
        return mean, ""
    if not math.isfinite(own):
        return mean, "undefined"
    part = block_column(board, block, column)
    i = board.rows.index(row)
    if part is None or not np.isfinite(part.contrast.difference[i]):
        return mean, f"({number(own, 3)}, plain has no value)"
    turn = -1.0 if column.metric.better == "lower" else 1.0
    half = float(part.contrast.interval().half[i])
    half = half if part.contrast.seeds[i] >= INTERVAL_FROM else math.nan
    text = mean_and_half(turn * float(part.contrast.difference[i]), half, 3, signed=True)
    return mean, f"{part.symbol(i).replace('?', '')} {text}".strip()


def main() -> None:
    """Writes the results into the card of every built-in method."""
    registry.load(["methods", "metrics"])
    board = published_board()
    for card in sorted(CARDS.glob("*.md")):
        text = card.read_text(encoding="utf-8")
        card.write_text(with_results(text, card.stem, board), encoding="utf-8")


if __name__ == "__main__":
    main()
