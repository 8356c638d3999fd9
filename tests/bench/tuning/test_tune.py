"""Tuning a toy suite: what is read, stored, made again and refused."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
import torch
from tiny_suites import TUNED_SUITE

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites import run_spec, schema
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning import tune as tuning
from legible.bench.tuning.trials import Result, plan_trials

BLOCK = ("toy(classes=6)", "vgg(width=4,stages=2)")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_plugin):
    """A suite that was tuned once: the suite, its workspace and its results."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "tiny.toml").write_text(TUNED_SUITE)
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
    """Names of the runs that were trained or scored."""
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
    manifest = workspace.run_of(plan_trials(suite)[0].spec).require_manifest()
    assert table.accuracy[0] == pytest.approx(manifest.validation_accuracy)
    assert "no search space" in table.reason[0]


def test_a_second_time_nothing_is_made_and_the_bytes_are_the_same(workplace, worked):
    suite, workspace, results = workplace
    before = text_of(workplace)
    tuning.run_trials(workspace, suite, results, jobs=1)
    assert worked == [] and text_of(workplace) == before


def test_what_was_lost_is_made_again_and_nothing_else(workplace, worked):
    suite, workspace, results = workplace
    before, lost = text_of(workplace), plan_trials(suite)[2].spec
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
    spec = plan_trials(suite)[0].spec
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
    probe, whole = workspace.probe(final[1]), workspace.dataset(final[1])
    assert torch.equal(probe.labels, whole.test.labels[:40])
    assert probe.concepts.names == ("square0", "square3", "square5")
    trial = workspace.probe(plan_trials(suite)[0].spec)
    assert torch.equal(trial.labels, whole.validation.labels[:40])
    assert trial.concepts.names == ("square1", "square2", "square4")


def test_a_suite_that_tunes_nothing_is_left_as_it_is(workplace, tmp_path):
    plain = workplace[0].model_copy(update={"tune": None})
    specs = run_spec.expand(plain)
    assert tuning.tuned_specs(plain, specs, tmp_path) == specs


def test_a_tuning_seed_cannot_test(workplace):
    suite, _, results = workplace
    with pytest.raises(UserError, match="seed 100 was used to choose settings"):
        tuning.tuned_specs(suite, run_spec.expand(suite, [0, 100]), results)


def test_a_plugin_s_method_that_was_not_tuned_has_its_default_setting(
    workplace, tmp_path, kept_registry
):
    suite, _, results = workplace
    (tmp_path / "mine.py").write_text(
        "from legible import Method, register\n@register\nclass Mine(Method):\n"
        "    def __init__(self, strength: float = 2.0) -> None:\n"
        "        super().__init__(strength)\n"
    )
    registry.load_plugin(tmp_path / "mine.py")
    larger = schema.with_plugins(suite, [tmp_path / "mine.py"])
    specs = run_spec.expand(larger, [0], ["dropout", "mine"])
    dropout, mine = tuning.tuned_specs(larger, specs, results)
    assert mine.params["strength"] == 2.0 and mine.row == run_spec.RowKey("mine", "{}")
    assert mine.stage == dropout.stage == "final"


def test_the_package_s_own_ledger_is_read_where_there_is_no_other(workplace, tmp_path, monkeypatch):
    suite, _, results = workplace
    monkeypatch.setattr(tuning, "PACKAGED", results)
    assert tuning.read(suite, tmp_path).trials == tuning.read(suite, results).trials
    (tmp_path / suite.name).mkdir()
    (tmp_path / suite.name / ledgers.FILE).write_text("")
    with pytest.raises(UserError, match="the columns are not"):
        tuning.read(suite, tmp_path)


def results_of(planned, value):
    """Made-up trials: every setting as accurate as plain, ``value(setting)`` its metric."""
    return [
        p.trial("netdissect_iou", Result("conv4", value(json.loads(p.setting)), 0.9))
        for p in planned
    ]


class TestEdges:
    """An optimum at the edge of the strengths tried asks for one more value beyond it."""

    @staticmethod
    def strengths(suite, value, rounds=9):
        """The strengths of activation_l1 that are tried, by number."""
        base, trials = plan_trials(suite), []
        for _ in range(rounds):
            planned = tuning.with_extensions(suite, base, trials)
            trials = results_of(planned, value)
        return [json.loads(p.setting)["strength"] for p in planned
                if p.spec.method == "activation_l1"]  # fmt: skip

    @staticmethod
    def extended(suite, number):
        return suite.model_copy(
            update={"tune": suite.tune.model_copy(update={"extensions": number})}
        )

    def test_it_goes_on_to_the_limit_or_until_the_best_lies_within(self, workplace):
        suite = self.extended(workplace[0], 3)
        base = [0.1, 10.0]
        assert self.strengths(suite, lambda s: s.get("strength", 0)) == [*base, 1e3, 1e5, 1e7]
        within = self.strengths(suite, lambda s: -abs(s.get("strength", 0) - 900))
        assert within == [*base, 1e3, 1e5]
        assert self.strengths(workplace[0], lambda s: s.get("strength", 0)) == base

    def test_a_real_ledger_holds_them_and_is_refused_without(self, workplace, tmp_path):
        suite, workspace, _ = workplace
        longer = self.extended(suite, 1)
        path = tuning.run_trials(workspace, longer, tmp_path, jobs=1)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        counts = table.groupby("method").size().to_dict()
        assert counts == {"plain": 1, "untrained": 1, "activation_l1": 3, "dropout": 3}
        ledger = tuning.read(longer, tmp_path)
        assert len(ledger.trials) == len(table)
        table[table["number"] != "2"].to_csv(path, index=False)
        (path.parent / "publication.json").unlink(missing_ok=True)  # its checksum
        with pytest.raises(UserError, match="does not fit the suite"):
            tuning.read(longer, tmp_path)


def test_one_block_may_choose_for_all(workplace, tmp_path, toy_plugin):
    text = TUNED_SUITE.replace("trials = 2", 'trials = 2\ndataset = "toy"')
    other = text[text.index("[[blocks]]") :].replace('"toy"', '"planted"')
    other = other.replace("classes = 6", "parts = 4")
    (tmp_path / "tiny.toml").write_text(text + other)
    suite = schema.read_suite(tmp_path / "tiny.toml")
    specs = run_spec.expand(suite, [0])
    final = tuning.tuned_specs(suite, specs, workplace[2])
    chosen = {spec.method: spec.params for spec in final if spec.dataset == "toy"}
    assert [spec.stage for spec in final] == ["final"] * 4 + [""] * 4
    assert all(spec.params == chosen[spec.method] for spec in final)
    assert [spec.row for spec in final] == [spec.row for spec in specs]


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

    suite, measure = workplace[0], score.score_metric

    def broken(item, *rest):
        if item.name == "netdissect_iou":
            raise ZeroDivisionError("no\nunits")
        return measure(item, *rest)

    monkeypatch.setattr(score, "score_metric", broken)
    with pytest.raises(UserError, match=r"plain has no netdissect_iou .* no units"):
        tuning.run_trials(Workspace(Store(tmp_path / "runs")), suite, tmp_path, jobs=1)
    assert not (tmp_path / suite.name).exists()


def test_missing_data_and_a_skipped_method_are_told_apart(workplace, tmp_path, toy_plugin):
    text = TUNED_SUITE
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
