"""Cells from the store: what is watched while training, and what a run is called."""

import dataclasses
from pathlib import Path

import pytest
import torch

from legible.bench.errors import UserError
from legible.bench.execution import worker as execute
from legible.bench.execution.store import Run, Store
from legible.bench.execution.worker import work_through as worker
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.collect import score_table
from legible.bench.suites import run_spec, schema

SUITE = """
title = "Watched"
seeds = [0]
probe = 40
layers = ["last_spatial"]
aspects = ["task"]
methods = ["plain", {name = "sync", focus = 0.5}, {name = "sync", taps = ["conv1"]}]
[recipe]
epochs = 3
batch = 16
WATCH
[[blocks]]
dataset = "toy"
backbone = "vgg"
net = {width = 4, stages = 2}
"""
WATCH = 'watch = ["order_parameter", "module_count"]'


def specs(folder: Path, watch: str = "") -> list[suites.RunSpec]:
    path = folder / "watched.toml"
    path.write_text(SUITE.replace("WATCH", watch))
    return run_spec.expand(schema.read_suite(path))


def test_watching_adds_to_the_history_and_changes_no_weight(toy_plugin, tmp_path):
    workspace = Workspace(Store(tmp_path / "runs"))
    plain, watched = specs(tmp_path)[0], specs(tmp_path, WATCH)[0]
    worker(workspace, [plain, watched], lambda event: None)
    first, second = (workspace.run_of(spec) for spec in (plain, watched))
    assert first.name != second.name
    mine, theirs = first.weights("cpu"), second.weights("cpu")
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
    extra = [set(b) - set(a) for a, b in zip(*(r.manifest()["history"] for r in (first, second)),
                                             strict=True)]  # fmt: skip
    assert extra == [{"watch.order_parameter@conv4", "watch.module_count@conv4"}] * 3
    values = [line["watch.order_parameter@conv4"] for line in second.manifest()["history"]]
    assert all(0 <= value <= 1 for value in values) and len(set(values)) > 1


def test_an_unknown_watched_metric_fails_before_anything_runs(toy_plugin, tmp_path):
    with pytest.raises(UserError, match="did you mean 'order_parameter'"):
        specs(tmp_path, 'watch = ["order_parametre"]')


def test_variants_of_a_method_have_names_of_their_own_fit_for_files(toy_plugin, tmp_path):
    assert [c.name for c in specs(tmp_path)] == [
        "toy-vgg(width=4,stages=2)-plain-s0",
        "toy-vgg(width=4,stages=2)-sync(focus=0.5)-s0",
        "toy-vgg(width=4,stages=2)-sync(taps=_conv1_)-s0",
    ]


FEW = """
title = "Few"
seeds = [0, 1]
probe = 40
layers = ["last"]
aspects = ["task"]
methods = ["plain", "bean"]
[recipe]
epochs = 3
batch = 1
validate_every = 1
validate_images = 40
"""
BLOCK = """
[[blocks]]
dataset = "toy"
backbone = "vgg"
net = {width = 4, stages = 2}
"""


def few(folder: Path, *shots: int) -> list[suites.RunSpec]:
    path = folder / "few.toml"
    path.write_text(FEW + "".join(f"{BLOCK}shots = {n}\n" for n in shots))
    return run_spec.expand(schema.read_suite(path))


def test_shots_are_drawn_by_the_seed_and_shared_by_methods(toy_plugin, tmp_path):
    workspace = Workspace(Store(tmp_path / "runs"))
    first, second, other, _ = few(tmp_path, 2)
    assert first.dataset_label == "toy(shots=2)"
    drawn = [workspace.build(spec)[2].train for spec in (first, second, other)]
    assert [torch.bincount(split.labels).tolist() for split in drawn] == [[2] * 3] * 3
    assert torch.equal(drawn[0].images, drawn[1].images)
    assert not torch.equal(drawn[0].images, drawn[2].images)


def test_shots_are_part_of_what_a_run_is(toy_plugin, tmp_path):
    workspace = Workspace(Store(tmp_path / "runs"))
    names = {workspace.run_of(spec).name for spec in few(tmp_path, 0, 1, 2)}
    assert len(names) == 12
    assert few(tmp_path, 0)[0].dataset_label == "toy"


def test_a_class_without_enough_images_skips_the_cell(toy_plugin, tmp_path):
    status, reason = Workspace(Store(tmp_path / "runs")).why_not(few(tmp_path, 5000)[0])
    assert status == "skipped" and "fewer than 5000 shots" in reason


def test_few_shot_runs_give_the_last_and_the_selected_accuracy(toy_plugin, tmp_path):
    workspace = Workspace(Store(tmp_path / "runs"))
    spec, *_ = few(tmp_path, 3)
    worker(workspace, [spec], lambda event: None)
    table = score_table(workspace, [spec]).set_index("metric")["value"]
    history = workspace.run_of(spec).manifest()["history"]
    best = max(history, key=lambda line: line["validation_accuracy"])
    assert len(history) == 3 and table["selected_accuracy"] == best["test_accuracy"]
    assert table["accuracy"] == pytest.approx(history[-1]["test_accuracy"])
    later = dataclasses.replace(spec, recipe=spec.recipe.model_copy(update={"validate_every": 0}))
    assert set(spec.metrics) - set(later.metrics) == {"selected_accuracy"}


@pytest.mark.parametrize(("pause", "expected"), [(0.0, [1, 2, 3]), (3600.0, [1])])
def test_checkpoints_are_written_when_the_last_is_old(toy_plugin, tmp_path, monkeypatch, pause,
                                                      expected):  # fmt: skip
    saved = []
    monkeypatch.setattr(execute, "CHECKPOINT", pause)
    monkeypatch.setattr(Run, "save_state", lambda run, state: saved.append(state.epoch))
    worker(Workspace(Store(tmp_path / "runs")), few(tmp_path, 1)[:1], lambda event: None)
    assert saved == expected
