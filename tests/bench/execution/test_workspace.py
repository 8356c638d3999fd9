"""A workspace: names of runs, obstacles, and probes of finished runs."""

from __future__ import annotations

import dataclasses
import math
from importlib.metadata import version

import pytest
import torch
from safetensors.torch import save_file
from tiny_suites import specs_of, toy_suite, work
from torchvision.models import squeezenet1_0

from legible.bench.errors import UserError
from legible.bench.execution import workspace as workspaces
from legible.bench.execution.store import Corrupt
from legible.bench.execution.workspace import (
    Obstacle,
    all_parts,
    open_workspace,
    parent_of,
    probe_key,
    source_hashes,
    uses_plugins,
)
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.suites.run_spec import RunSpec


@pytest.fixture
def spec(workspace, tmp_path):
    return specs_of(tmp_path, toy_suite())[0]


def changed(spec, **changes):
    return dataclasses.replace(spec, **changes)


class TestIdentity:
    def test_all_that_determines_the_weights_changes_the_name(self, workspace, spec):
        recipe = spec.recipe.model_copy(update={"lr": 0.5})
        others = [
            changed(spec, seed=1), changed(spec, recipe=recipe), changed(spec, shots=2),
            changed(spec, method="dropout", params={"p": 0.5}, given={"p": 0.5}),
            changed(spec, net={"width": 8, "stages": 2}), changed(spec, data={"images": 90}),
        ]  # fmt: skip
        names = {workspace.run_of(s).name for s in (spec, *others)}
        assert len(names) == 7

    def test_what_only_scores_depend_on_does_not(self, workspace, spec):
        same = changed(spec, probe=7, layers=("last",), aspects=("focus",), partner=5)
        assert workspace.run_of(same).name == workspace.run_of(spec).name
        assert probe_key(workspace, same) != probe_key(workspace, spec)

    def test_an_edit_of_a_network_depends_on_that_network_s_method(self, workspace, tmp_path):
        (spec,) = specs_of(tmp_path, toy_suite('"plain_rotated"'))
        identity = workspace.identity(spec)
        assert identity["parent"] == workspace.identity(parent_of(spec))
        assert parent_of(spec).method == "plain"

    def test_names_stay_the_same_while_source_files_change(self, workspace, spec, monkeypatch):
        name = workspace.run_of(spec).name
        monkeypatch.setattr(workspaces, "content_key", lambda file: "edited")
        assert workspace.run_of(changed(spec, seed=1)).name.rpartition("-")[0].endswith("s1")
        assert workspace.run_of(spec).name == name
        assert "edited" not in str(workspace.identity(changed(spec, seed=1))["code"])

    def test_it_names_the_modules_that_it_depends_on(self, spec):
        modules = source_hashes(spec)
        assert {"legible.methods.plain", "legible.bench.backbones.vgg",
                "legible.bench.training.loop"} <= set(modules)  # fmt: skip
        assert "legible.methods.sync" not in modules


class TestObstacles:
    def test_there_is_none_for_a_run_that_can_be_made(self, workspace, spec):
        assert workspace.obstacle(spec) is None

    @pytest.mark.parametrize(
        ("changes", "status", "reason"),
        [
            ({"data": {"missing": True}}, "missing", "made, not fetched"),
            ({"gpu": True}, "missing", "run on a GPU alone"),
            ({"shots": 5000}, "skipped", "fewer than 5000 shots"),
            ({"layers": ("conv99",)}, "skipped", "no Tap 'conv99'; did you mean 'conv"),
            ({"net": {"width": 0}}, "skipped", "'vgg' cannot be built: "),
        ],
    )
    def test_each_says_why(self, workspace, spec, changes, status, reason):
        obstacle = workspace.obstacle(changed(spec, **changes))
        assert isinstance(obstacle, Obstacle) and obstacle.status == status
        assert reason in obstacle.reason

    def test_a_method_that_needs_what_is_not_there_is_skipped(self, workspace, tmp_path):
        text = toy_suite('"icnn"').replace('"vgg"', '"mlp"')
        text = text.replace("net = {width = 4, stages = 2}", "net = {hidden = [8]}")
        (spec,) = specs_of(tmp_path, text.replace("last_spatial", "last"))
        obstacle = workspace.obstacle(spec)
        assert obstacle.status == "skipped" and "needs a Tap with a map" in obstacle.reason

    def test_parameters_that_the_dataset_refuses_are_an_error(self, workspace, spec):
        wrong = changed(spec, dataset="shapes", data={"size": 3})
        with pytest.raises(UserError, match="dataset 'shapes': size must be between"):
            workspace.dataset(wrong)


def test_a_dataset_is_loaded_once(workspace, spec):
    assert workspace.dataset(spec) is workspace.dataset(changed(spec, seed=1))
    assert workspace.fingerprint(spec) == workspace.dataset(spec).fingerprint()


def test_a_finished_run_is_loaded_and_probed(workspace, spec):
    with pytest.raises(Corrupt):
        workspace.load(spec)
    work(workspace, [spec])
    network, _, data = workspace.load(spec)
    assert not network.training
    probe = workspace.probe(spec)
    assert len(probe.labels) == 40 and torch.equal(probe.labels, data.test.labels[:40])
    assert len(probe.history) == 1 and math.isfinite(probe.history[0]["loss"])
    training = workspace.probe(spec, "train")
    assert torch.equal(training.labels, data.train.labels[:40])


def test_no_row_is_scored_on_concepts_that_a_method_beside_it_was_trained_on(workspace, tmp_path):
    user = '{name = "concept_whitening", concepts = ["square1"]}'
    plain, whitened = specs_of(tmp_path, toy_suite(f'"plain", {user}', aspects='"semantics"'))
    assert plain.concept_users == (("concept_whitening", '{"concepts": ["square1"]}'),)
    assert workspace.reserved(plain) == workspace.reserved(whitened) == {"square1"}
    work(workspace, [plain, whitened])
    for spec in (plain, whitened):
        assert workspace.probe(spec).concepts.names == ("square0", "square2")
        assert RunSpec.from_json(spec.to_json()) == spec
    alone = changed(plain, concept_users=())
    assert workspace.reserved(alone) == frozenset()
    assert len(workspace.probe(alone).concepts) == 3
    assert probe_key(workspace, alone) != probe_key(workspace, plain)
    assert workspace.run_of(alone).name == workspace.run_of(plain).name


def test_a_method_that_cannot_run_here_or_uses_no_concepts_reserves_none(workspace, tmp_path):
    whitening = toy_suite('"plain", {name = "concept_whitening", concepts = 0.0}')
    assert specs_of(tmp_path, whitening)[0].concept_users == ()
    text = toy_suite('"plain", "concept_whitening"').replace('"vgg"', '"mlp"')
    (spec, _) = specs_of(tmp_path, text[: text.index("net = ")])
    assert spec.concept_users and workspace.reserved(spec) == frozenset()


def test_weights_count_by_their_values_not_by_their_file(spec, tmp_path):
    """Another file with the same tensors is the same run; other tensors are another run."""
    state = squeezenet1_0(num_classes=10).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": state}, tmp_path / "b.pth")
    save_file(state | {"classifier.1.bias": torch.ones(10)}, tmp_path / "c.safetensors")
    workspace = open_workspace("cpu", (), tmp_path / "runs", tmp_path)
    identities = []
    for file in ("a.safetensors", "b.pth", "c.safetensors"):
        spec = dataclasses.replace(
            spec, backbone="torchvision:squeezenet1_0",
            net={"taps": [], "weights": str(tmp_path / file), "head": "new"},
        )  # fmt: skip
        assert str(tmp_path) not in spec.name and file in spec.name
        identities.append(workspace.identity(spec)["backbone"])
    assert identities[0] == identities[1] != identities[2]
    assert identities[0]["library"] == version("torchvision")


FAULTY_DATA = '''
import os
from pathlib import Path
from legible import dataset

@dataset
def faulty(root: Path):
    """Leaves."""
    with (Path(__file__).parent / "calls").open("a") as calls:
        calls.write("x")
    os._exit(3)
'''


def test_a_dataset_that_ends_its_process_is_an_obstacle_and_loaded_once(
    workspace, spec, tmp_path, kept_registry
):
    (tmp_path / "faulty.py").write_text(FAULTY_DATA)
    registry.load(plugins=[tmp_path / "faulty.py"])
    for seed in (0, 1):
        obstacle = workspace.obstacle(changed(spec, dataset="faulty", data={}, seed=seed))
        assert obstacle == Obstacle("failed", "dataset 'faulty': its process left with exit code 3")
    assert (tmp_path / "calls").read_text() == "x"


def test_taps_are_those_of_the_network_without_its_method(workspace, spec):
    names = list(workspace.build(spec)[0].taps)
    assert workspace.taps(spec) == names
    assert list(workspace.bare_network(spec).taps) == names


class TestChangedData:
    def test_data_that_stays_passes(self, workspace, spec):
        workspace.refuse_changed_data(spec)

    @pytest.mark.parametrize("part", ["images", "labels", "mean", "std"])
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_each_tensor_is_compared(self, workspace, spec, split, part):
        getattr(getattr(workspace.dataset(spec), split), part)[0] += 1
        with pytest.raises(PluginFault, match="changes the dataset in place"):
            workspace.refuse_changed_data(spec)


def test_a_plugin_is_known_by_what_a_run_is_made_of(workspace, spec):
    assert uses_plugins(all_parts(spec))  # the toy dataset
    assert not uses_plugins(all_parts(changed(spec, dataset="shapes")))
