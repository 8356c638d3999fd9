"""results/FINDINGS.md and EVIDENCE.md: their numbers are those of published tables."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pandas as pd
import pytest

from legible.bench.leaderboard.verdicts import SYMBOLS
from legible.bench.plugins import registry
from legible.metrics.base import METRICS

registry.load(["metrics"])
RESULTS = Path(__file__).parents[1] / "results"
FINDINGS = (RESULTS / "FINDINGS.md").read_text(encoding="utf-8")
TEXT = FINDINGS + (RESULTS / "EVIDENCE.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)

#: | suite | row | metric | block (if not all) | sign | difference | half of its interval |, and a
#: contrast with its p.
VERDICT = re.compile(
    r"^\| (\w+) \| ([^|−]+) \| `(\w+)` \|(?: ([^|]+) \|)? (\S?) ?\| ([+−]\S+) \| (\S+) \|$", re.M
)
CONTRAST = re.compile(
    r"^\| (\w+) \| ([^|−]+) − ([^|−]+) \| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \|$", re.M
)

#: | suite | metric | metric | rank correlation | ends of its interval |
CORRELATION = re.compile(r"^\| (\w+) \| `(\w+)` \| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \|$", re.M)

#: | suite | row | metric | layer ("-": none) | block (if there are several) | mean over seeds |
VALUE = re.compile(
    r"^\| (\w+) \| ([^|−]+) \| `(\w+)` \| (\S+) \|(?: ([a-z][^|]+) \|)? (\S+) \|$", re.M
)

#: | suite | row | concept | layer | best unit | share of units |, means over seeds
CONCEPT = re.compile(r"^\| (\w+) \| ([^|−]+) \| \*(\w+)\* \| (\S+) \| (\S+) \| (\S+) \|$", re.M)


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


@pytest.mark.parametrize("row", VERDICT.findall(TEXT), ids=lambda row: "-".join(row[:4]))
def test_each_verdict_is_a_row_of_verdicts_csv(row):
    suite, name, metric, block, sign, difference, half = row
    table = pd.read_csv(RESULTS / suite / "verdicts.csv", keep_default_na=False)
    given = table["params"].map(lambda text: row_label_of(json.loads(text)))
    (found,) = table[
        (table["method"] + given == name)
        & (table["metric"] == metric)
        & (table["dataset"] == block)
    ].itertuples()
    assert SYMBOLS[found.sign] == sign
    low, high = float(found.low), float(found.high)
    assert written(float(found.difference), difference) == difference
    assert abs((high - low) / 2 - float(half)) <= rounding(half)


def row_label_of(params):
    """The parameters of a row as its label shows them."""
    inside = ",".join(f"{name}={value}" for name, value in params.items())
    return f"({inside})" if inside else ""


def rounding(text):
    """Half a unit of the last digit of a number as text."""
    return 0.5 * 10.0 ** -len(text.partition(".")[2]) * (1 + 1e-9)


def written(value, like):
    """A difference with as many digits as another text."""
    return f"{value:+.{len(like.partition('.')[2])}f}".replace("-", "−")


@pytest.mark.parametrize("row", CONTRAST.findall(TEXT), ids=lambda row: "-".join(row[:4]))
def test_each_contrast_is_one_of_leaderboard_json(row):
    suite, first, second, metric, difference, half, p = row
    board = json.loads((RESULTS / suite / "leaderboard.json").read_text(encoding="utf-8"))
    aspect = METRICS[metric].part or METRICS[metric].aspect
    (found,) = [
        record for record in board["contrasts"]
        if (record["first"], record["second"], record["aspect"]) == (first, second, aspect)
    ]  # fmt: skip
    assert written(found["difference"], difference) == difference
    assert abs((found["high"] - found["low"]) / 2 - float(half)) <= rounding(half)
    assert found["p"] < 0.001 if p == "<.001" else abs(found["p"] - float(p)) <= rounding(p)


@pytest.mark.parametrize("row", CORRELATION.findall(TEXT), ids=lambda row: "-".join(row[1:3]))
def test_each_correlation_is_one_of_leaderboard_json(row):
    suite, first, second, *values = row
    board = json.loads((RESULTS / suite / "leaderboard.json").read_text(encoding="utf-8"))
    table = board["agreement"]
    places = [table["metrics"].index(name) for name in (second, first)]
    for text, name in zip(values, ("spearman", "low", "high"), strict=True):
        value = table[name][places[0]][places[1]]
        assert abs(value - float(text)) <= rounding(text)


@pytest.mark.parametrize("row", VALUE.findall(TEXT), ids=lambda row: "-".join(row[:4]))
def test_each_value_is_a_mean_of_scores_csv(row):
    suite, name, metric, layer, block, value = row
    table = pd.read_csv(RESULTS / suite / "scores.csv", keep_default_na=False)
    given = table["params"].map(lambda text: row_label_of(json.loads(text)))
    found = table[
        (table["method"] + given == name) & (table["metric"] == metric)
        & (table["layer"] == ("" if layer == "-" else layer))
        & ((table["dataset"] == block) | (block == ""))
    ]  # fmt: skip
    assert found["dataset"].nunique() == 1
    assert found["status"].eq("ok").all()
    assert abs(pd.to_numeric(found["value"]).mean() - float(value)) <= rounding(value)


@pytest.mark.parametrize("row", CONCEPT.findall(TEXT), ids=lambda row: "-".join(row[:4]))
def test_each_concept_is_a_mean_of_precision_by_concept(row):
    suite, name, concept, layer, best, units = row
    table = pd.read_csv(RESULTS / "cards" / "precision_by_concept.csv", keep_default_na=False)
    given = table["method"] + table["params"].map(lambda text: row_label_of(json.loads(text)))
    found = table[
        (table["suite"] == suite) & (given == name) & (table["concept"] == concept)
        & (table["layer"] == layer)
    ]  # fmt: skip
    assert found["seed"].tolist() == [0, 1, 2]
    assert abs(found["best"].mean() - float(best)) <= rounding(best)
    assert abs(found["units"].mean() - float(units)) <= rounding(units)


def test_every_line_of_a_table_is_compared():
    lines = [x for x in TEXT.splitlines() if x.startswith("|") and re.search(r"`|\| \*", x)]
    patterns = (ROW, VERDICT, CONTRAST, CORRELATION, VALUE, CONCEPT)
    kinds = [len(pattern.findall(TEXT)) for pattern in patterns]
    assert all(kinds) and sum(kinds) == len(lines)


def test_findings_are_two_pages():
    assert len(FINDINGS.split()) < 1600


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


def test_what_is_said_of_failures_on_shapes_is_what_scores_csv_holds():
    table = pd.read_csv(RESULTS / "standard" / "scores.csv", keep_default_na=False)
    table = table[(table["metric"] == "accuracy") & table["dataset"].str.startswith("shapes")]
    of = {name: pd.to_numeric(rows["value"]) for name, rows in table.groupby("method")}
    assert ((of["activation_l1"] < 0.91).sum(), (of["activation_l1"] < 0.15).sum()) == (5, 2)
    assert of["plain"].min() >= 0.97
    for name in ("ocnn", "srip", "cgl", "pip", "picnn"):
        failed = of[name][of[name] < 0.93]
        assert 1 <= len(failed) <= 3 and failed.between(0.85, 0.925).all(), name
    deeper = sorted(of["plain_deeper"].round(2))
    assert deeper[:2] == [0.70, 0.76] and deeper[2] > 0.95


def test_standard_stays_below_5_mib_in_git():
    # report.html is not in git
    files = [p for p in (RESULTS / "standard").rglob("*") if p.is_file() and p.suffix != ".html"]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 5 * 2**20


def test_files_that_are_named_exist():
    links = re.findall(r"\]\(([^)#]+)(#[^)]*)?\)", TEXT)
    missing = [link for link, _ in links if not (RESULTS / link).exists()]
    assert not missing
    titles = re.findall(r"^## (.*)$", TEXT.partition("# Evidence")[2], re.M)
    anchors = {"#" + re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert {anchor for _, anchor in links if anchor} <= anchors
