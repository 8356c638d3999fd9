"""Runs on disk: whole or not at all, and never silently wrong."""

import json

import numpy as np
import pytest
import torch

from legible.bench.errors import UserError
from legible.bench.execution.store import MANIFEST, TRAINING, WEIGHTS, Corrupt, Run, Store, digest
from legible.bench.scoring.score import MetricScores
from legible.bench.training.checkpoint import State
from legible.metrics.base import Score

STATE = State(2, {"network.w": torch.arange(6.0).reshape(2, 3)}, [{"loss": 0.1}], [0.5])


def test_a_checkpoint_round_trips(tmp_path):
    run = Run(tmp_path / "run")
    assert run.state("cpu") is None
    run.save_state(STATE)
    back = run.state("cpu")
    assert torch.equal(back.tensors["network.w"], STATE.tensors["network.w"])
    assert (back.epoch, back.history, back.seconds) == (2, [{"loss": 0.1}], [0.5])


def test_finishing_drops_the_checkpoint(tmp_path):
    run = Run(tmp_path)
    run.save_state(STATE)
    run.save_weights(STATE.tensors)
    run.finish({"status": "done"})
    assert run.done() and not (tmp_path / TRAINING).exists()


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, TRAINING])
def test_half_written_files_are_corrupt(tmp_path, name):
    run = Run(tmp_path)
    run.save_weights(STATE.tensors)
    run.finish({"status": "done"})
    run.save_state(STATE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt, match=name):
        run.state("cpu") if name == TRAINING else run.done()


def test_a_pickle_is_never_loaded(tmp_path):
    torch.save(STATE.tensors, tmp_path / WEIGHTS)
    (tmp_path / MANIFEST).write_text('{"status": "done"}')
    with pytest.raises(Corrupt):
        Run(tmp_path).done()


def test_the_digest_is_of_the_content_not_the_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_a_lock_is_held_by_one_worker(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    run = first.run("x", {})
    with first.lock(run) as mine, second.lock(run) as theirs:
        assert mine and not theirs
    with second.lock(run) as theirs:
        assert theirs


def test_setting_aside_never_overwrites(tmp_path):
    store = Store(tmp_path)
    run = store.run("x", {})
    for expected in (1, 2):
        run.folder.mkdir()
        assert store.set_aside(run).name == f"{run.name}.corrupt-{expected}"


def test_runs_are_found_by_beginning_and_by_hash(tmp_path):
    store = Store(tmp_path)
    for name in ("a-s0", "a-s1"):
        store.run(name, {}).finish({"status": "done"})
    assert store.find("a-s1").name.startswith("a-s1")
    with pytest.raises(UserError, match="fits 2 runs"):
        store.find("a-")
    with pytest.raises(UserError, match="no run 'b'"):
        store.find("b")


def test_a_run_that_was_set_aside_is_in_nobodys_way(tmp_path):
    store = Store(tmp_path)
    run = store.run("a-s0", {})
    run.finish({"status": "done"})
    store.set_aside(run)
    run.finish({"status": "done"})
    for name in (run.name, "a-s0", run.name[-6:]):
        assert store.find(name).name == run.name
    assert store.find(f"{run.name}.corrupt-1").name == f"{run.name}.corrupt-1"


def test_scores_that_are_none_are_made_again(tmp_path):
    run = Run(tmp_path)
    run.save_scores("x", {"good": MetricScores("k", (Score("good", "fc1", np.array([1.0])),))})
    file = tmp_path / "scores-x.json"
    broken = {"a": 3, "b": {"key": "k"}, "c": {"layers": [3]}, "d": None}
    file.write_text(json.dumps(json.loads(file.read_text()) | broken))
    assert list(run.scores("x")) == ["good"]
    assert run.scores("x")["good"].layers[0].values == [1.0]
    (tmp_path / "scores-x.json").write_text("[]")
    assert run.scores("x") == {}


def test_what_is_told_of_a_corrupt_run_is_nothing(tmp_path):
    run = Run(tmp_path)
    run.finish({"status": "done"})
    assert run.told() == {"status": "done"}
    (tmp_path / "manifest.json").write_text("[")
    assert run.told() == {}


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write runs"):
        Store(tmp_path / "file" / "runs")
