"""Cells from the store: what is watched while training, and what a run is called."""

from pathlib import Path

import pytest
import torch

from bench import suite as suites
from bench.execute import Bench, worker
from bench.registry import UserError
from bench.store import Store

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


def cells(folder: Path, watch: str = "") -> list[suites.Cell]:
    path = folder / "watched.toml"
    path.write_text(SUITE.replace("WATCH", watch))
    return suites.cells(suites.read(path))


def test_watching_adds_to_the_history_and_changes_no_weight(toy_plugin, tmp_path):
    bench = Bench(Store(tmp_path / "runs"))
    plain, watched = cells(tmp_path)[0], cells(tmp_path, WATCH)[0]
    worker(bench, [plain, watched], lambda event: None)
    first, second = (bench.run_of(cell) for cell in (plain, watched))
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
        cells(tmp_path, 'watch = ["order_parametre"]')


def test_variants_of_a_method_have_names_of_their_own_fit_for_files(toy_plugin, tmp_path):
    assert [c.name for c in cells(tmp_path)] == [
        "toy-vgg(width=4,stages=2)-plain-s0",
        "toy-vgg(width=4,stages=2)-sync(focus=0.5)-s0",
        "toy-vgg(width=4,stages=2)-sync(taps=_conv1_)-s0",
    ]
