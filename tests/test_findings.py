"""results/FINDINGS.md: its numbers are those of published tables."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from legible.bench.plugins import registry
from legible.metrics.base import METRICS

registry.load(["metrics"])
RESULTS = Path(__file__).parents[1] / "results"
TEXT = (RESULTS / "FINDINGS.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)


@pytest.mark.parametrize("row", ROW.findall(TEXT), ids=lambda row: "-".join(row[:4:3]))
def test_each_comparison_is_a_row_of_headlines_csv(row):
    metric, better, block, condition, ours, theirs = row
    table = pd.read_csv(RESULTS / "cards" / "headlines.csv")
    (found,) = table[
        (table["metric"] == metric) & (table["dataset"] == block)
        & (table["condition"] == condition)
    ].itertuples()  # fmt: skip
    assert better == METRICS[metric].better
    assert (ours, theirs) == (f"{found.ours:.3g}", f"{found.theirs:.3g}")


def test_the_headlines_are_those_of_the_metrics():
    (sentence,) = re.findall(r"These head their aspects.*?exclusivity", TEXT, re.S)
    names = {"accuracy": "accuracy", "compactness": "focus_compactness",
             "localisation": "concept_localisation", "coverage": "concept_coverage",
             "accuracy carried by a class's own units": "own_unit_share",
             "matched dimensions": "matched_dimensions",
             "percentile of lesion specificity": "lesion_specificity_percentile",
             "relevance": "relevance_mass", "pruning curve": "pruning_area"}  # fmt: skip
    flat = " ".join(sentence.split())
    assert all(words in flat for words in names)
    headlines = {name for name, item in METRICS.items() if item.headline}
    assert set(names.values()) == {m for m in headlines if METRICS[m].better != "neither"}


def test_files_that_are_named_exist():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    missing = [link for link in links if not (RESULTS / link).exists()]
    assert not missing
