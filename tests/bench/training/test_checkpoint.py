"""Snapshots: copies of all tensors, restored into another network, method and optimiser."""

import pytest
import torch
from fits import RECIPE, fit_toy, small_vgg

from legible.bench.plugins import registry
from legible.bench.training.checkpoint import restore, snapshot
from legible.bench.training.fit import build_network
from legible.bench.training.loop import make_optimizer

registry.load(["methods"])


def test_a_snapshot_holds_copies_of_network_method_and_optimiser(toy):
    network, method, state = fit_toy(toy, "sync")
    assert {name.partition(".")[0] for name in state.tensors} == {"network", "method", "optimizer"}
    tensors = snapshot(network, method)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    name, parameter = next(iter(network.named_parameters()))
    before = tensors[f"network.{name}"].clone()
    with torch.no_grad():
        parameter.add_(1)
    assert torch.equal(tensors[f"network.{name}"], before)


def test_a_restored_snapshot_is_equal_and_keeps_the_memory_layout(toy):
    state = fit_toy(toy, "sync").state  # trained in channels_last
    method = registry.make_method("sync", {})
    network = build_network(small_vgg(toy), method, toy.train, 5)
    network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, method, RECIPE)
    restore(state.tensors, network, method, optimizer)
    again = snapshot(network, method, optimizer)
    assert again.keys() == state.tensors.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in state.tensors.items())
    for parameter, values in optimizer.state.items():
        assert values["exp_avg"].stride() == parameter.stride()


def test_another_network_is_refused(toy):
    state = fit_toy(toy).state
    method = registry.make_method("plain", {})
    tensors = {k: v for k, v in state.tensors.items() if not k.startswith("optimizer.")}
    network = build_network(small_vgg(toy), method, toy.train, 0)
    name = next(k for k in tensors if k.endswith("weight"))
    with pytest.raises(RuntimeError, match="Missing key"):
        restore({k: v for k, v in tensors.items() if k != name}, network, method)
    with pytest.raises(RuntimeError, match="size mismatch"):
        restore({**tensors, name: torch.zeros(1)}, network, method)
