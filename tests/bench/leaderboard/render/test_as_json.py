"""leaderboard.json: strict JSON that holds the tables as data and names no run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from legible.bench.leaderboard.publication import make_publication
from legible.bench.leaderboard.render.as_json import render_json


@pytest.fixture(scope="module")
def text(publication):
    return render_json(publication)


@pytest.fixture(scope="module")
def value(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_versions_and_the_file_of_the_raw_scores(value, text, board):
    assert value["leaderboard_version"] == 5 and value["schema_version"] == 1
    assert value["scores"] == "scores.csv"
    assert not any(run in text for run in board.table["run"].unique() if run)


def test_tables_stand_by_section_and_details_by_block(value, publication):
    sections = [table["section"] for table in value["tables"]]
    assert sections.count("Aspects by block") == 4 and sections[0] == "Verdicts"
    assert len(value["details"]) == sum(len(page.tables) for page in publication.pages)
    assert {tuple(table["block"]) for table in value["details"]} == set(publication.board.blocks)
    for table in value["tables"] + value["details"]:
        assert {len(row["cells"]) for row in table["rows"]} == {len(table["columns"])}


def test_a_table_cell_holds_numbers_and_marks(value):
    table = next(table for table in value["tables"] if table["metric"] == "dispersion")
    row = next(row for row in table["rows"] if row.get("settings"))
    assert (row["method"], row["params"], row["group"]) == ("sync", '{"strength": 2.0}', "method")
    cell = row["cells"][0]
    assert cell["trained_on"]
    assert cell["mean"] == pytest.approx(0.45, abs=5e-3)
    assert cell["difference"]["sign"] == "▲"
    assert table["columns"][0] == {"title": "kanji · vgg", "layer": "stage2"}


def test_verdicts_and_contrasts_are_records(value, publication):
    assert value["summary"] == publication.summary and value["partial"] == ""
    sync = [r for r in value["verdicts"] if (r["method"], r["params"]) == ("sync", "{}")]
    whole = {record["aspect"]: record["sign"] for record in sync if not record["dataset"]}
    assert whole == {
        "task": "worse", "focus": "better", "semantics": "better", "structure": "untested",
    }  # fmt: skip
    assert {record["aspect"] for record in value["contrasts"]} == set(whole)
    assert "ranks" not in value


def test_metrics_costs_conclusions_and_agreement(value):
    assert value["metrics"]["rank"]["remark"] == "moves with the number of units"
    assert len(value["cost"]) == 12
    assert np.array(value["agreement"]["spearman"]).shape == (4, 4)
    assert {"about", "text"} == set(value["conclusions"][0])


def test_a_tuned_suite_holds_its_trials(tuned, value):
    assert "trials" not in value
    assert len(json.loads(render_json(make_publication(tuned)))["trials"]) == 16
