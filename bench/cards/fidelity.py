"""`python -m bench.fidelity`: writes what results/field measured into docs/cards/METHOD.md.

Each card holds a table between two markers: the metrics that the method's paper claims to improve
(`Method.claims`) and accuracy, as plain's mean and the method's difference to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.statistics.intervals import paired_difference
from legible.metrics.base import METRICS

ROOT = Path(__file__).resolve().parent.parent
CARDS, TABLE = ROOT / "docs" / "cards", ROOT / "results" / "field" / "scores.csv"
BEGIN = "<!-- measured: written by python -m bench.fidelity, do not edit -->"
END = "<!-- end of measured -->"
ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}
INTERVAL_FROM = 3  # seeds: fewer give no interval worth the name


def filled(text: str, name: str, scores: pd.DataFrame) -> str:
    """A card with its table put between the markers, or at its end where it has none."""
    block = f"{BEGIN}\n{measured(name, scores)}\n{END}"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + block + after if begin and end else f"{text.rstrip()}\n\n{block}\n"


def measured(name: str, scores: pd.DataFrame) -> str:
    """The table of one method at default parameters; a sentence where it has no row."""
    own = scores[(scores["method"] == name) & (scores["params"] == "{}")]
    if name != "plain" and own["metric"].eq("").any():
        return f"No scores in results/field: {own['reason'].iloc[0]}."
    claims = registry.METHODS[name].claims
    lines = [
        line
        for metric in [*sorted(claims), "accuracy"]
        for line in _lines(metric, name, scores, metric in claims)
    ]
    if not lines:
        return "No row in results/field."
    seeds = own["seed"].nunique()
    head = f"results/field, default parameters, {seeds} seed{'s' * (seeds > 1)}"
    note = "95 % t interval, paired by seed" if seeds >= INTERVAL_FROM else "no interval"
    return "\n".join(
        [
            f"{head} ({note}); ↑ ↓ is the better direction, * what the paper claims.",
            "",
            f"| where | metric | plain | {name} − plain |",
            "| --- | --- | --- | --- |",
            *lines,
        ]
    )


def _lines(metric: str, name: str, scores: pd.DataFrame, claimed: bool) -> list[str]:
    """A line for each dataset, backbone and layer where the method has the metric."""
    found = scores[(scores["metric"] == metric) & (scores["params"] == "{}")]
    lines = []
    for where, rows in found.groupby(["dataset", "backbone", "layer"], sort=True):
        table = rows.pivot(index="seed", columns="method", values="value")
        if name not in table:
            continue
        plain = table["plain"] if "plain" in table else table[name] * np.nan
        title = f"{metric}{ARROWS[METRICS[metric].better]}{' *' * claimed}"
        place = " · ".join(filter(None, map(str, where)))
        lines.append(f"| {place} | {title} | {_plain(plain)} | {_change(table[name], plain)} |")
    return lines


def _plain(plain: pd.Series) -> str:
    return f"{plain.mean():.3f}".replace("-", "−") if plain.notna().any() else "undefined"


def _change(own: pd.Series, plain: pd.Series) -> str:
    """The paired difference, with its interval where there are seeds enough."""
    if not own.notna().any():
        return "undefined"
    if not plain.notna().any():
        return f"({own.mean():.3f}, without a plain value)"
    found = paired_difference(own.to_numpy(dtype=float), plain.to_numpy(dtype=float))
    text = f"{float(found.mean):+.3f}".replace("-", "−")
    return f"{text} ± {float(found.half):.3f}" if found.n >= INTERVAL_FROM else text


def main() -> None:
    """Fills the card of every built-in method."""
    registry.load(["methods", "metrics"])
    scores = read_scores(TABLE)
    for card in sorted(CARDS.glob("*.md")):
        text = card.read_text(encoding="utf-8")
        card.write_text(filled(text, card.stem, scores), encoding="utf-8")


if __name__ == "__main__":
    main()
