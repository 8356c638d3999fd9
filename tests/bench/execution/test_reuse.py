"""Reuse of published scores: when a published run is finished, and when it has to be run again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tiny_suites import toy_suite, work, write_suite

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.pairs import between_seeds
from legible.bench.execution.reuse import (
    current_scores,
    is_complete,
    published_run,
    record_of,
    refuse_namesakes,
    reused,
)
from legible.bench.execution.schedule import plan_runs
from legible.bench.execution.store import WEIGHTS
from legible.bench.execution.workspace import probe_key
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import read_suite


def statuses(published, specs):
    return [item.status for item in plan_runs(published.workspace, specs)]


def changed(table, **changes):
    """The table with a change in the record of each run."""
    runs = {name: replace(record, **changes) for name, record in table.runs.items()}
    return replace(table, runs=runs)


def with_stale(table, metric):
    """The table as if other code of a metric had made its values."""
    (record, *_) = table.runs.values()
    metrics = {**record.scoring.metrics, metric: "f" * 14}
    return changed(table, scoring=record.scoring.model_copy(update={"metrics": metrics}))


def without(table, metric):
    """The table as if a metric had not been measured."""
    (record, *_) = table.runs.values()
    metrics = {name: key for name, key in record.scoring.metrics.items() if name != metric}
    return changed(table, scoring=record.scoring.model_copy(update={"metrics": metrics}))


def test_published_runs_are_finished_and_nothing_is_trained(published, capsys):
    assert statuses(published, published.specs) == ["published"] * 6
    schedule.run_all(published.workspace, published.specs, 1, [])
    assert "0 of 6 runs to do (0 done, 6 published) on cpu" in capsys.readouterr().out
    assert published.runs == []


def test_a_run_that_is_here_is_done_and_stands_for_itself(published):
    plain = published.specs[0]
    assert reused(published.workspace, plain).record.run == published.made.run_of(plain).name
    published.made.published = published.workspace.published
    assert [item.status for item in plan_runs(published.made, published.specs)] == ["done"] * 6
    assert reused(published.made, plain) is None and is_complete(published.made, plain)
    published.made.run_of(plain).save_scores(probe_key(published.made, plain), {})
    assert reused(published.made, plain) is not None
    assert plan_runs(published.made, [plain])[0].status == "published"


def test_damage_here_is_named_and_made_again_though_published_values_exist(published, capsys):
    plain, sync = published.specs[0], published.specs[1]
    made = published.made
    made.published = published.workspace.published
    scores = made.run_of(plain).scores_file(probe_key(made, plain))
    weights = made.run_of(sync).folder / WEIGHTS
    before = scores.read_bytes(), weights.read_bytes()
    scores.write_bytes(b"")
    weights.write_bytes(before[1][:-1])
    plan = plan_runs(made, [plain, sync])
    assert [item.status for item in plan] == ["to score", "to run"]
    assert "scores" in plan[0].reason and WEIGHTS in plan[1].reason
    assert schedule.attempt(made, [plain, sync], 1, []) == []
    out = capsys.readouterr().out
    assert f"{scores.name}: " in out and f"{WEIGHTS}: " in out and out.count("set aside as") == 2
    assert "trained again, because" not in out
    assert (json.loads(scores.read_bytes())["scores"].keys()
            == json.loads(before[0])["scores"].keys())  # fmt: skip
    assert weights.read_bytes() == before[1]


def test_other_parameters_recipes_and_seeds_are_not_published(published):
    plain = published.specs[0]
    longer = replace(plain, recipe=plain.recipe.model_copy(update={"epochs": 2}))
    assert published_run(published.workspace, longer) is None
    assert published_run(published.workspace, replace(plain, seed=7)) is None
    assert statuses(published, [longer, replace(plain, seed=7, partner=None)]) == ["to run"] * 2


def test_values_of_an_older_metric_are_stale_and_not_trained_again(published, capsys):
    workspace = published.workspace
    workspace.published = with_stale(workspace.published, "netdissect_iou")
    assert statuses(published, published.specs) == ["stale"] * 6
    assert published_run(workspace, published.specs[0]).stale == ("netdissect_iou",)
    schedule.run_all(workspace, published.specs, 1, [])
    out = capsys.readouterr().out
    assert published.runs == []
    assert "stale: 6 published runs are not done again, the first: toy-vgg" in out
    assert "netdissect_iou: made by other code or on other images; `legible adopt` compares" in out


def test_stale_values_are_scored_again_where_the_weights_are_here(published):
    plain = published.specs[0]
    published.made.published = with_stale(published.workspace.published, "netdissect_iou")
    run, key = published.made.run_of(plain), probe_key(published.made, plain)
    scores = run.scores(key)
    del scores["netdissect_iou"]
    run.save_scores(key, scores)
    assert plan_runs(published.made, [plain])[0].status == "to score"


def test_other_images_make_all_values_stale(published):
    fewer = replace(published.specs[0], probe=30)
    assert set(published_run(published.workspace, fewer).stale) == set(fewer.metrics)


def test_a_metric_without_published_values_needs_the_runs_again(published, capsys):
    workspace = published.workspace
    workspace.published = without(workspace.published, "netdissect_iou")
    (plan,) = plan_runs(workspace, published.specs[:1])
    assert plan.status == "to run"
    assert plan.reason.startswith("no published values of netdissect_iou, and a published row")
    schedule.show_plan(workspace, published.specs)
    out = capsys.readouterr().out
    names = ", ".join(sorted(spec.name for spec in published.specs))
    assert f"6 published runs are trained again, because a published row holds values, not " \
           f"weights: {names}\n" in out  # fmt: skip


def test_where_all_runs_are_published_the_plan_says_how_to_make_them(published, capsys):
    schedule.show_plan(published.workspace, published.specs)
    assert "nothing to run; --only-local makes the published runs here\n" in capsys.readouterr().out
    published.workspace.published = None
    schedule.show_plan(published.workspace, published.specs)
    assert "nothing to run" not in capsys.readouterr().out


def test_a_further_seed_needs_its_neighbours_again_and_says_so(published, capsys):
    text = toy_suite('"plain"', [0, 1, 2], aspects='"task", "semantics", "consistency"')
    specs = expand(read_suite(write_suite(published.root, text, "longer")))
    workspace = published.workspace
    plan = plan_runs(workspace, specs)
    # seed 1 was compared with seed 0, and is now compared with seed 2, which is new
    assert [item.status for item in plan] == ["to run"] * 3
    assert plan[0].reason == "a published row holds values, not weights"
    assert plan[1].reason.startswith("no published values of ")
    assert plan[1].reason.endswith(", and a published row holds values, not weights")
    schedule.run_all(workspace, specs, 1, [])
    out = capsys.readouterr().out
    names = ", ".join(sorted(spec.name for spec in specs[:2]))
    assert f"2 published runs are trained again, because a published row holds values, not " \
           f"weights: {names}" in out  # fmt: skip
    assert len(published.runs) == 3
    assert [status in ("done", "published") for status in statuses(published, specs)] == [True] * 3
    assert statuses(published, specs[1:]) == ["done"] * 2


def test_a_row_made_from_a_published_network_trains_that_network_again(published, capsys):
    text = toy_suite('"plain", "plain_rotated"', [0, 1], aspects='"task"')
    specs = expand(read_suite(write_suite(published.root, text, "rotated")), seeds=[0])
    assert statuses(published, specs) == ["to run", "to run"]
    schedule.run_all(published.workspace, specs, 1, [])
    assert f"1 published run is trained again, because a published row holds values, not " \
           f"weights: {specs[0].name}" in capsys.readouterr().out  # fmt: skip
    only = [spec for spec in specs if spec.method == "plain_rotated"]
    assert statuses(published, only) == ["done"]


def test_a_parent_outside_the_selection_is_named_too(published, capsys):
    text = toy_suite('"plain", "plain_rotated"', [0, 1], aspects='"task"')
    suite = read_suite(write_suite(published.root, text, "rotated"))
    specs = expand(suite, seeds=[0], methods=["plain_rotated"])
    schedule.show_plan(published.workspace, specs)
    out = capsys.readouterr().out
    assert "1 published run is trained again" in out and "plain-s0" in out


def with_failure(table, name):
    """The table as if a run had failed."""
    row = {**table.rows[name][0], "metric": "", "status": "failed", "reason": "diverged"}
    return replace(table, rows={**table.rows, name: [row]})


def test_a_published_failure_is_named_and_tried_again_on_request_alone(published, capsys):
    (plain,) = specs = published.specs[:1]
    name = published.made.run_of(plain).name
    workspace = published.workspace
    workspace.published = with_failure(workspace.published, name)
    plan = plan_runs(workspace, specs)
    assert [(item.status, item.reason) for item in plan] == [("published", "failed: diverged")]
    assert schedule.attempt(workspace, specs, 1, []) == []
    out = capsys.readouterr().out
    assert f"failed: 1 published run is not tried again, the first: {plain.name}: diverged" in out
    assert published.runs == []
    schedule.show_plan(workspace, specs, retry=True)
    assert "failed before: diverged" in capsys.readouterr().out
    assert schedule.attempt(workspace, specs, 1, [], retry=True) == []
    assert workspace.run_of(plain).done()


def test_a_run_that_failed_here_stays_failed_after_its_publication(published, capsys):
    plain = published.specs[0]
    made = published.made
    run = made.run_of(plain)
    made.published = with_failure(published.workspace.published, run.name)
    run.finish(run.require_manifest().model_copy(update={"status": "failed", "reason": "diverged"}))
    assert plan_runs(made, [plain])[0].status == "failed"
    assert schedule.attempt(made, [plain], 1, []) == [plain.name]
    assert schedule.attempt(made, [plain], 1, [], retry=True) == []
    assert is_complete(made, plain)


def test_data_that_is_not_here_does_not_hide_published_runs(published, monkeypatch):
    from legible.bench.data.base import DataMissing

    def missing(spec):
        raise DataMissing("the images are not here")

    monkeypatch.setattr(published.workspace, "dataset", missing)
    monkeypatch.setattr(published.workspace, "fingerprint", missing)
    assert statuses(published, published.specs) == ["published"] * 6
    other = replace(published.specs[0], data={"images": 24})
    assert statuses(published, [other]) == ["missing"]


def test_only_current_scores_of_a_run_here_are_shown(published):
    plain = published.specs[0]
    run, key = published.made.run_of(plain), probe_key(published.made, plain)
    scores = run.scores(key)
    assert current_scores(published.made, plain).keys() == scores.keys()
    scores["accuracy"] = replace(scores["accuracy"], key="f" * 14)
    scores["netdissect_iou"] = replace(scores["netdissect_iou"], key="")  # it raised an error
    run.save_scores(key, scores)
    current = current_scores(published.made, plain)
    assert "accuracy" not in current and "netdissect_iou" in current
    assert not is_complete(published.made, plain)
    assert "accuracy" not in record_of(published.made, plain).scoring.metrics


def test_a_run_that_has_not_ended_has_no_record(published):
    assert record_of(published.workspace, published.specs[0]) is None


def test_a_plugin_s_row_of_a_published_name_is_refused(published):
    workspace = published.workspace
    bean = [spec for spec in published.specs if spec.method == "bean"]
    refuse_namesakes(workspace, {"bean"}, bean)  # the same code
    other = [replace(spec, params={**spec.params, "strength": 9.0}) for spec in bean]
    with pytest.raises(UserError, match="holds a row 'bean' that other code made") as error:
        refuse_namesakes(workspace, {"bean"}, other)
    assert "\n" not in str(error.value)
    refuse_namesakes(workspace, {"mine"}, [])
    work(workspace, bean)  # made here earlier, so that it may be replaced
    refuse_namesakes(workspace, {"bean"}, other)


def test_metrics_that_compare_seeds_go_by_the_partner(published):
    plain = published.specs[0]
    pairs = {name for name in plain.metrics if between_seeds(name)}
    assert pairs
    alone = replace(plain, partner=5)
    assert set(published_run(published.workspace, alone).absent) == pairs
