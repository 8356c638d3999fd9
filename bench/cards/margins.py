"""Margins of metrics with a known best value: a tenth of the distance from plain to the oracle.

`python -m legible.bench.cards.margins` writes them from results/cards/scores.csv into the built-in
suite files, in a checkout of the repository: between ``[blocks.margins]`` and the next blank line.
The seeds of the suite `cards` are those of no other suite, so margins are fixed before a suite is
run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.suites.run_spec import Block
from legible.bench.suites.schema import SUITES, Suite, SuiteBlock, read_suite
from legible.metrics.base import METRICS

TABLE = Path(__file__).resolve().parents[2] / "results" / "cards" / "scores.csv"
SHARE = 0.1
REASON = "a tenth of the distance from plain to the oracle on {} in the suite cards"
HEAD = "[blocks.margins]"
BLOCK = "\n[[blocks]]"


def oracle_margins(table: pd.DataFrame) -> dict[Block, dict[str, float]]:
    """The margin of each metric by block, where the oracle is better than plain.

    ``table`` is a score table. Values are means over seeds and over the layers that both have,
    margins have two digits.
    """
    pair = table[table["method"].isin(["plain", "oracle"]) & table["value"].notna()]
    margins: dict[Block, dict[str, float]] = {}
    for (dataset, backbone, name), group in pair.groupby(["dataset", "backbone", "metric"]):
        means = group.groupby(["layer", "method"])["value"].mean().unstack("method")
        if name not in METRICS or not {"plain", "oracle"} <= set(means.columns):
            continue
        distance = float((means["oracle"] - means["plain"]).mean())
        gain = {"higher": distance, "lower": -distance}.get(METRICS[name].better, 0.0)
        if gain > 0:
            block = margins.setdefault(Block(str(dataset), str(backbone)), {})
            block[name] = float(f"{SHARE * gain:.2g}")
    return margins


def source_block(block: SuiteBlock, margins: Mapping[Block, object]) -> Block | None:
    """The block of the cards whose margins a block of a suite has: the same dataset, if possible
    with other parameters, on the same backbone. None if the cards have none."""
    labels = [b for b in margins if b.dataset.partition("(")[0] == block.dataset]
    return next((b for b in labels if b.backbone.partition("(")[0] == block.backbone), None)


def margin_lines(
    suite: Suite, block: SuiteBlock, margins: Mapping[Block, Mapping[str, float]]
) -> list[str]:
    """The lines of a suite file for one block: the headline metrics of its aspects."""
    source = source_block(block, margins)
    if source is None:
        return []
    reason = REASON.format(source.dataset)
    return [
        f'{name} = {{value = {value:g}, reason = "{reason}"}}'
        for name, value in margins[source].items()
        if METRICS[name].headline and METRICS[name].aspect in (block.aspects or suite.aspects)
    ]


def with_margins(text: str, suite: Suite, margins: Mapping[Block, Mapping[str, float]]) -> str:
    """The text of a suite file with the margins of its blocks written anew."""
    first, *parts = text.split(BLOCK)  # not within a comment
    blocks = zip(parts, suite.blocks, strict=True)
    return BLOCK.join([first, *(_replaced(p, suite, b, margins) for p, b in blocks)])


def _replaced(
    part: str, suite: Suite, block: SuiteBlock, margins: Mapping[Block, Mapping[str, float]]
) -> str:
    lines = margin_lines(suite, block, margins)
    before, head, after = part.partition(HEAD)
    if not head or not lines:
        return part
    title, _, rest = after.partition("\n")
    _, blank, following = rest.partition("\n\n")
    return "\n".join([f"{before}{head}{title}", *lines]) + (blank + following or "\n")


def with_reason(suite: Suite) -> Iterator[tuple[SuiteBlock, str, float]]:
    """The margins of a suite that were computed from the cards: block, metric and value."""
    start = REASON.partition("{}")[0]
    for block in suite.blocks:
        for name, entry in block.margins.items():
            if entry.reason.startswith(start):
                yield block, name, entry.value


if __name__ == "__main__":
    registry.load()
    computed = oracle_margins(read_scores(TABLE))
    for path in sorted(SUITES.glob("*.toml")):
        path.write_text(with_margins(path.read_text(), read_suite(path), computed))
