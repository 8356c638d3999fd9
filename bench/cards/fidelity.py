"""Results of each method in its fidelity card, docs/cards/METHOD.md.

`python -m legible.bench.cards.fidelity` writes them from results/standard/scores.csv, in a checkout of
the repository. A card holds a table between two markers: the metrics that the method's paper claims
to improve (`Method.claims`) and accuracy, as plain's mean and the method's difference to it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from legible.bench.leaderboard.render.markdown import grid
from legible.bench.leaderboard.tables.table import ARROWS
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.statistics.intervals import paired_difference
from legible.bench.text import mean_and_half, number
from legible.metrics.base import METRICS

ROOT = Path(__file__).resolve().parents[2]
CARDS, TABLE = ROOT / "docs" / "cards", ROOT / "results" / "standard" / "scores.csv"
BEGIN = "<!-- results: written by python -m legible.bench.cards.fidelity, do not edit -->"
END = "<!-- end of results -->"
INTERVAL_FROM = 3  # seeds: with fewer, an interval says nothing


NOT_PUBLISHED = "No results yet: results/standard is not published."


def published() -> pd.DataFrame | None:
    """The scores of suite `standard`; None if it is not published."""
    return read_scores(TABLE) if TABLE.is_file() else None


def with_results(text: str, name: str, scores: pd.DataFrame | None) -> str:
    """A card with its results put between the markers, or at its end if it has no markers."""
    table = NOT_PUBLISHED if scores is None else results(name, scores)
    block = f"{BEGIN}\n{table}\n{END}"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + block + after if begin and end else f"{text.rstrip()}\n\n{block}\n"


def results(name: str, scores: pd.DataFrame) -> str:
    """The table of one method at default parameters; a sentence if it has no scores."""
    own = scores[(scores["method"] == name) & (scores["params"] == "{}")]
    if name != "plain" and own["metric"].eq("").any():
        return f"No scores in results/standard: {own['reason'].iloc[0]}."
    claims = registry.METHODS[name].claims
    rows = [
        row
        for metric in [*sorted(claims - {"accuracy"}), "accuracy"]
        for row in _rows(metric, name, scores, metric in claims)
    ]
    if not rows:
        return "No row in results/standard."
    seeds = own["seed"].nunique()
    head = f"From results/standard/scores.csv: default parameters, {seeds} seed{'s' * (seeds > 1)}"
    note = (
        "± half of the 95 % t interval, paired by seed" if seeds >= INTERVAL_FROM else "no interval"
    )
    table = grid(["where", "metric", "plain", f"{name} − plain"], rows, ["---"] * 3)
    return (
        f"{head} ({note}). ↑ more is better, ↓ less is better, * claimed by the paper.\n\n{table}"
    )


def _rows(metric: str, name: str, scores: pd.DataFrame, claimed: bool) -> list[list[str]]:
    """A row for each dataset, backbone and layer at which the method has the metric."""
    of_metric = scores[(scores["metric"] == metric) & (scores["params"] == "{}")]
    rows = []
    for place, group in of_metric.groupby(["dataset", "backbone", "layer"], sort=True):
        table = group.pivot(index="seed", columns="method", values="value")
        if name not in table:
            continue
        plain = table["plain"] if "plain" in table else table[name] * float("nan")
        title = f"{metric} {ARROWS[METRICS[metric].better]}".rstrip() + " *" * claimed
        where = " · ".join(filter(None, map(str, place)))
        rows.append([where, title, _mean(plain), _difference(table[name], plain)])
    return rows


def _mean(plain: pd.Series) -> str:
    return number(plain.mean(), 3) if plain.notna().any() else "undefined"


def _difference(own: pd.Series, plain: pd.Series) -> str:
    """The paired difference, with its interval if there are enough seeds."""
    if not own.notna().any():
        return "undefined"
    if not plain.notna().any():
        return f"({number(own.mean(), 3)}, plain has no value)"
    interval = paired_difference(own.to_numpy(dtype=float), plain.to_numpy(dtype=float))
    half = float(interval.half) if interval.n >= INTERVAL_FROM else float("nan")
    return mean_and_half(float(interval.mean), half, 3, signed=True)


def main() -> None:
    """Writes the results into the card of every built-in method."""
    registry.load(["methods", "metrics"])
    scores = published()
    for card in sorted(CARDS.glob("*.md")):
        text = card.read_text(encoding="utf-8")
        card.write_text(with_results(text, card.stem, scores), encoding="utf-8")


if __name__ == "__main__":
    main()
