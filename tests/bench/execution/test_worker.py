"""A worker: what it trains, watches, records, retries and leaves alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_suites import specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution import worker
from legible.bench.execution.pairs import unscored
from legible.bench.execution.store import Run
from legible.bench.execution.workspace import probe_key
from legible.bench.scores.collect import score_table
from legible.metrics.base import METRICS

WATCH = 'watch = ["order_parameter", "module_count"]'
FEW_SHOTS = "validate_every = 1\nvalidate_images = 40"


def few_shots(folder, shots):
    text = toy_suite('"plain", "bean"', [0, 1], epochs=3, batch=1, recipe=FEW_SHOTS,
                     layers="last", block=f"shots = {shots}")  # fmt: skip
    return specs_of(folder, text)


def test_a_run_is_trained_scored_and_recorded(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite(epochs=2))
    events = work(workspace, [spec])
    assert [e.kind for e in events] == ["start", "epoch", "epoch", "done"]
    assert "accuracy" in events[-1].text
    run = workspace.run_of(spec)
    manifest = run.require_manifest()
    assert run.done() and manifest.status == "done" and len(manifest.history) == 2
    assert manifest.spec == spec.to_json() and manifest.environment.packages["torch"]
    assert run.scores(probe_key(workspace, spec)).keys() == set(spec.metrics)


def test_a_finished_run_is_left_as_it_is(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    files = {p: p.read_bytes() for p in workspace.run_of(spec).folder.rglob("*") if p.is_file()}
    assert [e.kind for e in work(workspace, [spec])] == ["done"]
    assert all(path.read_bytes() == content for path, content in files.items())


def test_scores_of_older_metric_code_are_made_again_without_training(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    run, key = workspace.run_of(spec), probe_key(workspace, spec)
    scores = run.scores(key)
    older = dataclasses.replace(scores["accuracy"], key="older")
    run.save_scores(key, {**scores, "accuracy": older})
    run.finish(run.require_manifest().model_copy(update={"score_seconds": 100.0}))
    assert [e.kind for e in work(workspace, [spec])] == ["start", "done"]
    assert run.scores(key)["accuracy"].key == scores["accuracy"].key
    assert 100.0 < run.require_manifest().score_seconds < 200.0  # the sum of both times


def test_another_number_of_images_scores_its_aspect_again_alone(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite(aspects='"task", "focus"', top="images = {task = 10}"))
    assert spec.images == {"task": 10} and spec.probe == 40
    work(workspace, [spec])
    more = dataclasses.replace(spec, images={"task": 20})
    run, key = workspace.run_of(spec), probe_key(workspace, spec)
    assert (workspace.run_of(more).name, probe_key(workspace, more)) == (run.name, key)
    assert {METRICS[name].aspect for name in unscored(workspace, more)} == {"task"}
    before = run.scores(key)["accuracy"].layers[0].value
    work(workspace, [more])
    assert not unscored(workspace, more)
    tenths, twentieths = before * 10, run.scores(key)["accuracy"].layers[0].value * 20
    assert tenths == pytest.approx(round(tenths)) and twentieths == pytest.approx(round(twentieths))


def test_an_edit_of_a_trained_network_trains_that_network_first(workspace, tmp_path):
    plain, rotated = specs_of(tmp_path, toy_suite('"plain", "plain_rotated"'))
    work(workspace, [rotated])
    assert workspace.run_of(plain).done()
    assert not workspace.run_of(plain).scores(probe_key(workspace, plain))


def test_a_corrupt_run_is_set_aside_and_made_again(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    run = workspace.run_of(spec)
    (run.folder / "manifest.json").write_text('{"status": "do')
    notes = [e.text for e in work(workspace, [spec]) if e.kind == "note"]
    assert len(notes) == 1 and f"set aside as {run.name}.corrupt-1" in notes[0]
    assert run.done()


class TestFailures:
    def test_one_that_training_causes_is_final(self, workspace, tmp_path):
        text = toy_suite('{name = "activation_l1", strength = 1e39}')
        (spec,) = specs_of(tmp_path, text)
        assert [e.kind for e in work(workspace, [spec])][-1] == "failed"
        manifest = workspace.run_of(spec).require_manifest()
        assert manifest.final and "not finite" in manifest.reason
        assert [e.kind for e in work(workspace, [spec])] == ["failed"]

    def test_another_is_tried_again(self, workspace, tmp_path, monkeypatch):
        (spec,) = specs_of(tmp_path, toy_suite())
        with monkeypatch.context() as broken:
            broken.setattr(worker, "fit_network", lambda *args, **options: 1 / 0)
            events = work(workspace, [spec])
        assert events[-1].kind == "failed" and "ZeroDivisionError" in events[-1].text
        assert not workspace.run_of(spec).require_manifest().final
        assert [e.kind for e in work(workspace, [spec])][-1] == "done"

    def test_a_metric_that_raises_is_a_note_and_the_others_stand(
        self, workspace, tmp_path, monkeypatch
    ):
        def broken(network, probe):
            raise ZeroDivisionError("no\nunits")

        item = METRICS["expected_calibration_error"]
        monkeypatch.setitem(METRICS, item.name, dataclasses.replace(item, function=broken))
        (spec,) = specs_of(tmp_path, toy_suite())
        notes = [e.text for e in work(workspace, [spec]) if e.kind == "note"]
        assert (
            len(notes) == 1
            and "metric expected_calibration_error: error: ZeroDivisionError" in notes[0]
        )
        table = score_table(workspace, [spec]).set_index("metric")
        assert "ZeroDivisionError: no units" in table.at[item.name, "reason"]
        assert table.at["accuracy", "value"] >= 0


class TestWatching:
    def test_it_adds_to_the_history_and_changes_no_weight(self, workspace, tmp_path):
        (plain,) = specs_of(tmp_path, toy_suite(epochs=3))
        (watched,) = specs_of(tmp_path, toy_suite(epochs=3, recipe=WATCH))
        work(workspace, [plain, watched])
        first, second = (workspace.run_of(spec) for spec in (plain, watched))
        assert first.name != second.name
        mine, theirs = first.weights("cpu"), second.weights("cpu")
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
        histories = [run.require_manifest().history for run in (first, second)]
        extra = [set(b) - set(a) for a, b in zip(*histories, strict=True)]
        assert extra == [{"watch.order_parameter@conv4", "watch.module_count@conv4"}] * 3
        values = [line["watch.order_parameter@conv4"] for line in histories[1]]
        assert all(0 <= value <= 1 for value in values) and len(set(values)) > 1

    def test_an_unknown_metric_fails_before_anything_runs(self, toy_plugin, tmp_path):
        with pytest.raises(UserError, match="did you mean 'order_parameter'"):
            specs_of(tmp_path, toy_suite(recipe='watch = ["order_parametre"]'))


class TestFewShots:
    def test_they_are_drawn_by_the_seed_and_shared_by_methods(self, workspace, tmp_path):
        first, second, other, _ = few_shots(tmp_path, 2)
        assert first.dataset_label == "toy(shots=2)"
        parts = [workspace.build(spec)[2].train for spec in (first, second, other)]
        assert [torch.bincount(split.labels).tolist() for split in parts] == [[2] * 3] * 3
        assert torch.equal(parts[0].images, parts[1].images)
        assert not torch.equal(parts[0].images, parts[2].images)

    def test_the_last_and_the_selected_accuracy_are_scored(self, workspace, tmp_path):
        spec = few_shots(tmp_path, 3)[0]
        work(workspace, [spec])
        table = score_table(workspace, [spec]).set_index("metric")["value"]
        history = workspace.run_of(spec).require_manifest().history
        best = max(history, key=lambda line: line["validation_accuracy"])
        assert len(history) == 3 and table["selected_accuracy"] == best["test_accuracy"]
        assert table["accuracy"] == pytest.approx(history[-1]["test_accuracy"])
        recipe = spec.recipe.model_copy(update={"validate_every": 0})
        later = dataclasses.replace(spec, recipe=recipe)
        assert set(spec.metrics) - set(later.metrics) == {"selected_accuracy"}


@pytest.mark.parametrize(("pause", "epochs"), [(0.0, [1, 2, 3]), (3600.0, [1])])
def test_a_checkpoint_is_written_when_the_last_is_old(
    workspace, tmp_path, monkeypatch, pause, epochs
):
    checkpoints = []
    monkeypatch.setattr(worker, "CHECKPOINT", pause)
    monkeypatch.setattr(Run, "save_state", lambda run, state: checkpoints.append(state.epoch))
    work(workspace, specs_of(tmp_path, toy_suite(epochs=3)))
    assert checkpoints == epochs
