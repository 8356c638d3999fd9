"""Which metrics may head an aspect: `python -m legible.bench.cards.headlines`.

Reads results/cards/scores.csv and the plain runs of suite `cards`, scores the impostors, evaluates
the conditions of every metric, and writes results/cards/impostors.csv and
results/cards/headlines.csv. Prints the candidates of each aspect with what they fail: the headline
is the candidate that fails nothing and is most reliable over seeds, if that is at least 0.7.
`--keep-impostors` uses the scores of impostors that are there already.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from legible.bench.cards.impostor_scores import impostor_rows
from legible.bench.execution.workspace import open_workspace
from legible.bench.leaderboard.common_algorithms import over_common_algorithms, read_algorithms
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import (
    Condition,
    conditions,
    failures,
    fault_text,
    least_reliability,
    to_frame,
)
from legible.bench.scores.score_table import read_scores, scores_text, to_table
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import find_suite, read_suite
from legible.bench.text import number
from legible.metrics.base import ASPECTS, METRICS, PARTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores the impostors, writes both tables and prints the candidates of each aspect."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", default="cards")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--keep-impostors", action="store_true")
    options = parser.parse_args(arguments)
    registry.load(["methods", "metrics"])
    folder = options.results / "cards"
    impostors = folder / "impostors.csv"
    if not options.keep_impostors:
        workspace = open_workspace("cpu", (), options.runs, None)
        specs = expand(read_suite(find_suite(options.suite)))
        rows = impostor_rows(workspace, specs)
        impostors.write_text(scores_text(to_table(rows)), encoding="utf-8")
    scores = with_impostors(read_scores(folder / "scores.csv"), read_scores(impostors))
    candidates_of_heads = [m for m in METRICS.values() if m.heads in heads()]
    outcomes = conditions(scores, candidates_of_heads, _standard(options.results / "standard"))
    text = to_frame(outcomes).to_csv(index=False, float_format="%.4g", lineterminator="\n")
    (folder / "headlines.csv").write_text(text, encoding="utf-8")
    print(candidates(outcomes))


def _standard(folder: Path) -> pd.DataFrame | None:
    """The scores of suite `standard` as its leaderboard compares them; None if there are none."""
    if not (folder / "scores.csv").is_file():
        return None
    return over_common_algorithms(read_scores(folder / "scores.csv"), read_algorithms(folder))


def heads() -> list[str]:
    """What headlines stand for: each aspect, or its parts, in their order."""
    return [head for aspect in ASPECTS for head in (aspect, *PARTS.get(aspect, ()))]


def with_impostors(scores: pd.DataFrame, impostors: pd.DataFrame) -> pd.DataFrame:
    """The scores of a suite and of impostors in one table."""
    return pd.concat([scores, impostors], ignore_index=True)


def candidates(outcomes: Sequence[Condition]) -> str:
    """For each aspect, its metrics with what they fail and how well they repeat over seeds."""
    faults = failures(outcomes)
    lines = []
    for head in heads():
        items = [METRICS[name] for name in faults if METRICS[name].heads == head]
        items = [item for item in items if item.better != "neither"]
        if not items:
            continue
        lines.append(f"\n{head}")
        own = {item.name: least_reliability(item.name, outcomes) for item in items}
        items.sort(key=lambda item: (len(faults[item.name]), -_sortable(own[item.name])))
        for item in items:
            reason = "; ".join(map(fault_text, faults[item.name])) or "fails nothing"
            mark = "*" if item.headline else " "
            repeats = number(own[item.name], 2)
            lines.append(f" {mark} {item.name:34} reliability {repeats:>6}  {reason}")
    return "\n".join(lines)


def _sortable(value: float) -> float:
    return -math.inf if math.isnan(value) else value


if __name__ == "__main__":
    main()
