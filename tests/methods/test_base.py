"""The method's contract: selection of Taps, needs, and the defaults of its hooks."""

import pytest
import torch

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.taps import Network
from legible.bench.backbones.vgg import vgg
from legible.methods.base import NEEDS, Method, Target, nearest, select_taps, treatment, unmet


class Small(Method):
    """A method with one parameter, for these tests; it is not registered."""

    def __init__(self, strength=1.0, taps=None):
        super().__init__(strength, taps)
        self.scale = torch.nn.Parameter(torch.ones(3))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("last_spatial", ["conv2"]),
        ("last", ["fc2"]),
        ("spatial", ["conv1", "conv2"]),
        ("dense", ["conv2", "fc1", "fc2"]),
        ("all", ["conv1", "conv2", "fc1", "fc2"]),
        (["fc2", "conv1"], ["fc2", "conv1"]),
    ],
)
def test_choices_of_taps(choice, names):
    assert select_taps(lenet5((1, 28, 28), 10), choice) == names


def test_without_maps_the_last_tap_is_the_last_spatial_one():
    assert select_taps(mlp((1, 8, 8), 3, hidden=(5, 4)), "last_spatial") == ["fc2"]


def test_an_unknown_tap_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"no Tap 'conv3'; did you mean 'conv\d'"):
        select_taps(lenet5((1, 28, 28), 10), ["conv3"])


def test_nearest_names_nothing_where_nothing_is_near():
    assert nearest("strenght", ["strength", "taps"]) == "; did you mean 'strength'?"
    assert nearest("zzz", ["strength", "taps"]) == ""


@pytest.mark.parametrize(
    ("backbone", "need", "reason"),
    [
        (mlp, "spatial", "needs a Tap with a map"),
        (vgg, "spatial", ""),
        (lenet5, "norm", "needs a normalisation before a Tap with a map"),
        (resnet18, "norm", ""),
        (mlp, "dense", ""),
        (vgg, "linear_head", ""),
        (vgg, "concepts", "needs concept masks"),
    ],
)
def test_needs_that_are_not_met_give_their_reason(toy, backbone, need, reason):
    method = Small()
    method.needs = frozenset({need})
    assert need in NEEDS
    assert unmet(method, backbone(toy.image, 3), toy.train) == reason


def test_a_dense_layer_on_a_flattened_map_is_no_linear_head(toy, monkeypatch):
    network = lenet5(toy.image, 3)
    assert NEEDS["linear_head"].holds(network, toy.train)
    first_maps = {name: network.taps[name] for name in ("conv1", "conv2")}
    monkeypatch.setattr(Network, "taps", first_maps)
    assert not NEEDS["linear_head"].holds(network, toy.train)


def test_attach_resolves_the_taps_and_install_scales_by_the_strength(toy):
    network = vgg(toy.image, 3, width=4)
    method = Small(0.25)
    method.attach(network, toy.train)
    (name,) = method.taps
    method.install(network, name, lambda x: 5 * x)
    tap = network.taps[name]
    x = torch.rand(2, tap.units, 3, 3)
    torch.testing.assert_close(tap(x), 2 * x)  # x + (5 x - x) / 4


def test_own_parameters_are_optimised_without_weight_decay():
    method = Small()
    assert method.parameter_groups() == [{"params": [method.scale], "weight_decay": 0.0}]
    assert Method().parameter_groups() == []


def test_rerun_continues_from_the_last_tap(step_on, toy):
    step = step_on(vgg(toy.image, 3, width=4))
    last = list(step.activations)[-1]
    torch.testing.assert_close(step.rerun(step.activations[last]), step.logits)
    silent = step.rerun(torch.zeros_like(step.activations[last]))
    torch.testing.assert_close(silent, silent[:1].expand_as(silent))


@pytest.mark.parametrize("strength", [-1.0, float("nan")])
def test_strength_is_at_least_zero(strength):
    with pytest.raises(ValueError, match="strength must be at least 0"):
        Small(strength)


class Treats(Method):
    target = Target("accuracy", "lower")


def test_what_a_method_treats_or_why_nothing_can_be_compared():
    assert treatment(Treats()) == ("accuracy", "lower")
    assert treatment(Treats(strength=0.0)) == "has strength 0, which is plain training"
    assert "acts at taps='all'" in treatment(Treats(taps="all"))
    assert treatment(Treats(taps="last_spatial")) == ("accuracy", "lower")

    class Untrained(Treats):
        trains = False

    class Edits(Treats):
        parent = "plain"

    class Silent(Method):
        target_reason = "has no metric"

    assert treatment(Untrained()) == treatment(Edits()) == "trains nothing"
    assert treatment(Silent()) == "has no metric"


def test_an_exposed_module_is_part_of_the_tap_and_of_no_state():
    network = lenet5((1, 28, 28), 10)
    before = list(network.state_dict())
    modules = [Method().expose(network, "conv2", torch.nn.ReLU()) for _ in range(2)]
    assert all(any(m is module for m in network.modules()) for module in modules)
    assert list(network.state_dict()) == before
