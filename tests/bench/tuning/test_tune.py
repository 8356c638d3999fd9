"""`legible tune` from end to end on a toy suite: what it reads, keeps, repeats and refuses."""

from __future__ import annotations

import dataclasses
import json
import sys

import pandas as pd
import pytest
import torch

from legible.bench.cli import main as cli
from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard.publish import publish
from legible.bench.plugins import registry
from legible.bench.suites import run_spec, schema
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning import tune as tuning
from legible.bench.tuning.trials import plan

SUITE = """
title = "Tiny"
seeds = [0, 1, 2]
probe = 40
layers = ["last_spatial"]
aspects = ["task", "semantics"]
plugins = ["{plugin}"]
methods = ["plain", "activation_l1", "dropout", "untrained"]
[tune]
metric = "netdissect_iou"
trials = 2
seeds = [100]
tolerance = 0.05
[recipe]
epochs = 2
batch = 16
lr = 1e-2
[[blocks]]
dataset = "toy"
data = {{classes = 6}}
backbone = "vgg"
net = {{width = 4, stages = 2}}
"""
BLOCK = ("toy(classes=6)", "vgg(width=4,stages=2)")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_plugin):
    """A folder with a suite that was tuned once: suite, bench and results."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "tiny.toml").write_text(SUITE.format(plugin=toy_plugin))
    suite = schema.read_suite(folder / "tiny.toml")
    workspace = Workspace(Store(folder / "runs"))
    tuning.run_trials(workspace, suite, folder / "results", jobs=1)
    return suite, workspace, folder / "results"


def text_of(workplace):
    suite, _, results = workplace
    return (results / suite.name / ledgers.FILE).read_text()


@pytest.fixture
def copied(workplace, tmp_path):
    """The same ledger in a folder of its own, to be spoilt."""
    suite, workspace, _ = workplace
    path = tmp_path / suite.name / ledgers.FILE
    path.parent.mkdir()
    path.write_text(text_of(workplace))
    return suite, workspace, path


@pytest.fixture
def worked(monkeypatch):
    """Names of the cells that were trained or scored."""
    names = []
    work_off = schedule.work_off

    def spy(workspace, specs, *rest):
        names.extend(c.name for c in specs)
        return work_off(workspace, specs, *rest)

    monkeypatch.setattr(schedule, "work_off", spy)
    return names


def test_the_ledger_holds_every_trial_and_one_choice_a_method(workplace):
    suite, workspace, results = workplace
    table = pd.read_csv(results / suite.name / ledgers.FILE)
    assert table.groupby("method", sort=False).size().to_dict() == {
        "plain": 1, "activation_l1": 2, "dropout": 2, "untrained": 1,
    }  # fmt: skip
    assert (table.chosen == "yes").groupby(table.method).sum().eq(1).all()
    assert set(table.seed) == {100} and set(table.layer) == {"conv4"}
    manifest = workspace.run_of(plan(suite)[0].spec).manifest()
    assert table.accuracy[0] == pytest.approx(manifest["validation_accuracy"])
    assert "no search space" in table.reason[0]


def test_a_second_time_nothing_is_made_and_the_bytes_are_the_same(workplace, worked):
    suite, workspace, results = workplace
    before = text_of(workplace)
    tuning.run_trials(workspace, suite, results, jobs=1)
    assert worked == [] and text_of(workplace) == before


def test_what_was_lost_is_made_again_and_nothing_else(workplace, worked):
    suite, workspace, results = workplace
    before, lost = text_of(workplace), plan(suite)[2].spec
    run = workspace.run_of(lost)
    for file in run.folder.glob("*.json"):
        file.unlink()
    tuning.run_trials(workspace, suite, results, jobs=1)
    assert worked == [lost.name] and text_of(workplace) == before


def test_some_methods_alone_keep_the_lines_of_the_others(copied):
    suite, workspace, path = copied
    before = path.read_text()
    tuning.run_trials(workspace, suite, path.parents[1], 1, methods=["dropout"])
    assert path.read_text() == before
    path.unlink()
    tuning.run_trials(workspace, suite, path.parents[1], 1, methods=["dropout"])
    assert set(pd.read_csv(path).method) == {"plain", "dropout"}
    with pytest.raises(UserError, match=r"'activation_l1' on .* run `legible tune tiny`"):
        tuning.tuned_specs(suite, run_spec.expand(suite), path.parents[1])


def test_test_data_is_never_read_to_choose(workplace, tmp_path, monkeypatch):
    """Test images, labels and masks are spoilt: everything is trained again, to the same ledger."""
    suite = workplace[0]
    load = registry.DATASETS["toy"]

    def spoilt(root, images: int = 96, size: int = 16, classes: int = 3, missing: bool = False):
        data = load(root, images, size, classes)
        test = data.test
        concepts = dataclasses.replace(test.concepts, packed=test.concepts.packed.flip(0, 2))
        return dataclasses.replace(data, test=dataclasses.replace(
            test, images=255 - test.images, labels=test.labels.roll(1), concepts=concepts
        ))  # fmt: skip

    monkeypatch.setitem(registry.DATASETS, "toy", spoilt)
    workspace = Workspace(Store(tmp_path / "runs"))
    tuning.run_trials(workspace, suite, tmp_path, jobs=1)
    spec = plan(suite)[0].spec
    assert workspace.run_of(spec).name != workplace[1].run_of(spec).name
    assert (tmp_path / suite.name / ledgers.FILE).read_text() == text_of(workplace)


def test_validation_data_does_choose(workplace, tmp_path, monkeypatch):
    """The other side of the test above: spoilt validation labels do change the ledger."""
    suite = workplace[0]
    load = registry.DATASETS["toy"]

    def spoilt(root, images: int = 96, size: int = 16, classes: int = 3, missing: bool = False):
        data = load(root, images, size, classes)
        labels = data.validation.labels.roll(1)
        return dataclasses.replace(
            data, validation=dataclasses.replace(data.validation, labels=labels)
        )

    monkeypatch.setitem(registry.DATASETS, "toy", spoilt)
    tuning.run_trials(Workspace(Store(tmp_path / "runs")), suite, tmp_path, jobs=1)
    assert (tmp_path / suite.name / ledgers.FILE).read_text() != text_of(workplace)


def test_the_suite_runs_with_what_was_chosen(workplace):
    suite, workspace, results = workplace
    ledger = tuning.read(suite, results)
    specs = run_spec.expand(suite)
    final = tuning.tuned_specs(suite, specs, results)
    for spec, before in zip(final, specs, strict=True):
        chosen = ledger.choices[(*BLOCK, *before.row)].outcome.setting
        assert spec.stage == "final" and spec.row == before.row and spec.seed in (0, 1, 2)
        assert all(spec.params[k] == v for k, v in json.loads(chosen).items())
    schedule.run_all(workspace, final[:2], 1, [])
    probe, whole = workspace.probe(final[1]), workspace.dataset("toy", {"classes": 6})[0]
    assert torch.equal(probe.labels, whole.test.labels[:40])
    assert probe.concepts.names == ("square0", "square3", "square5")
    tried = workspace.probe(plan(suite)[0].spec)
    assert torch.equal(tried.labels, whole.validation.labels[:40])
    assert tried.concepts.names == ("square1", "square2", "square4")


def test_a_suite_that_tunes_nothing_is_left_as_it_is(workplace, tmp_path):
    plain = workplace[0].model_copy(update={"tune": None})
    specs = run_spec.expand(plain)
    assert tuning.tuned_specs(plain, specs, tmp_path) == specs


def test_a_tuning_seed_cannot_test(workplace):
    suite, _, results = workplace
    with pytest.raises(UserError, match="seed 100 chose the settings"):
        tuning.tuned_specs(suite, run_spec.expand(suite, [0, 100]), results)


def other_choice(lines):
    """Another setting of dropout is marked as the chosen one."""
    flags = {"yes": "", "": "yes"}
    return [x | {"chosen": flags[x["chosen"]]} if x["method"] == "dropout" else x for x in lines]


def better_metric(lines):
    """A setting that was not chosen has the best metric, at no cost."""
    spoilt = {"value": "0.99", "accuracy": "1.0"}
    return [x | spoilt if x["method"] == "dropout" and not x["chosen"] else x for x in lines]


def edited(column, old, new):
    """One column is changed wherever it reads ``old``."""
    return lambda lines: [x | {column: new} if x[column] == old else x for x in lines]


@pytest.mark.parametrize(
    "edit",
    [
        other_choice,
        better_metric,
        edited("setting", '{"p": 0.2}', '{"p": 0.21}'),
        edited("method", "dropout", "bean"),
        edited("reason", "no search space", "the best of all"),
        edited("metric", "netdissect_iou", "part_interpretability"),
        edited("declared", "{}", '{"p": 0.9}'),
        lambda lines: lines[:-2] + lines[-1:],
        lambda lines: [*lines, lines[-1]],
        lambda lines: lines[::-1],
    ],
)
def test_a_ledger_edited_by_hand_is_refused(copied, edit):
    suite, _, path = copied
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    lines = edit(table.to_dict("records"))
    assert lines != table.to_dict("records")
    pd.DataFrame(lines).to_csv(path, index=False)
    with pytest.raises(UserError, match="run `legible tune tiny`") as error:
        tuning.tuned_specs(suite, run_spec.expand(suite), path.parents[1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"tolerance": 0.0, "trials": 3},
        {"epochs": 1},
        {"seeds": [101]},
        {"metric": "part_interpretability"},
    ],
)
def test_a_ledger_of_another_table_is_refused(copied, change):
    suite, _, path = copied
    other = suite.model_copy(update={"tune": suite.tune.model_copy(update=change)})
    with pytest.raises(UserError, match=r"does not fit the suite .* run `legible tune tiny`"):
        tuning.tuned_specs(other, run_spec.expand(other), path.parents[1])


def test_a_ledger_of_another_recipe_is_refused(copied):
    suite, _, path = copied
    recipe = suite.recipe.model_copy(update={"epochs": 3})
    with pytest.raises(UserError, match="does not fit the suite"):
        tuning.read(suite.model_copy(update={"recipe": recipe}), path.parents[1])


def test_a_trial_that_fails_is_kept_and_never_chosen(workplace, tmp_path, monkeypatch):
    suite, workspace, _ = workplace
    cls = registry.METHODS["activation_l1"]
    monkeypatch.setattr(cls, "search", {"strength": (0.1, 1e39)})
    path = tuning.run_trials(workspace, suite, tmp_path, jobs=1)
    table = pd.read_csv(path, keep_default_na=False)
    failed = table[table.problem.str.startswith("failed:")]
    assert list(failed.method) == ["activation_l1"] and "not finite" in failed.problem.iloc[0]
    assert list(failed.chosen) == [""] and list(failed.reason) == ["not trained on every seed"]


def test_a_metric_that_breaks_is_named_and_nothing_chosen(workplace, tmp_path, monkeypatch):
    from legible.bench.scoring import score

    suite, measure = workplace[0], score.score

    def broken(item, *rest):
        if item.name == "netdissect_iou":
            raise ZeroDivisionError("no\nunits")
        return measure(item, *rest)

    monkeypatch.setattr(score, "score", broken)
    with pytest.raises(UserError, match=r"plain has no netdissect_iou .* no units"):
        tuning.run_trials(Workspace(Store(tmp_path / "runs")), suite, tmp_path, jobs=1)
    assert not (tmp_path / suite.name).exists()


def test_missing_data_and_a_skipped_method_are_told_apart(workplace, tmp_path, toy_plugin):
    text = SUITE.format(plugin=toy_plugin)
    (tmp_path / "gone.toml").write_text(text.replace("classes = 6", "missing = true"))
    workspace = Workspace(Store(tmp_path / "runs"))
    with pytest.raises(UserError, match="made, not fetched"):
        tuning.run_trials(workspace, schema.read_suite(tmp_path / "gone.toml"), tmp_path, jobs=1)
    flat = text.replace('"dropout"', '"iccnn"').replace('"vgg"', '"mlp"')
    flat = flat.replace("net = {width = 4, stages = 2}", "net = {hidden = [8]}")
    flat = flat.replace("netdissect_iou", "accuracy_own_units").replace(
        '"semantics"', '"class specificity"'
    )
    (tmp_path / "flat.toml").write_text(flat)
    path = tuning.run_trials(workspace, schema.read_suite(tmp_path / "flat.toml"), tmp_path, jobs=1)
    table = pd.read_csv(path, keep_default_na=False)
    skipped = table[table.method == "iccnn"]
    assert len(skipped) == 2 and skipped.problem.str.startswith("skipped: needs").all()


@pytest.mark.slow
def test_publishing_shows_the_headline_number_the_trials_and_the_setting(workplace, tmp_path):
    suite, workspace, results = workplace
    specs = tuning.tuned_specs(suite, run_spec.expand(suite), results)
    schedule.run_all(workspace, specs, 1, [])

    def made():
        readme = publish(workspace, suite, specs, results, False, "legible", with_pictures=False)
        return {p.name: p.read_bytes() for p in readme.parent.rglob("*") if p.is_file()}

    files = made()
    assert made() == files and {"doses-0.svg", "fronts-0.svg", ledgers.FILE} <= set(files)
    text = files["README.md"].decode()
    assert text.index("## Interpretability at a cost of at most 5 points of accuracy") < (
        text.index("## Overall")
    )
    ledger = tuning.read(suite, results)
    choice = ledger.choices[(*BLOCK, "dropout", "{}")]
    scores = pd.read_csv(results / suite.name / "scores.csv")
    iou = scores[scores.metric == "netdissect_iou"].pivot(
        index="seed", columns="method", values="value"
    )
    gain = (iou["dropout"] - iou["plain"]).mean()
    (line,) = [x for x in text.partition("## Overall")[0].splitlines() if x.startswith("| dropout")]
    mask_counts = [part.strip() for part in line.strip("|").split("|")]
    shown = float(mask_counts[1].split(" ")[0].replace("−", "-"))
    assert shown == pytest.approx(gain, abs=0.006) and "±" in mask_counts[1]
    strength = json.loads(choice.outcome.setting)["p"]
    assert mask_counts[3] == f"p={strength}" and mask_counts[4] == "2"
    assert len(json.loads(files["leaderboard.json"])["trials"]) == 6
    assert b"at most 5 points of accuracy" in files["report.html"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tune", "quick"], "suite 'quick' has no [tune] table"),
        (["tune", "contst"], "did you mean 'contest'?"),
        (["tune", "contest", "--methods", "snyc"], "did you mean 'sync'?"),
        (["run", "contest", "--dry-run"], "run `legible tune contest` first"),
        (["publish", "contest"], "run `legible tune contest` first"),
        (["tune", "contest", "--jobs", "-1"], "--jobs must be 0"),
    ],
)
def test_a_wrong_command_is_one_line(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["legible", *args, "--device", "cpu"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    err = capsys.readouterr().err
    assert left.value.code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_a_dry_run_lists_the_trials_and_makes_none(tmp_path, monkeypatch, capsys, toy_plugin):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(SUITE.format(plugin=toy_plugin))
    words = ["legible", "tune", "tiny.toml", "--dry-run", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0 and "6 to run" in capsys.readouterr().out
    assert not (tmp_path / "results").exists() and not list((tmp_path / "runs").glob("toy*"))
