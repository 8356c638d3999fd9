"""Impostors of a suite's plain runs are scored, with impostors of the next seed beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from legible.bench.api import prepare
from legible.bench.cards.headlines import main
from legible.bench.cards.impostor_scores import impostor_rows
from legible.bench.execution.schedule import run_all
from legible.bench.scores.collect import score_table
from legible.bench.scores.headline_conditions import IMPOSTOR
from legible.bench.scores.score_table import read_scores, scores_text
from legible.bench.scoring.impostors import IMPOSTORS

SUITE = """
title = "Cards, tiny"
seeds = [0, 1]
layers = ["last_spatial"]
probe = 60
aspects = ["task", "focus", "semantics", "class specificity", "consistency"]
methods = ["plain", "untrained", "plain_rotated"]
[recipe]
epochs = 1
batch = 64
[[blocks]]
dataset = "shapes"
data = {train = 128, validation = 20, test = 60, classes = 4}
backbone = "vgg"
net = {width = 4, depth = 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    (folder / "cards.toml").write_text(SUITE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def here(folder):
    prepared = prepare(
        str(folder / "cards.toml"), device="cpu", runs=folder / "runs", results=folder / "results"
    )
    run_all(prepared.workspace, prepared.specs, 1, [])
    return prepared


def test_every_impostor_of_every_plain_run_is_scored(here):
    rows = impostor_rows(here.workspace, here.specs)
    places = {(row.method, row.seed) for row in rows}
    expected = {(IMPOSTOR + name, seed) for name in IMPOSTORS for seed in (0, 1)}
    assert places >= expected
    metrics = {row.metric for row in rows if row.method == IMPOSTOR + "label"}
    assert "class_selectivity" in metrics and "matched_correlation" in metrics
    assert not {"accuracy", "own_unit_share"} & metrics
    by = {(r.method, r.metric, r.seed): r.value for r in rows}
    assert by[IMPOSTOR + "label", "class_selectivity", 0] == 1
    # both seeds' impostors know the same labels
    assert by[IMPOSTOR + "label", "matched_correlation", 0] == pytest.approx(1)
    assert by[IMPOSTOR + "label", "matched_dimensions", 0] is None


def test_the_command_writes_both_tables(here, folder, capsys):
    cards = folder / "results" / "cards"
    cards.mkdir(parents=True)
    text = scores_text(score_table(here.workspace, here.specs))
    (cards / "scores.csv").write_text(text, encoding="utf-8")
    options = ["--suite", str(folder / "cards.toml"), "--runs", str(folder / "runs")]
    main([*options, "--results", str(folder / "results")])
    impostors = read_scores(cards / "impostors.csv")
    assert set(impostors["kind"]) == {"null"}
    first = (cards / "headlines.csv").read_bytes()
    assert b"impostor label" in first and "* accuracy" in capsys.readouterr().out
    main([*options, "--results", str(folder / "results"), "--keep-impostors"])
    assert (cards / "headlines.csv").read_bytes() == first
