"""Margins of metrics whose best value is known: a tenth of the distance from plain to the oracle.

`python -m legible.bench.cards.margins` prints them for suite files, from results/cards/scores.csv
in a checkout of the repository. The seeds of the suite `cards` are those of no other suite, so
margins are fixed before a suite is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.suites.run_spec import Block
from legible.metrics.base import METRICS

TABLE = Path(__file__).resolve().parents[2] / "results" / "cards" / "scores.csv"
SHARE = 0.1
REASON = "a tenth of the distance from plain to the oracle"


class OracleMargin(NamedTuple):
    """The margin of a metric on a block."""

    block: Block
    metric: str
    value: float


def oracle_margins(table: pd.DataFrame) -> Iterator[OracleMargin]:
    """The margin of each metric on each block where the oracle is better than plain.

    ``table`` is a score table. Values are means over seeds and over the layers that both have,
    margins have two digits.
    """
    pair = table[table["method"].isin(["plain", "oracle"]) & table["value"].notna()]
    for (dataset, backbone, name), group in pair.groupby(["dataset", "backbone", "metric"]):
        means = group.groupby(["layer", "method"])["value"].mean().unstack("method")
        if name not in METRICS or not {"plain", "oracle"} <= set(means.columns):
            continue
        distance = float((means["oracle"] - means["plain"]).mean())
        gain = {"higher": distance, "lower": -distance}.get(METRICS[name].better, 0.0)
        if gain > 0:
            yield OracleMargin(
                Block(str(dataset), str(backbone)), name, float(f"{SHARE * gain:.2g}")
            )


def as_toml(margins: list[OracleMargin]) -> str:
    """The margins as lines of a suite file, by block."""
    lines = []
    for block in dict.fromkeys(margin.block for margin in margins):
        lines += [f"# {' on '.join(block)}", "[blocks.margins]"]
        lines += [
            f'{margin.metric} = {{value = {margin.value:g}, reason = "{REASON}"}}'
            for margin in margins
            if margin.block == block
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    registry.load()
    print(as_toml(list(oracle_margins(read_scores(TABLE)))))
