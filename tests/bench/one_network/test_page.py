"""The page: a table for each aspect, what each number means, and why one is missing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from small_networks import Branching, small_network

from legible.bench.one_network.comparison import NETWORK, TWIN, compare
from legible.bench.one_network.image_data import load_images
from legible.bench.one_network.page import (
    ABOUT_IMPOSTORS,
    QUESTIONS,
    render_scores,
)
from legible.bench.one_network.subject import RANDOM_WEIGHTS, given_subject
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import IMPOSTOR
from legible.bench.scoring.impostors import CHEATS, IMPOSTORS
from legible.metrics.base import ASPECTS

registry.load(["metrics"])
METRICS_SHOWN = ["accuracy", "focus_compactness", "matched_dimensions", "pruning_area"]


def made(model, toy, metrics=METRICS_SHOWN):
    data, subject = load_images(toy), given_subject(model, "")
    return subject, data, compare(subject, data, metrics=metrics)


def test_a_table_an_aspect_and_a_reason_for_each_missing_number(toy):
    subject, data, comparison = made(small_network(), toy)
    data = replace(data, notes=("1 concept is a point",))
    page = render_scores(subject, data, comparison, "legible score x --data toy")
    assert "- **Data:** 1 concept is a point.\n" in page
    assert page.startswith("# Scores of Sequential on toy\n")
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        "Task", "Focus", "Consistency", "Efficiency", "Units",
        "How to make this page again",
    ]  # fmt: skip
    values = {(r.metric, r.layer, r.method): r.value for r in comparison.rows}
    line = next(line for line in page.splitlines() if line.startswith("| compactness | `4`"))
    cells = [cell.strip().replace("−", "-") for cell in line.strip("|").split("|")][2:]
    columns = [NETWORK, TWIN, *(IMPOSTOR + name for name in IMPOSTORS)]
    cheats = {IMPOSTOR + name for name in CHEATS["focus"]}
    for cell, column in zip(cells, columns, strict=True):
        value = values["focus_compactness", "4", column]
        assert float(cell.strip("()")) == pytest.approx(value, abs=6e-4)
        assert cell.startswith("(") == (column not in {NETWORK, TWIN, *cheats})  # does not count
    assert "| matched dimensions" not in page  # a metric without numbers has no line
    assert "no number: needs a second network" in page
    assert "Higher is better, from -8 to 1; 0 by chance." in page
    assert "60 of 1 x 16 x 16, 3 classes (the largest has 33 % of the images), 3 concepts" in page
    assert all(f"**{name}**: {text}" in page for name, text in ABOUT_IMPOSTORS.items())
    assert "```sh\nlegible score x --data toy\n```" in page


def test_the_summary_counts_where_the_network_wins(toy):
    subject, data, comparison = made(small_network(), toy, ["focus_compactness"])

    comparison = replace(comparison, correct=len(data))

    def summary(value: float) -> str:
        rows = [r.model_copy(update={"value": value if r.method == NETWORK else 0.0})
                for r in comparison.rows]  # fmt: skip
        return render_scores(subject, data, replace(comparison, rows=rows))

    assert "every layer that was read in 1 of 1 metrics: compactness.**" in summary(0.5)
    assert "every layer that was read in 0 of 1 metrics.**" in summary(-0.5)
    assert "in 0 of 1 metrics" in summary(0.0)
    alone = [r for r in comparison.rows if r.method == NETWORK]
    page = render_scores(subject, data, replace(comparison, rows=alone))
    assert "**No metric could be compared with the twin or a cheat" in page


def test_nothing_is_counted_for_a_network_that_does_not_know_the_classes(toy):
    """Of 60 images in three equal classes, 27 right answers are by chance one time in 20."""
    subject, data, comparison = made(small_network(), toy, ["focus_compactness"])
    for correct, is_counted in ((20, False), (26, False), (27, True), (60, True)):
        page = render_scores(subject, data, replace(comparison, correct=correct))
        assert ("Better than the untrained twin" in page) == is_counted
        assert (f"{correct} of 60 answers are right, and naming the" in page) != is_counted
        assert ("for every image gives 20. So nothing is counted" in page) != is_counted
    page = render_scores(subject, data, replace(comparison, correct=None))
    assert "Better than the untrained twin" in page  # where answers are not compared
    for different, is_said in ((1, True), (2, False)):
        page = render_scores(subject, data, replace(comparison, different=different))
        assert ("gives the same answer for every image" in page) == is_said


def test_a_reason_names_the_columns_and_layers_that_share_it(toy):
    subject, data, comparison = made(small_network(), toy, ["concept_localisation"])
    gone = {"value": None, "reason": "undefined on this network"}
    rows = [r.model_copy(update=gone) if r.layer == "1" and r.method.endswith(("energy", "noise"))
            else r for r in comparison.rows]  # fmt: skip
    page = render_scores(subject, data, replace(comparison, rows=rows))
    assert "no number for any column at `4`: the map is too coarse" in page
    assert "no number for any column at `1`" not in page
    assert "no number for energy and noise at `1`: undefined on this network" in page


def test_it_says_why_a_network_was_not_traced(toy):
    subject, data, comparison = made(Branching(), toy)
    page = render_scores(subject, data, comparison)
    assert re.search(r"\*\*Not traced:\*\* the network cannot be traced after 'lt'", page)
    assert page.count("cannot be traced after") == 2  # there, and at pruning


def test_every_aspect_has_a_question_and_every_impostor_a_description():
    assert set(QUESTIONS) == set(ASPECTS) and set(ABOUT_IMPOSTORS) == set(IMPOSTORS)


def test_nothing_is_said_of_random_weights(toy):
    subject, data, comparison = made(small_network(), toy)
    page = render_scores(replace(subject, weights=RANDOM_WEIGHTS), data, comparison)
    assert "weights are random, as its twin's: nothing follows" in page and "Better" not in page
