"""A board from a score table and its suite, without any run: what the suite and plugins declare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from legible.bench.errors import UserError
from legible.bench.leaderboard.block_titles import short_titles
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.null_networks import metric_remarks, published_cards
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import (
    Condition,
    failures,
    fault_text,
    published_conditions,
)
from legible.bench.suites.run_spec import (
    Block,
    RowKey,
    contrast_rows,
    row_key,
    row_label,
    suite_margins,
)
from legible.bench.suites.schema import Suite
from legible.methods.base import Target, treatment
from legible.metrics.base import METRICS


def board_of_suite(suite: Suite, scores: pd.DataFrame, **more: Any) -> Board:
    """The board of a suite's score table. ``more`` holds further fields of `Board`.

    What methods declare (their target, what they replace) is read from the registered plugins;
    methods that are not registered, such as submitted ones, declare nothing.
    """
    names = scores["method"].unique()
    classes = {name: registry.METHODS[name] for name in names if name in registry.METHODS}
    replaced = {n: f"replaces a {cls.replaces}" for n, cls in classes.items() if cls.replaces}
    headless, unheaded = headlines(suite, published_conditions())
    fields = {
        "headline": suite.headline,
        "block_headlines": headless,
        "unheaded": unheaded,
        "margins": suite_margins(suite),
        "contrasts": contrast_rows(suite),
        "derived": sorted(name for name, cls in registry.METHODS.items() if cls.parent),
        "targets": targets(
            RowKey(str(method), str(params))
            for method, params in scores[["method", "params"]].drop_duplicates().to_numpy()
        ),
        "title": f"{suite.title} leaderboard",
        "trained_on": {name: cls.trains_on for name, cls in classes.items() if cls.trains_on},
        "remarks": metric_remarks(published_cards()),
        "left_out": left_out(suite, scores),
        **more,
        "marks": replaced | more.get("marks", {}),
    }
    return Board(scores, **fields)


def left_out(suite: Suite, scores: pd.DataFrame) -> list[str]:
    """The suite's rows and blocks of which a score table has nothing at all. Methods that are not
    registered here are not looked for."""
    present = set(zip(scores["method"], scores["params"], strict=True))
    blocks = {Block(*pair) for pair in zip(scores["dataset"], scores["backbone"], strict=True)}
    titles = short_titles([*suite_margins(suite), *blocks])
    rows = [row_key(entry) for entry in suite.methods if entry.name in registry.METHODS]
    return [
        *(f"{row_label(row)}: all seeds" for row in rows if row not in present),
        *(f"{titles[block]}: all rows" for block in suite_margins(suite) if block not in blocks),
    ]  # fmt: skip


def headlines(
    suite: Suite, outcomes: Sequence[Condition]
) -> tuple[dict[Block, dict[str, str]], dict[tuple[Block, str], str]]:
    """The heads of each block for which no metric qualifies, as ``block_headlines`` ("") and
    ``unheaded`` (the reasons) of a board.

    The conditions are evaluated on other seeds, on the blocks of suite `cards`; a block of a suite
    is judged by those with its dataset and backbone, whatever their parameters. What was not
    evaluated there, or was chosen by the suite file, stands.
    """
    headless: dict[Block, dict[str, str]] = {}
    reasons: dict[tuple[Block, str], str] = {}
    flagged = {m.heads: m for m in METRICS.values() if m.headline and m.heads not in suite.headline}
    for block in suite_margins(suite):
        here = [c for c in outcomes if _alike(block, Block(c.dataset, c.backbone))]
        for head, metric in flagged.items():
            faults = failures([c for c in here if c.metric == metric.name]).get(metric.name)
            if faults:
                headless.setdefault(block, {})[head] = ""
                texts = "; ".join(map(fault_text, faults))
                reasons[block, head] = f"no headline qualifies: {metric.title} fails {texts}"
    return headless, reasons


def _alike(first: Block, second: Block) -> bool:
    """Whether two blocks have one dataset and backbone, apart from parameters."""
    return all(
        a.partition("(")[0] == b.partition("(")[0] for a, b in zip(first, second, strict=True)
    )


def targets(rows: Iterable[RowKey]) -> dict[RowKey, Target | str]:
    """What each row of a registered method treats, or the reason why nothing can be compared."""
    return {row: _target(row) for row in rows if row.method in registry.METHODS}


def _target(row: RowKey) -> Target | str:
    try:
        return registry.ask_method(row.method, json.loads(row.params), treatment)
    except (UserError, ValueError):
        return "these parameters are not accepted by the present code"
