"""Silent damage: a file of a run that changed, or is another run's, is noticed and made again."""

from __future__ import annotations

import shutil

import pytest
import torch
from tiny_suites import specs_of, toy_suite, work

from legible.bench.execution.pairs import scorable
from legible.bench.execution.schedule import plan_runs
from legible.bench.execution.store import MANIFEST, TRAINING, WEIGHTS, Corrupt, Run
from legible.bench.execution.workspace import probe_key
from legible.bench.training.checkpoint import State

STATE = State(2, {"network.w": torch.arange(6.0).reshape(2, 3)}, [{"loss": 0.1}], [0.5])


def flip(path, position):
    """Flips one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.fixture
def two(workspace, tmp_path):
    """Two finished runs that differ in the seed, with their specs."""
    specs = specs_of(tmp_path, toy_suite(seeds=[0, 1, 2]))[:2]
    work(workspace, specs)
    return [(spec, workspace.run_of(spec)) for spec in specs]


def content(run):
    """The files of a run that results are read from, without the seconds that they took."""
    weights = (run.folder / WEIGHTS).read_bytes()
    return weights, run.require_manifest().history


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_a_run_with_a_flipped_bit_is_set_aside_and_redone(workspace, two, name, share):
    (first, run), (second, other) = two
    before, untouched = content(run), content(other)
    path = run.folder / name
    flip(path, int(share * path.stat().st_size))
    notes = [e.text for e in work(workspace, [first, second]) if e.kind == "note"]
    assert len(notes) == 1 and name in notes[0] and f"{run.name}.corrupt-1" in notes[0]
    assert content(run) == before and content(other) == untouched


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST, "scores"])
def test_a_file_of_another_run_is_not_believed(workspace, two, name):
    (first, run), (second, other) = two
    before = content(run)
    name = run.scores_file(probe_key(workspace, first)).name if name == "scores" else name
    shutil.copyfile(other.folder / name, run.folder / name)
    notes = [e.text for e in work(workspace, [first, second]) if e.kind == "note"]
    assert len(notes) == 1 and name in notes[0] and content(run) == before
    assert [e.kind for e in work(workspace, [first, second])] == ["done", "done"]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_damaged_scores_are_set_aside_and_made_again_without_training(workspace, two, share):
    (spec, run), _ = two
    key = probe_key(workspace, spec)
    path, before = run.scores_file(key), run.scores(key)["accuracy"].layers[0].value
    flip(path, int(share * path.stat().st_size))
    with pytest.raises(Corrupt, match=path.name):
        run.verified_scores(key)
    events = work(workspace, [spec])
    assert [e.kind for e in events] == ["note", "start", "done"] and "corrupt-1" in events[0].text
    assert run.scores(key)["accuracy"].layers[0].value == before


def test_scores_of_another_probe_are_not_believed(workspace, two):
    (spec, run), _ = two
    shutil.copyfile(run.scores_file(probe_key(workspace, spec)), run.scores_file("other"))
    assert run.scores("other") == {}


@pytest.mark.parametrize("text", ["2", "network.w", "loss"])
def test_a_checkpoint_with_a_flipped_bit_is_corrupt(tmp_path, text):
    run = Run(tmp_path / "run")
    run.save_state(STATE)
    path = run.folder / TRAINING
    flip(path, path.read_bytes().index(text.encode()))
    with pytest.raises(Corrupt, match=TRAINING):
        run.state("cpu")


def test_a_checkpoint_whose_tensors_changed_or_that_is_another_run_s_is_corrupt(tmp_path):
    run = Run(tmp_path / "run")
    run.save_state(STATE)
    shutil.copytree(run.folder, tmp_path / "other")
    with pytest.raises(Corrupt, match="another run"):
        Run(tmp_path / "other").state("cpu")
    flip(run.folder / TRAINING, -2)
    with pytest.raises(Corrupt, match="its checksum differs"):
        run.state("cpu")


@pytest.mark.parametrize("name", ["manifest.json", "network.safetensors", "scores"])
def test_a_link_that_leads_nowhere_is_named_and_made_again(workspace, tmp_path, name):
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    run = workspace.run_of(spec)
    path = run.scores_file(probe_key(workspace, spec)) if name == "scores" else run.folder / name
    path.unlink()
    path.symlink_to("nowhere")
    (planned,) = plan_runs(workspace, [spec])
    assert planned.reason == f"unreadable: {path.name}: a link that leads nowhere"
    events = work(workspace, [spec])
    assert f"{path.name}: a link that leads nowhere); set aside as" in events[0].text
    assert path.is_file() and not path.is_symlink()


@pytest.mark.parametrize("kind", ["dangling link", "loop", "file", "folder"])
def test_anything_else_in_a_run_s_place_is_set_aside(workspace, tmp_path, kind):
    (spec,) = specs_of(tmp_path, toy_suite())
    run = workspace.run_of(spec)
    if kind == "dangling link":
        run.folder.symlink_to(tmp_path / "nowhere")
    elif kind == "loop":
        run.folder.symlink_to(run.folder)
    elif kind == "file":
        run.folder.write_text("")
    else:
        (run.folder / MANIFEST).mkdir(parents=True)
    events = work(workspace, [spec])
    assert [e.kind for e in events] == ["note", "start", "epoch", "done"]
    assert (workspace.store.root / f"{run.name}.corrupt-1").is_symlink() == (
        kind in ("dangling link", "loop")
    )


def test_a_damaged_partner_waits_and_the_run_itself_stays(workspace, tmp_path):
    text = toy_suite(seeds=[0, 1], aspects='"consistency"')
    first, second = specs_of(tmp_path, text)
    work(workspace, [first, second])
    whole = set(scorable(workspace, first).metrics)
    flip(workspace.run_of(second).folder / WEIGHTS, -1)
    assert whole - set(scorable(workspace, first).metrics)
