"""Probes of networks: activations, layers, concepts and the measurability gate."""

import pytest
import torch

from legible.bench.backbones.resnet18 import resnet18
from legible.bench.scoring.probe import probe_network, resolve
from legible.methods.base import Method


@pytest.fixture
def network(toy):
    torch.manual_seed(0)
    return resnet18(toy.image, 3, width=4, stages=2)


def test_a_probe_holds_the_raw_activations_in_evaluation_mode(toy, network):
    network.taps["layer1.1"].install(lambda activation: 0 * activation)
    network.train()
    probe = probe_network(network, Method(), toy.test, ["stem", "layer1.1"], chunk=7)
    assert not network.training and list(probe.layers) == ["stem", "layer1.1"]
    with torch.no_grad():
        out = network(toy.test.normalise(toy.test.images))
    for name, layer in probe.layers.items():
        torch.testing.assert_close(layer.activation, out.activations[name])
        assert layer.activation.abs().max() > 0
    torch.testing.assert_close(probe.logits, out.logits)
    assert torch.equal(probe.labels, toy.test.labels)


def test_layers_are_names_or_choices_in_the_order_of_the_network(network):
    assert resolve(network, ["last", "stem", "last"]) == ["stem", "layer2.1"]
    assert resolve(network, ["all"]) == list(network.taps)


def test_concepts_that_a_method_was_trained_on_are_left_out(toy, network):
    class Supervised(Method):
        def used_concepts(self):
            return ("square1",)

    probe = probe_network(network, Supervised(), toy.test, ["stem"])
    assert probe.concepts.names == ("square0", "square2")
    assert probe_network(network, Method(), toy.test, ["stem"]).concepts is toy.test.concepts


def test_claimed_modules_belong_to_their_layer(toy, network):
    class Claims(Method):
        def partition(self, network):
            return {"stem": torch.tensor([0, 0, 1, 1])}

    probe = probe_network(network, Claims(), toy.test, ["stem", "layer1.0"])
    assert probe.layers["stem"].claimed.tolist() == [0, 0, 1, 1]
    assert probe.layers["layer1.0"].claimed is None


def test_only_fine_maps_are_measurable(toy, network):
    probe = probe_network(network, Method(), toy.test, ["stem", "layer2.1"])
    assert probe.layers["layer2.1"].activation.shape[2:] == (8, 8)
    assert "stem" in probe.measurable
    coarse = resnet18(toy.image, 3, width=4, stages=4)
    probe = probe_network(coarse, Method(), toy.test, ["stem", "layer4.1"])
    assert probe.measurable == {"stem"}
