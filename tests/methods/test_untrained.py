"""The null row without training."""

import torch

from legible.bench.backbones.vgg import vgg
from legible.bench.training.fit import build_network, fit_network
from legible.bench.training.recipe import Recipe
from legible.methods.plain import Plain
from legible.methods.untrained import Untrained


def trained_with(method, toy):
    """Initial weights, and those after two epochs where the method trains at all."""
    network = build_network(lambda: vgg(toy.image, 3, width=4), method, toy.train, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = fit_network(network, method, toy, Recipe(epochs=2, batch=16), 0)
    return before, network.state_dict(), state


def test_the_network_stays_as_initialised(toy):
    before, after, state = trained_with(Untrained(), toy)
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert state.history == []


def test_it_starts_from_the_weights_of_plain(toy):
    initial, after, _ = trained_with(Plain(), toy)
    untrained, _, _ = trained_with(Untrained(), toy)
    assert all(torch.equal(initial[name], tensor) for name, tensor in untrained.items())
    assert any(not torch.equal(initial[name], tensor) for name, tensor in after.items())
