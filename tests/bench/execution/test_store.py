"""The store: runs on disk are whole or not there, and never silently wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from records import manifest

from legible.bench.errors import UserError
from legible.bench.execution.store import (
    MANIFEST,
    TRAINING,
    WEIGHTS,
    Corrupt,
    Run,
    Store,
    checksum,
    digest,
    write_sealed,
)
from legible.bench.scoring.score import MetricScores
from legible.bench.training.checkpoint import State
from legible.metrics.base import Score

STATE = State(2, {"network.w": torch.arange(6.0).reshape(2, 3)}, [{"loss": 0.1}], [0.5])


def finished(run: Run) -> Run:
    """The run with weights, and with the manifest of a finished one."""
    run.finish(manifest(weights=run.save_weights(STATE.tensors)))
    return run


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    run = Run(tmp_path / "run")
    assert run.state("cpu") is None
    run.save_state(STATE)
    back = run.state("cpu")
    assert torch.equal(back.tensors["network.w"], STATE.tensors["network.w"])
    assert (back.epoch, back.history, back.seconds) == (2, [{"loss": 0.1}], [0.5])


def test_finishing_deletes_the_checkpoint(tmp_path):
    run = Run(tmp_path)
    run.save_state(STATE)
    finished(run)
    assert run.done() and not (tmp_path / TRAINING).exists()


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, TRAINING])
def test_half_written_files_are_corrupt(tmp_path, name):
    run = finished(Run(tmp_path))
    run.save_state(STATE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt, match=name):
        run.state("cpu") if name == TRAINING else run.done()


def test_a_pickle_is_never_loaded(tmp_path):
    run = finished(Run(tmp_path))
    torch.save(STATE.tensors, tmp_path / WEIGHTS)
    run.finish(manifest(weights=checksum((tmp_path / WEIGHTS).read_bytes())))
    with pytest.raises(Corrupt, match=WEIGHTS):
        run.weights("cpu")


def test_a_corrupt_manifest_is_none_for_reports(tmp_path):
    run = finished(Run(tmp_path))
    assert run.readable_manifest() == run.require_manifest()
    (tmp_path / MANIFEST).write_text("[]")
    assert run.readable_manifest() is None
    with pytest.raises(Corrupt, match=MANIFEST):
        run.manifest()
    with pytest.raises(Corrupt, match="no manifest"):
        Run(tmp_path / "none").require_manifest()


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
    for number in (1, 2):
        run.folder.mkdir()
        assert store.set_aside(run).name == f"{run.name}.corrupt-{number}"


class TestFind:
    def test_a_run_is_found_by_its_path_name_beginning_or_hash(self, tmp_path):
        store = Store(tmp_path)
        first, _ = (finished(store.run(name, {"name": name})) for name in ("a-s0", "a-s1"))
        for name in (str(first.folder), first.name, "a-s0", first.name[-6:]):
            assert store.find(name).folder == first.folder

    def test_a_name_of_several_or_of_none_is_refused(self, tmp_path):
        store = Store(tmp_path)
        for name in ("a-s0", "a-s1"):
            finished(store.run(name, {}))
        with pytest.raises(UserError, match="matches 2 runs"):
            store.find("a-")
        with pytest.raises(UserError, match="no run 'b'"):
            store.find("b")

    def test_a_run_that_was_set_aside_is_in_nobody_s_way(self, tmp_path):
        store = Store(tmp_path)
        run = finished(store.run("a-s0", {}))
        store.set_aside(run)
        finished(run)
        for name in (run.name, "a-s0", run.name[-6:]):
            assert store.find(name).name == run.name
        assert store.find(f"{run.name}.corrupt-1").name == f"{run.name}.corrupt-1"


class TestScores:
    SCORES = MetricScores("k", (Score("good", "conv", np.array([1.0, np.nan])),))

    def test_they_are_read_as_they_were_written(self, tmp_path):
        run = Run(tmp_path)
        run.save_scores("x", {"good": self.SCORES})
        (score,) = run.scores("x")["good"].layers
        assert run.scores("x")["good"].key == "k" and (score.metric, score.layer) == (
            "good",
            "conv",
        )
        np.testing.assert_array_equal(score.values, [1.0, np.nan])
        assert run.scores("other") == {} and run.score_keys("other") == {}
        assert run.score_keys("x") == {"good": "k"}

    @pytest.mark.parametrize("entry", [3, {"key": "k"}, {"layers": [3]}, None])
    def test_those_that_cannot_be_read_are_made_again(self, tmp_path, entry):
        run = Run(tmp_path)
        scores = {"good": self.SCORES.to_json(), "bad": entry}
        write_sealed(run.scores_file("x"), run.owner, {"scores": scores})
        assert list(run.scores("x")) == ["good"]
        run.scores_file("x").write_text("[]")
        assert run.scores("x") == {}


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make .*locks"):
        Store(tmp_path / "file" / "runs")
