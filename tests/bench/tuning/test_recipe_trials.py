"""Tuning the recipe of plain on a toy suite: the ledger, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny_suites import toy_suite

from legible.bench.errors import UserError
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import Block, expand
from legible.bench.suites.schema import SUITES, find_suite, read_suite
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning.recipe_trials import (
    block_templates,
    plan_first_trials,
    read_recipes,
    run_recipe_trials,
)

ROOT = Path(__file__).parents[3]
TABLE = """
[tune_recipe]
lr = [1e-4, 1e-3]
weight_decay = [0.1, 0.3]
seeds = [7, 8]
longest = 2
tolerance = 0.5
"""
TEXT = toy_suite('"plain", "sync"', top=TABLE)
BLOCK = Block("toy", "vgg(width=4,stages=2)")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_plugin):
    """A suite whose recipe was tuned once: the suite, its workspace and its results."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "tiny.toml").write_text(TEXT)
    suite = read_suite(folder / "tiny.toml")
    workspace = Workspace(Store(folder / "runs"))
    run_recipe_trials(workspace, suite, folder / "results", jobs=1)
    return suite, workspace, folder / "results"


@pytest.fixture
def table(workplace):
    suite, _, results = workplace
    return pd.read_csv(results / suite.name / ledgers.FILE, dtype=str, keep_default_na=False)


def test_the_grid_is_trained_with_plain_on_every_tuning_seed(workplace, table):
    suite, workspace, _ = workplace
    settings = [json.loads(text) for text in table.setting]
    grid = [(s["lr"], s["weight_decay"]) for s in settings[:8:2]]
    assert grid == [(1e-4, 0.1), (1e-4, 0.3), (1e-3, 0.1), (1e-3, 0.3)]
    assert set(table.method) == {"plain"} and list(table.seed[:4]) == ["7", "8", "7", "8"]
    first = plan_first_trials(suite)[0].spec
    manifest = workspace.run_of(first).require_manifest()
    assert float(table.accuracy[0]) == pytest.approx(manifest.validation_accuracy)
    assert first.recipe.lr == 1e-4 and first.stage == "tuning"


def test_the_best_is_no_edge_and_twice_its_epochs_are_tried(workplace, table):
    suite, _, results = workplace
    choice = read_recipes(suite, results)[BLOCK]
    chosen = table[table.chosen == "yes"]
    assert len(chosen) == 2 and set(chosen.reason) == {choice.reason}
    assert choice.accuracy == pytest.approx(chosen.accuracy.astype(float).mean())
    tried = [json.loads(text) for text in table.setting]
    for name in ("lr", "weight_decay"):
        values = [s[name] for s in tried if s["epochs"] == choice.point.epochs]
        assert min(values) < getattr(choice.point, name) < max(values)
    assert {"epochs": 2, "lr": choice.point.lr, "weight_decay": choice.point.weight_decay} in tried


def test_a_second_time_the_ledger_is_the_same(workplace):
    suite, workspace, results = workplace
    path = results / suite.name / ledgers.FILE
    before = path.read_bytes()
    run_recipe_trials(workspace, suite, results, 1, datasets=["toy"])
    assert path.read_bytes() == before


def longer_is_better(table):
    """Twice the epochs gain more than the tolerance."""
    doubled = table.setting.str.contains('"epochs": 2')
    return table.assign(accuracy=table.accuracy.where(~doubled, "1.0"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t[:-2], "trials of toy, vgg"),
        (lambda t: t[::-1], "does not fit the suite"),
        (lambda t: t.assign(chosen="", reason="none"), "not what the numbers give"),
        (longer_is_better, "trials of toy"),
        (lambda t: t.assign(setting='{"strength": 1.0}'), "not one of a recipe"),
        (lambda t: t.assign(setup="0" * 12), "does not fit the suite"),
    ],
)
def test_a_ledger_edited_by_hand_is_refused(workplace, table, tmp_path, edit, message):
    suite = workplace[0]
    (tmp_path / suite.name).mkdir()
    edit(table).to_csv(tmp_path / suite.name / ledgers.FILE, index=False)
    with pytest.raises(UserError, match="run `legible tune tiny`") as error:
        read_recipes(suite, tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_without_the_table_or_the_ledger_there_is_no_recipe(workplace, tmp_path):
    suite = workplace[0]
    with pytest.raises(UserError, match=r"no ledger .*; run `legible tune tiny`"):
        read_recipes(suite, tmp_path)
    with pytest.raises(UserError, match=r"no \[tune_recipe\] table"):
        plan_first_trials(suite.model_copy(update={"tune_recipe": None}))
    with pytest.raises(UserError, match="seed 7 is also one that the suite tests with"):
        plan_first_trials(suite.model_copy(update={"seeds": [7]}))


#: Suites that rebuild a paper's experiment, or that are published as they were run.
OWN_RECIPE = {"bean_accuracy", "bean_assemblies", "bean_fewshot", "sync_dynamics", "recipes"}


def test_built_in_suites_use_the_recipes_that_the_ledger_chooses():
    registry.load()
    recipes = read_recipes(read_suite(find_suite("recipes")), ROOT / "results")
    assert set(recipes) == set(block_templates(read_suite(find_suite("recipes"))))
    by_dataset = {block.dataset.partition("(")[0]: choice for block, choice in recipes.items()}
    compared = set()
    for path in SUITES.glob("*.toml"):
        for spec in expand(read_suite(path)) if path.stem not in OWN_RECIPE else []:
            if spec.method == "plain" and spec.dataset in by_dataset:
                point = by_dataset[spec.dataset].point
                assert spec.recipe.model_dump(include=set(point._fields)) == point._asdict()
                compared.add((path.stem, spec.block.dataset))
    assert {name for name, _ in compared} >= {"standard", "sync_ablation", "cards", "quick"}


def test_the_tolerance_is_larger_than_its_standard_error():
    registry.load()
    suite = read_suite(find_suite("recipes"))
    for choice in read_recipes(suite, ROOT / "results").values():
        assert choice.error < suite.tune_recipe.tolerance or choice.gain != choice.gain
